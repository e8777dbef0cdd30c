"""What code is: a function with every helper, constant and default that it reaches.

Two functions have one fingerprint when their statements are the same, and so are the
statements of the user's functions and classes that they use, directly or not, and the values
of the constants they read. Comments, docstrings, annotations, layout, and the decorator's own
options play no part. Of libraries only the names count: their versions are recorded apart.

What the code itself changes - a counter, a memo, a list it appends to - is its state and not
its code, and plays no part either.
"""

from __future__ import annotations

import ast
import builtins
import dis
import functools
import importlib.machinery
import linecache
import re
import sys
import sysconfig
import textwrap
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any

from digital_experiments.digest import Indigestible, digest, short_hash
from digital_experiments.source import find_source, module_text, tree_of
from digital_experiments.views import short_repr, type_name

_MISSING = object()
_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"} | {
    "LOAD_FROM_DICT_OR_GLOBALS",
    "LOAD_FROM_DICT_OR_DEREF",
}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_MUTATORS = {
    *("add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert"),
    *("pop", "popitem", "popleft", "put", "remove", "reverse", "setdefault", "sort", "update"),
    "write",
}
_WATCHED_ITEMS = 100
_DATA = {
    *("bytearray", "collections.deque", "types.SimpleNamespace", "uuid.UUID"),
    *("datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta"),
    *("decimal.Decimal", "fractions.Fraction"),
}
_CONSTANTS = (type(None), bool, int, float, complex, str, bytes, range, PurePath, re.Pattern)


class Fingerprint:
    """The fingerprint of a function, and what it was made from.

    Parameters
    ----------
    function
        Any callable.
    deep : bool
        Whether to follow what the function reaches, or to take just its own statements.

    Attributes
    ----------
    value : str
        32 hexadecimal digits.
    """

    def __init__(self, function: Callable[..., Any], deep: bool = True) -> None:
        scout = _Walk(state=set())  # first find out what the code changes, helpers included
        scout.walk(function, deep)
        walk = _Walk(scout.state)
        walk.walk(function, deep)
        self.value = walk.digest()
        self._watched = walk.watched
        self._contents = walk.contents
        self._held = walk.held

    def is_current(self) -> bool:
        """Whether every name that the code reaches still stands for the same object.

        It is cheap enough to ask before each call; a helper that a notebook has defined
        anew, or that was reloaded, makes it False.
        """
        for namespace, name, seen in self._watched:
            if namespace.get(name, _MISSING) is not seen:
                return False
        return not self._contents or all(map(_is_unchanged, self._contents))

    def is_exact(self) -> bool:
        """The same, with a look at the content of all arrays and frames: for finding results."""
        return self.is_current() and all(digest(value) == known for value, known in self._held)


def same_statements(text: str, function: FunctionType) -> bool:
    """Whether a source text, decorators and comments aside, says what a function does."""
    source = find_source(function)
    if source is None:
        return False
    try:
        tree = tree_of(textwrap.dedent(text))
    except SyntaxError:
        return False
    kind = type(source.node)
    return any(dump(n) == dump(source.node) for n in ast.walk(tree) if isinstance(n, kind))


def code_digest(function: FunctionType) -> str:
    """The fingerprint of a function, for use as a value: 32 hexadecimal digits."""
    return Fingerprint(function).value


def kind_digest(value: object) -> str:
    """The fingerprint of a value's class where that is the user's, or of what a method is of."""
    if isinstance(value, types.MethodType):
        value = value.__self__
    kind = value if isinstance(value, type) else type(value)
    return "" if _is_library_class(kind) else Fingerprint(kind).value


