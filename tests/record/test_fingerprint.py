"""The current code: the function with all that it reaches, and nothing that does not matter."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from digital_experiments import experiment
from digital_experiments.fingerprint import Fingerprint

BASE = """
import functools
FACTOR = 2
TABLE = {"double": lambda x: x * 2}
def helper(x):
    return x + 1
def deep(x):
    return helper(x) * FACTOR
class Model:
    bias = 1
    def predict(self, x):
        return x + self.bias
def f(x):
    model = Model()
    return deep(x) + model.predict(x) + TABLE["double"](x)
"""


@pytest.fixture
def fingerprint_of(folder: Path) -> Callable[..., str]:
    """The fingerprint of ``f`` in a module of the text given, in a process's first sight of it."""
    count = iter(range(1000))

    def make(text: str) -> str:
        name = f"module_{folder.name.replace('-', '_')}_{next(count)}"
        path = folder / f"{name}.py"
        path.write_text(text)
        namespace: dict[str, Any] = {"__name__": "same", "__file__": str(path)}
        exec(compile(text, str(path), "exec"), namespace)
        return Fingerprint(namespace["f"]).value

    return make


SAME = {
    "a comment": BASE.replace("def f(x):", "def f(x):  # now with a comment"),
    "a docstring": BASE.replace("def f(x):", 'def f(x):\n    """Now documented."""'),
    "annotations": BASE.replace("def f(x):", "def f(x: int) -> int:"),
    "layout": BASE.replace(
        "return helper(x) * FACTOR", "return (\n        helper(x)\n        * FACTOR)"
    ),
    "another place": BASE.replace("import functools", "import functools\n\nUNUSED = 1\n"),
    "a helper's comment": BASE.replace("    return x + 1", "    # one more\n    return x + 1"),
}
OTHER = {
    "the body": BASE.replace("deep(x) +", "deep(x) -"),
    "a default": BASE.replace("def f(x):", "def f(x=1):"),
    "a helper": BASE.replace("return x + 1", "return x + 2"),
    "a constant of a helper": BASE.replace("FACTOR = 2", "FACTOR = 3"),
    "a method": BASE.replace("return x + self.bias", "return x - self.bias"),
    "a class attribute": BASE.replace("bias = 1", "bias = 2"),
    "a function in a table": BASE.replace("lambda x: x * 2", "lambda x: x * 3"),
    "the type of a constant": BASE.replace("FACTOR = 2", "FACTOR = 2.0"),
}


@pytest.mark.parametrize("what", SAME)
def test_it_stays_when_only_this_changes(fingerprint_of: Callable[..., str], what: str) -> None:
    assert SAME[what] != BASE
    assert fingerprint_of(SAME[what]) == fingerprint_of(BASE)


@pytest.mark.parametrize("what", OTHER)
def test_it_changes_with(fingerprint_of: Callable[..., str], what: str) -> None:
    assert OTHER[what] != BASE
    assert fingerprint_of(OTHER[what]) != fingerprint_of(BASE)


def test_options_of_the_decorator_play_no_part(fingerprint_of: Callable[..., str]) -> None:
    text = "from digital_experiments import experiment\n@experiment({})\ndef f(x):\n    return x\n"
    made = {fingerprint_of(text.format(o)) for o in ("", "cache=True", "tags=['a'], verbose=False")}
    assert len(made) == 1


def test_what_the_code_changes_itself_is_its_state() -> None:
    def define() -> tuple[Callable[[int], int], dict[str, Any]]:
        namespace: dict[str, Any] = {}
        source = (
            "calls, memo, count = [], {}, 0\n"
            "def note(x):\n    global count\n    count += 1\n    calls.append(x)\n    memo[x] = x\n"
            "def f(x):\n    note(x)\n    return len(calls) + len(memo) + count\n"
        )
        path = Path("state.py").absolute()
        path.write_text(source)
        exec(compile(source, str(path), "exec"), namespace)
        return namespace["f"], namespace

    f, namespace = define()
    before = Fingerprint(f)
    f(1)
    assert before.is_current()
    assert Fingerprint(f).value == before.value
    namespace["calls"].append(5)
    assert Fingerprint(f).value == before.value


def test_closures_partials_and_arrays_count() -> None:
    def scaled(by: Any) -> Callable[[int], Any]:
        return lambda x: x * by

    def add(a: int, b: int) -> int:
        return a + b

    values = [scaled(1), scaled(2), scaled(np.arange(2)), scaled(np.arange(3)), scaled(add)]
    values += [functools.partial(add, 1), functools.partial(add, 2)]  # type: ignore[list-item]
    assert len({Fingerprint(value).value for value in values}) == len(values)
    assert Fingerprint(scaled(1)).value == Fingerprint(scaled(1)).value


