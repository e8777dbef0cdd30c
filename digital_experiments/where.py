"""A small expression over columns, parsed into SQL. It runs nothing but comparisons.

::

    config.lr < 0.1 and result.accuracy > 0.9
    config.optimiser in ["adam", "sgd"] or not config.augment
    0.1 <= result.loss < 0.2, "best" in tags, config["batch size"] == 32, note is None
"""

from __future__ import annotations

import ast
from typing import Any, NoReturn, Protocol

from digital_experiments.errors import InvalidExpression, UnknownColumn, did_you_mean

Scalar = bool | int | float | str | None

_LONGEST = 10_000
_MOST = 200
_NUMBER = "('integer','real')"
_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "==",
    ast.IsNot: "!=",
    ast.In: "in",
    ast.NotIn: "not in",
}
COMPARED = {"<": "is_less", "<=": "is_most", ">": "is_more", ">=": "is_least", "==": "is_same"}
"""What compares cells that SQLite can't: large whole numbers, and times."""

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


class Columns(Protocol):
    """What an expression has to know of a table."""

    def column(self, name: str) -> str | None:
        """The SQL of a column's cell, or None if there is no such column."""

    def tagged(self, tag: str, parameters: list[Any]) -> str:
        """The SQL of a row's having a tag."""

    def names(self) -> list[str]:
        """All columns, for the message about one that is not there."""

    def cell(self, value: Scalar) -> Any:
        """A value as it stands in a cell."""


class Where:
    """An expression that has been parsed, and can be turned into SQL.

    Parameters
    ----------
    text : str
        Columns (``config.lr``, ``result.accuracy``, ``status``, ``tags``), numbers, texts,
        True, False, None and lists of them; ``< <= > >= == != in is``; ``and or not``.

    Raises
    ------
    InvalidExpression
        If it is anything else; the message points at the place.

    Notes
    -----
    A cell that is missing, or of another kind than what it is compared with, is neither less
    nor greater nor equal; so ``!=`` holds for it. ``1`` is ``1.0``, but not True. A time is
    compared with a text in ISO 8601; one without a zone is local.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"where must be an expression in a str, not {text!r}.")
        self.text = " ".join(text.splitlines())
        self._tree = self._parse()
        if sum(isinstance(node, ast.Compare) for node in ast.walk(self._tree)) > _MOST:
            self.refuse(f"it holds more than {_MOST} comparisons", 0)
        self.columns = {
            name for node in ast.walk(self._tree) if (name := _column_of(node)) is not None
        }
        _Compiler(self, _AnyColumns()).condition(self._tree)  # says now what is wrong

    def _parse(self) -> ast.expr:
        if len(self.text) > _LONGEST:
            self.refuse(f"it is longer than {_LONGEST:,} characters", 0)
        try:
            return ast.parse(self.text.strip() or "?", mode="eval").body
        except SyntaxError as problem:
            start = len(self.text) - len(self.text.lstrip())
            hint = " Two values are compared by `==`." if _single_equals(self.text) else ""
            place = start + (problem.offset or len(self.text) + 1) - 1
            self.refuse(f"this can't be read: {problem.msg}.{hint}", place)
        except (RecursionError, MemoryError, ValueError) as problem:
            self.refuse(f"this can't be read: {problem}", 0)

    def sql(self, columns: Columns) -> tuple[str, list[Any]]:
        """The condition as SQL, and its parameters.

        Raises
        ------
        UnknownColumn
            If it names a column that the table does not have.
        """
        compiler = _Compiler(self, columns)
        return compiler.condition(self._tree), compiler.parameters

    def refuse(
        self, problem: str, place: int, error: type[Exception] = InvalidExpression
    ) -> NoReturn:
        """Raise an error that shows the expression with a mark below the place."""
        raise error(f"In the expression\n  {self.text}\n  {' ' * place}^\n{problem}")

    def __repr__(self) -> str:
        return f"Where({self.text!r})"


def _single_equals(text: str) -> bool:
    import re

    return re.search(r"(?<![=<>!])=(?!=)", text) is not None


def _column_of(node: ast.AST) -> str | None:
    """``config.lr`` or ``config["lr"]`` as the name of a column; None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = _column_of(node.value)
        return inner and f"{inner}.{node.attr}"
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        inner = _column_of(node.value)
        return inner and f"{inner}.{node.slice.value!s}"
    return None


class _AnyColumns:
    """Has every column: for a look at an expression before there is a table."""

    def column(self, name: str) -> str | None:
        return "x"

    def tagged(self, tag: str, parameters: list[Any]) -> str:
        return "x"

    def names(self) -> list[str]:
        return []

    def cell(self, value: Scalar) -> Any:
        return value