class _Walk:
    """One walk from a function over all that it reaches."""

    def __init__(self, state: set[tuple[int, str]]) -> None:
        self.parts: list[str] = []
        self.watched: list[tuple[Any, str, object]] = []
        self.seen: dict[int, object] = {}
        self.queue: deque[Any] = deque()  # no recursion: data may be nested without end
        self.contents: list[tuple[Any, Any]] = []  # containers, and copies of them as they were
        self.state = state  # (namespace, name) of what the code itself changes
        self.modules: set[str] = set()
        self.held: list[tuple[Any, str]] = []  # arrays and frames, and what their content was

    def digest(self) -> str:
        return short_hash("\0".join(self.parts).encode())

    def note(self, *parts: object) -> None:
        self.parts.extend(str(part).encode("utf-8", "replace").decode() for part in parts)

    def walk(self, start: Any, deep: bool) -> None:
        """Take in an object and, if ``deep``, all that it reaches, nearest first."""
        self.visit(start)
        while self.queue:
            self.visit_new(self.queue.popleft())
            if not deep and len(self.seen) > 1:
                return

    def visit(self, value: Any) -> None:
        """Take in whatever a name of the code stands for: at once, or in its turn."""
        if isinstance(value, _CONSTANTS):
            self.note(type_name(type(value)), _constant(value))
        elif id(value) in self.seen:
            self.note("again", type_name(type(value)))
        else:
            self.seen[id(value)] = value
            self.queue.append(value)

    def visit_new(self, value: Any) -> None:
        if isinstance(value, FunctionType):
            self.function(value)
        elif isinstance(value, functools.partial):
            self.items("partial", [value.func, value.args, value.keywords])
        elif isinstance(value, types.MethodType):
            self.items("method", [value.__func__, value.__self__])
        elif isinstance(value, (staticmethod, classmethod)):
            self.visit(value.__func__)
        elif isinstance(value, functools.cached_property):
            self.visit(value.func)
        elif isinstance(value, property):
            self.items("property", [value.fget, value.fset, value.fdel])
        elif isinstance(value, (list, tuple)):
            self.watch_content(value)
            self.items(type(value).__name__, value)
        elif isinstance(value, (set, frozenset)):
            self.watch_content(value)
            self.note(type(value).__name__, sorted(map(_constant, value)))
        elif isinstance(value, dict):
            self.watch_content(value)
            self.items("dict", [*map(_constant, value), *value.values()])
        elif isinstance(value, ModuleType):
            self.module(value.__name__, getattr(value, "__file__", None))
        elif isinstance(value, type):
            self.class_(value)
        else:
            self.instance(value)

    def watch_content(self, value: Any) -> None:
        if len(value) <= _WATCHED_ITEMS and not isinstance(value, (tuple, frozenset)):
            self.contents.append((value, value.copy()))

    def items(self, kind: str, values: Any) -> None:
        self.note(kind, len(values))
        for value in values:
            self.visit(value)

    def function(self, function: FunctionType) -> None:
        code = function.__code__
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        library = _is_library(code.co_filename, function.__module__)
        if library:
            self.note("library", function.__module__, function.__qualname__)
        else:
            self.watched.append((_Attributes(function), "__code__", code))
            self.body(function, cells)
        self.items("defaults", [function.__defaults__, function.__kwdefaults__])
        for name, cell in cells.items():
            self.cell(name, cell, follow=not library or callable(_content(cell)))

    def body(self, function: FunctionType, cells: dict[str, types.CellType]) -> None:
        code = function.__code__
        source = find_source(function)
        if source is None:
            self.note(_bytecode(code))
            changed: set[str] = set()
        else:
            self.note(dump(source.node))
            changed = changed_names(source.node)
        chains = list(_names(code))
        namespace = function.__globals__
        changed |= {chain[0] for chain in chains if _mutates(chain, namespace)}
        changed |= _stored_names(code)
        changed -= set(code.co_varnames)  # what is local here says nothing of a global
        self.state |= {(id(namespace), name) for name in changed - cells.keys()}
        self.state |= {(id(cells[name]), "") for name in changed & cells.keys()}
        free = {chain[0] for chain in chains if chain[0] not in code.co_freevars}
        for chain in sorted({c for c in chains if c[0] in free}):
            self.global_(namespace, chain)
        for name, level in sorted(_imports(code)):
            self.import_(name, level, namespace)

    def cell(self, name: str, cell: types.CellType, follow: bool) -> None:
        content = _content(cell)
        if follow and ((id(cell), "") not in self.state or callable(content)):
            self.watched.append((_Attributes(cell), "cell_contents", content))
            self.note("closure", name)
            self.visit(content)

    def global_(self, namespace: dict[str, Any], chain: tuple[str, ...]) -> None:
        """Take in what ``a`` or ``module.a.b`` stands for in a function's module."""
        value = namespace.get(chain[0], _MISSING)
        if value is _MISSING:
            known = hasattr(builtins, chain[0])
            self.note("builtin" if known else "undefined", chain[0])
            if not known:
                self.watched.append((namespace, chain[0], _MISSING))
            return
        if (id(namespace), chain[0]) in self.state and not callable(value):
            if not _is_library_class(type(value)):
                self.visit(type(value))  # what it holds is state, what it does is code
            return
        self.watched.append((namespace, chain[0], value))
        for attribute in chain[1:]:
            if not isinstance(value, ModuleType) or _is_library_module(value):
                break
            inside: dict[str, Any] = vars(value)
            value = inside.get(attribute, _MISSING)
            self.watched.append((inside, attribute, value))
        self.note("name", chain[0])
        self.visit(value if value is not _MISSING else None)

    def import_(self, name: str, level: int, namespace: dict[str, Any]) -> None:
        """Take in a module of the user's that is imported within a function."""
        if level:
            package = str(namespace.get("__package__") or "").split(".")
            name = ".".join([*package[: len(package) - level + 1], *filter(None, [name])])
        self.module(name, _module_file(name))

    def module(self, name: str, filename: str | None) -> None:
        """Take in a module as a whole: its text, and the user's modules that it imports."""
        self.note("module", name)
        if filename is None or name in self.modules or _is_library(filename, name):
            return
        self.modules.add(name)
        linecache.checkcache(filename)
        text = module_text(filename)
        try:
            tree = tree_of(text)
        except SyntaxError:
            self.note(text)
            return
        self.note(dump(tree))
        for inner in sorted(_imported_modules(tree, name)):
            self.module(inner, _module_file(inner))

    def class_(self, kind: type) -> None:
        self.note("class", type_name(kind))
        if _is_library_class(kind):
            return
        self.items("bases", kind.__bases__)
        for name, value in sorted(vars(kind).items()):
            if not (name.startswith("__") and name.endswith("__")) or isinstance(
                value, FunctionType
            ):
                self.note("attribute", name)
                self.watched.append((vars(kind), name, value))
                self.visit(value)

    def instance(self, value: Any) -> None:
        wrapped = getattr(value, "__wrapped__", None)
        self.visit(type(value))
        if callable(wrapped):
            self.visit(wrapped)
        elif hasattr(value, "__parts__"):  # one function made of several
            self.items("parts", value.__parts__)
        elif _is_data(value):
            self.data(value)
        elif not _is_library_class(type(value)):
            attributes = getattr(value, "__dict__", None)
            if attributes is None:
                attributes = _slots(value)
            else:
                self.watch_content(attributes)
            self.items("attributes", [part for pair in sorted(attributes.items()) for part in pair])

    def data(self, value: Any) -> None:
        """An array or frame that is read as a global: its content, as far as it has any.

        Of a generator of random numbers, which goes on with each draw, what it was seeded with.
        """
        if _is_generator(value):
            seeds = getattr(getattr(value, "bit_generator", None), "seed_seq", None)
            self.note(
                "generator", getattr(seeds, "entropy", None), getattr(seeds, "spawn_key", None)
            )
            return
        try:
            known = digest(value)
        except Indigestible:
            known = "data"
        else:
            self.held.append((value, known))
        self.note(known)