@pytest.fixture
def module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ModuleType]:
    monkeypatch.syspath_prepend(str(folder))

    def write(name: str, text: str) -> ModuleType:
        (folder / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return write


USING = [
    "from aid import helper\ndef f(x):\n    return helper(x)\n",
    "import aid\ndef f(x):\n    return aid.helper(x)\n",
    "def f(x):\n    from aid import helper\n    return helper(x)\n",
    "def f(x):\n    import aid\n    return aid.helper(x)\n",
]


@pytest.mark.parametrize("using", USING)
def test_helpers_in_other_modules_count(
    module: Callable[[str, str], ModuleType], using: str
) -> None:
    module("aid", "def helper(x):\n    return x + 1\n")
    first = Fingerprint(module("main_module", using).f).value
    module("aid", "# a comment\ndef helper(x):\n    return x + 1\n")
    same = Fingerprint(module("main_module", using).f).value
    module("aid", "def helper(x):\n    return x + 1000\n")
    other = Fingerprint(module("main_module", using).f).value
    assert first == same != other


def test_a_helper_defined_anew_hides_older_observations() -> None:
    namespace: dict[str, Any] = {"experiment": experiment}
    exec("def helper(x):\n    return x\n@experiment\ndef f(x):\n    return helper(x)", namespace)
    f = namespace["f"]
    f(1)
    assert len(f.observations()) == 1
    exec("def helper(x):\n    return x * 100", namespace)
    assert f.observations() == []
    assert f.observations().hidden == {"from older code": 1}
    f(1)
    assert [o.result for o in f.observations()] == [100]
    assert [o.result for o in f.observations(current_code_only=False)] == [1, 100]


def test_code_is_what_was_loaded_even_if_the_file_was_edited_since(folder: Path) -> None:
    path = folder / "edited.py"
    path.write_text("def f(x):\n    return x + 1\n")
    namespace: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    recorded = experiment(namespace["f"])
    path.write_text("# moved down\n\ndef f(x):\n    return x + 2000\n")
    recorded(1)
    assert recorded.observations()[0].metadata["code"] == "def f(x):\n    return x + 1\n"


def test_a_constant_changed_in_place_is_noticed() -> None:
    namespace: dict[str, Any] = {"experiment": experiment, "SETTINGS": {"a": 1}}
    exec(
        "class Model:\n    bias = 1\n"
        "@experiment(cache=True)\ndef f():\n    return SETTINGS['a'] + Model.bias",
        namespace,
    )
    f = namespace["f"]
    assert f() == 2
    namespace["SETTINGS"]["a"] = 2
    assert f() == 3
    namespace["Model"].bias = 5
    assert f() == 7


def test_a_counter_in_a_closure_is_state() -> None:
    def make() -> Any:
        count, seen = 0, []

        @experiment(cache=True, name="counted")
        def counted(x: int) -> int:
            nonlocal count
            count += 1
            seen.append(x)
            return count

        return counted

    counted = make()
    assert (counted(1), counted(1), counted(2), make()(1)) == (1, 1, 2, 1)
    assert len(counted.observations()) == 2


def test_data_nested_without_end_is_no_trouble() -> None:
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    recorded = experiment(lambda: len(nested))
    assert recorded() == 1
    assert len(recorded.observations()) == 1


def test_functions_that_are_named_like_methods_of_lists_are_followed(folder: Path) -> None:
    script = folder / "uses.py"
    script.write_text(
        "import helpers\n"
        "from datetime import date\n"
        "from digital_experiments.fingerprint import Fingerprint\n"
        "day = date(2020, 1, DAY)\n"
        "class Model:\n"
        "    def update(self, x): return x + STEP\n"
        "model = Model()\n"
        "class Slim:\n"
        "    __slots__ = ('a',)\n"
        "slim = Slim()\n"
        "slim.a = SLIM\n"
        "params = {'a': PARAM}\n"
        "def other(params): params['b'] = 1\n"
        "def f(x):\n"
        "    other({})\n"
        "    return helpers.add(x) + model.update(x) + day.day + slim.a + params['a']\n"
        "print(Fingerprint(f).value)\n"
    )
    text = script.read_text()

    def fingerprint(**changed: int) -> str:
        values = {"DAY": 1, "STEP": 1, "SLIM": 1, "PARAM": 1, "ADD": 1, **changed}
        whole = text
        for name, value in values.items():
            whole = whole.replace(name, str(value))
        script.write_text(whole)
        (folder / "helpers.py").write_text(f"def add(x): return x + {values['ADD']}\n")
        command = [sys.executable, "-B", str(script)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    first = fingerprint()
    assert first == fingerprint()
    for name in ("DAY", "STEP", "SLIM", "PARAM", "ADD"):
        assert fingerprint(**{name: 2}) != first, name


generator = np.random.default_rng(0)


def test_a_generator_of_random_numbers_is_told_by_its_seed() -> None:
    def drawn() -> float:
        return float(generator.random())

    before = Fingerprint(drawn)
    drawn()
    assert before.is_exact()
    assert Fingerprint(drawn).value == before.value
    drawn.__globals__["generator"] = np.random.default_rng(1)
    assert not before.is_current()
    assert Fingerprint(drawn).value != before.value