class _Compiler:
    """Turns one expression into SQL over one table."""

    def __init__(self, where: Where, columns: Columns) -> None:
        self.where = where
        self.columns = columns
        self.parameters: list[Any] = []

    def refuse(
        self, problem: str, node: ast.expr, error: type[Exception] = InvalidExpression
    ) -> NoReturn:
        start = len(self.where.text) - len(self.where.text.lstrip())
        before = self.where.text.strip().encode()[: node.col_offset]
        self.where.refuse(problem, start + len(before.decode(errors="ignore")), error)

    def condition(self, node: ast.expr) -> str:
        """The SQL, 1 or 0 and never NULL, of what is true or false."""
        if isinstance(node, ast.BoolOp):
            word = " AND " if isinstance(node.op, ast.And) else " OR "
            return "(" + word.join(self.condition(v) for v in node.values) + ")"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return f"(NOT {self.condition(node.operand)})"
        if isinstance(node, ast.Compare):
            return self._chain(node)
        if _column_of(node) is not None:
            return self._equal(self._cell(node), True)
        self._refuse_bits(node)
        return self.refuse(
            "expected a comparison such as `config.lr < 0.1`, joined by and, or, not.", node
        )

    def _refuse_bits(self, node: ast.expr) -> None:
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr)):
            self.refuse("conditions are joined by `and` and `or`, not by `&` and `|`.", node)

    def _chain(self, node: ast.Compare) -> str:
        """``a < b < c`` as ``a < b AND b < c``."""
        sides = [node.left, *node.comparators]
        parts = [
            self._comparison(left, _OPERATORS[type(op)], right)
            for left, op, right in zip(sides[:-1], node.ops, sides[1:], strict=True)
        ]
        return parts[0] if len(parts) == 1 else "(" + " AND ".join(parts) + ")"

    def _comparison(self, left: ast.expr, operator: str, right: ast.expr) -> str:
        if operator in ("in", "not in"):
            found = self._membership(left, right)
            return found if operator == "in" else f"(NOT {found})"
        if _column_of(left) is None and _column_of(right) is None:
            self.refuse("this compares no column: expected one, such as `config.lr`.", left)
        if _column_of(left) is not None and _column_of(right) is not None:
            return self._of_columns(self._cell(left), operator, self._cell(right))
        if _column_of(left) is None:
            left, right, operator = right, left, _MIRRORED[operator]
        value = self._scalar(right)
        if operator in ("==", "!="):
            found = self._equal(self._cell(left), value)
            return found if operator == "==" else f"(NOT {found})"
        if value is None or isinstance(value, bool):
            self.refuse(f"{value} is neither less nor greater than anything.", right)
        return self._ordered(self._cell(left), operator, value)

    def _equal(self, cell: str, value: Scalar) -> str:
        if value is None:
            return f"({cell} IS NULL)"
        wanted = self.columns.cell(value)
        self.parameters.append(wanted)
        same = f"ifnull({cell} = ?, 0)"
        if isinstance(value, bool):
            return f"({same})"
        return f"({same} OR {self._compared(cell, '==', wanted)})"

    def _ordered(self, cell: str, operator: str, value: Scalar) -> str:
        wanted = self.columns.cell(value)
        if isinstance(wanted, bytes):
            return self._compared(cell, operator, wanted)
        self.parameters.append(wanted)
        kinds = "('text')" if isinstance(value, str) else _NUMBER
        plainly = f"typeof({cell}) IN {kinds} AND {cell} {operator} ?"
        return f"({plainly} OR {self._compared(cell, operator, wanted)})"

    def _compared(self, cell: str, operator: str, wanted: Any) -> str:
        """The same of what SQLite can't compare: packed cells, and numbers with a packed value."""
        self.parameters.append(wanted)
        kinds = f"('blob',{_NUMBER[1:]}" if isinstance(wanted, bytes) else "('blob')"
        return f"(typeof({cell}) IN {kinds} AND {COMPARED[operator]}({cell}, ?))"

    def _of_columns(self, one: str, operator: str, other: str) -> str:
        packed = f"typeof({one}) = 'blob' OR typeof({other}) = 'blob'"
        compared = f"(({packed}) AND {COMPARED.get(operator, 'is_same')}({one}, {other}))"
        if operator in ("==", "!="):
            same = f"(ifnull({one} = {other}, 0) OR {compared})"
            return same if operator == "==" else f"(NOT {same})"
        kinds = f"typeof({one}) IN {_NUMBER} AND typeof({other}) IN {_NUMBER}"
        texts = f"typeof({one}) = 'text' AND typeof({other}) = 'text'"
        return f"((({kinds}) OR ({texts})) AND {one} {operator} {other} OR {compared})"

    def _membership(self, left: ast.expr, right: ast.expr) -> str:
        """A cell in a list of values; or a value in a text, in a list, in the tags."""
        if isinstance(right, (ast.List, ast.Tuple, ast.Set)):
            if _column_of(left) is None:
                self.refuse("expected a column to look for in the list.", left)
            values = [self._scalar(item) for item in right.elts]
            cell = self._cell(left)
            return "(" + (" OR ".join(self._equal(cell, v) for v in values) or "0") + ")"
        name = _column_of(right)
        if name is None:
            self.refuse("expected a list, a column of texts or lists, or `tags`.", right)
        value = self._scalar(left)
        if name == "tags":
            if not isinstance(value, str):
                self.refuse('a tag is a text: `"best" in tags`.', left)
            return f"({self.columns.tagged(value, self.parameters)})"
        cell = self._cell(right)
        self.parameters.append(self.columns.cell(value))
        return f"holds({cell}, ?)"

    def _cell(self, node: ast.expr) -> str:
        name = _column_of(node)
        assert name is not None
        if name == "tags":
            self.refuse('tags are asked for by `"best" in tags`.', node)
        found = self.columns.column(name)
        if found is None:
            problem = f"There is no column {name!r}. {did_you_mean(name, self.columns.names())}"
            self.refuse(problem, node, UnknownColumn)
        return found

    def _scalar(self, node: ast.expr) -> Scalar:
        """A number, a text, True, False or None."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = self._scalar(node.operand)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.Constant) and isinstance(
            node.value, (bool, int, float, str, type(None))
        ):
            return node.value
        self._refuse_bits(node)
        return self.refuse("expected a number, a text, True, False or None.", node)