def _is_data(value: Any) -> bool:
    """Whether an object is nothing but what it holds."""
    known = type(value).__module__.split(".")[0] in ("numpy", "pandas")
    return known or type_name(type(value)) in _DATA


def _is_generator(value: Any) -> bool:
    """Whether a value of NumPy's draws random numbers."""
    return type_name(type(value)).startswith("numpy.random.") and hasattr(value, "random")


def _slots(value: Any) -> dict[str, Any]:
    """The attributes of an object whose class has ``__slots__``."""
    names = {name for kind in type(value).__mro__ for name in _named(vars(kind).get("__slots__"))}
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _named(slots: Any) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots or ()


def _mutates(chain: tuple[str, ...], namespace: dict[str, Any]) -> bool:
    """Whether ``memo.append`` is among the names; ``module.append`` is a function like others."""
    if chain[-1] not in _MUTATORS:
        return False
    return len(chain) > 2 or not isinstance(namespace.get(chain[0]), ModuleType)


class _Attributes:
    """An object's attributes, read as a namespace is."""

    def __init__(self, owner: object) -> None:
        self.owner = owner

    def get(self, name: str, default: object) -> object:
        try:
            return getattr(self.owner, name, default)
        except ValueError:  # an empty cell
            return default


def _is_unchanged(pair: tuple[Any, Any]) -> bool:
    """Whether a container holds what it held; arrays that were exchanged can't be compared."""
    try:
        return bool(pair[0] == pair[1])
    except Exception:
        return False


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING


def _constant(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)  # its decimal digits may be more than Python will print
    return repr(value) if isinstance(value, _CONSTANTS) else short_repr(value)


