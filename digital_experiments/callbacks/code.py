"""The source of the function that ran."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

from digital_experiments.callbacks.base import Callback
from digital_experiments.observation import Observation

_NO_SOURCE = "# not a Python function: it has no source"


class CodeVersioning(Callback):
    """Records ``metadata["code"]``: the function's source text, decorators included.

    Where there is no source - a function that ``exec`` made - its bytecode is listed.
    """

    def setup(self, function: Callable[..., Any]) -> None:
        """Note the file's text as it is now; it is searched at the first run."""
        self.functions = plain_functions(function)
        self.code: str | None = None
        from digital_experiments.source import remember

        for known in self.functions:
            remember(known.__code__.co_filename, known.__globals__)

    def end(self, observation: Observation) -> None:
        """Add the code."""
        if self.code is None:
            self.code = "\n\n".join(map(code_text, self.functions)) or _NO_SOURCE
        observation.metadata["code"] = self.code


def plain_functions(function: Callable[..., Any]) -> list[FunctionType]:
    """The Python functions that make up a callable: of a pipeline those of its steps."""
    parts = getattr(function, "__parts__", [function])
    found = [plain_function(part) for part in parts]
    return [plain for plain in found if plain is not None]


def plain_function(function: Callable[..., Any]) -> FunctionType | None:
    """The Python function behind partials, wrappers, methods and callable objects."""
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType):
        function = getattr(function, "__func__", vars(type(function)).get("__call__", function))
    return function if isinstance(function, FunctionType) else None


def code_text(function: FunctionType) -> str:
    """The source of a function, or the listing of its bytecode."""
    from digital_experiments.source import find_source

    source = find_source(function)
    if source is not None:
        return source.text
    import dis
    from io import StringIO

    listing = StringIO()
    dis.dis(function, file=listing)
    return f"# {function.__qualname__}: no source; its bytecode is\n{listing.getvalue()}"