def dump(node: object) -> str:
    """A syntax tree as text: without places, docstrings, annotations and decorators.

    Unlike :func:`ast.dump` it is the same under every version of Python that parses the
    same tree.
    """
    if isinstance(node, list):
        return f"[{','.join(map(dump, node))}]"
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__}:{_constant(node)}"
    shown = []
    for name, value in ast.iter_fields(node):
        if name in _LEFT_OUT or value is None or value == []:
            continue
        if name == "body" and isinstance(value, list):
            value = [statement for statement in value if not _is_text(statement)]
        shown.append(f"{name}={dump(value)}")
    if isinstance(node, ast.AnnAssign) and node.value is None:
        return ""
    kind = "Assign" if isinstance(node, ast.AnnAssign) else type(node).__name__
    return f"{kind}({','.join(shown)})"


_LEFT_OUT = {
    "annotation",
    "returns",
    "decorator_list",
    "type_comment",
    "type_params",
    "ctx",
    "kind",
} | {
    "simple",
    "type_ignores",
}


def _is_text(statement: ast.AST) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def changed_names(node: ast.AST) -> set[str]:
    """Names whose items or attributes a function sets or deletes: ``memo[key] = ...``."""
    return {
        part.value.id
        for part in ast.walk(node)
        if isinstance(part, (ast.Subscript, ast.Attribute))
        and isinstance(part.ctx, (ast.Store, ast.Del))
        and isinstance(part.value, ast.Name)
    }


def _bytecode(code: CodeType) -> str:
    constants = [
        _bytecode(c) if isinstance(c, CodeType) else f"{type(c).__name__}:{_constant(c)}"
        for c in code.co_consts
    ]
    return repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _names(code: CodeType) -> Iterator[tuple[str, ...]]:
    """The dotted names that a function reads from outside itself."""
    for inner in _codes(code):
        chain: list[str] = []
        for instruction in dis.get_instructions(inner):
            if chain and instruction.opname in _ATTRIBUTES:
                chain.append(str(instruction.argval))
                continue
            if chain:
                yield tuple(chain)
            chain = [str(instruction.argval)] if instruction.opname in _LOADS else []


def _stored_names(code: CodeType) -> set[str]:
    """Names that a function declares ``global`` or ``nonlocal``, and assigns to."""
    return {
        str(instruction.argval)
        for inner in _codes(code)
        for instruction in dis.get_instructions(inner)
        if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL")
        or (instruction.opname == "STORE_DEREF" and instruction.argval in code.co_freevars)
    }


def _imports(code: CodeType) -> set[tuple[str, int]]:
    """Name and level of every import within a function; submodules taken ``from`` count too."""
    found = set()
    for inner in _codes(code):
        level, module = 0, ""
        for instruction in dis.get_instructions(inner):
            if instruction.opname == "LOAD_CONST" and isinstance(instruction.argval, int):
                level = instruction.argval
            elif instruction.opname == "LOAD_SMALL_INT":
                level = int(instruction.argval)
            elif instruction.opname == "IMPORT_NAME":
                module = str(instruction.argval)
                found.add((module, level))
            elif instruction.opname == "IMPORT_FROM":
                found.add((f"{module}.{instruction.argval}".strip("."), level))
    return found


def _imported_modules(tree: ast.AST, importer: str) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = importer.split(".")[: -node.level] if node.level else []
            base = ".".join([*parent, *filter(None, [node.module])])
            found |= {base, *(f"{base}.{alias.name}".strip(".") for alias in node.names)}
    return found


def _module_file(name: str) -> str | None:
    """The file of a module, whether it is loaded or not; nothing is imported to find it."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        return getattr(loaded, "__file__", None)
    places: list[str] | None = None
    spec = None
    for part in _prefixes(name):
        try:
            spec = importlib.machinery.PathFinder.find_spec(part, places)
        except (ImportError, ValueError, OSError):
            return None
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    return spec.origin if spec else None


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


@functools.cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({str(Path(paths[key])) for key in ("stdlib", "platstdlib", "purelib", "platlib")})


@functools.cache
def _is_library(filename: str, module: str | None) -> bool:
    """Whether a file belongs to Python or to an installed package, not to the user."""
    if (module or "").partition(".")[0] == "digital_experiments":
        return True
    if filename.startswith("<frozen") or "site-packages" in filename or "dist-packages" in filename:
        return True
    return filename.startswith(_library_folders())


def _is_library_module(module: ModuleType) -> bool:
    filename = getattr(module, "__file__", None)
    return filename is None or _is_library(filename, module.__name__)


def _is_library_class(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    if module is None or kind.__module__ in ("__main__", "builtins"):
        return getattr(builtins, kind.__name__, None) is kind  # exec says "builtins" of any class
    return _is_library_module(module)
