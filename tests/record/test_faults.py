"""Whatever goes wrong with recording, the caller has the function's value and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from digital_experiments import Callback, Observation, current_dir, current_run, experiment
from digital_experiments.errors import (
    CallbackWarning,
    InvalidName,
    RecordingError,
    RecordingWarning,
    RootError,
)
from digital_experiments.views import ValueView


def rescued(folder: Path, name: str) -> list[Observation]:
    (place,) = (folder / "tmp").glob("digital_experiments-rescue-*")
    kept = experiment(root=place / name, name=name)(lambda: None)
    return list(kept.observations(current_code_only=False, status=None))


def test_a_value_that_can_not_be_pickled_keeps_its_repr_and_the_reason() -> None:
    lock = threading.Lock()

    @experiment
    def locked() -> dict[str, Any]:
        return {"lock": lock, "accuracy": 0.5}

    with pytest.warns(RecordingWarning, match=r"type lock can't be pickled .*cannot pickle"):
        assert locked()["lock"] is lock
    (found,) = locked.observations()
    assert found.result["accuracy"] == 0.5
    assert isinstance(found.result["lock"], ValueView)
    assert "lock" in repr(found.result["lock"])
    assert "cannot pickle" in (found.result["lock"].reason or "")


def test_a_value_that_holds_itself_comes_back() -> None:
    @experiment
    def circular() -> list[Any]:
        items: list[Any] = [1]
        items.append(items)
        return items

    circular()
    result = circular.observations()[0].result
    assert result[1] is result


def test_a_result_whose_class_is_gone_costs_only_itself(folder: Path) -> None:
    (folder / "shapes.py").write_text("class Square:\n    def __repr__(self): return 'Square(2)'\n")
    script = (
        "from digital_experiments import experiment\nfrom shapes import Square\n"
        "f = experiment(root='gone', name='f')(lambda x: Square() if x else 0)\nf(1); f(0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    (folder / "shapes.py").unlink()
    found = experiment(root="gone", name="f")(lambda x: x).observations(current_code_only=False)
    assert repr(found[0]).endswith("→ Square(2))")
    assert list(found.to_dataframe()["result"]) == ["Square(2)", 0]
    with pytest.raises(ValueError, match=r"can't be loaded here.*No module named 'shapes'"):
        found[0].result
    assert found[1].result == 0


def test_a_root_that_is_a_file_is_told_at_once(folder: Path) -> None:
    (folder / "taken").write_text("")
    with pytest.raises(RootError, match="is a file"):
        experiment(root=folder / "taken")(lambda: 1)
    with pytest.raises(NotADirectoryError):
        experiment(root=folder / "taken" / "below")(lambda: 1)


def test_a_root_that_became_a_file_loses_nothing(folder: Path) -> None:
    recorded = experiment(name="late")(lambda x: x)
    (folder / "experiments").write_text("")
    with pytest.warns(RecordingWarning, match=r"could not be recorded .* It is kept in"):
        assert recorded(5) == 5
    assert [o.result for o in rescued(folder, "late")] == [5]


def test_a_relative_root_is_made_absolute_when_first_used(folder: Path) -> None:
    recorded = experiment(root="here")(lambda x: x)
    recorded(1)
    (folder / "elsewhere").mkdir()
    os.chdir(folder / "elsewhere")
    recorded(2)
    assert [o.result for o in recorded.observations()] == [1, 2]
    assert recorded.root == folder / "here"


@pytest.fixture
def mounted(folder: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system of memory with the options given."""
    place = folder / "mounted"
    place.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = (
            shutil.which("mount") and subprocess.run(command, capture_output=True).returncode == 0
        )
        if not done and os.environ.get("DE_CI"):
            pytest.fail("CI must be able to mount a file system")
        if not done:
            pytest.skip("mounting a file system needs rights that this user does not have")
        return place

    yield mount
    subprocess.run(["umount", str(place)], capture_output=True)


def test_a_read_only_root_loses_nothing(mounted: Callable[[str], Path], folder: Path) -> None:
    place = mounted("ro,size=64k")

    @experiment(root=place / "store", name="f")
    def write(x: int) -> int:
        (current_dir() / "a.txt").write_text("kept")
        return x

    with pytest.warns(RecordingWarning) as seen:
        assert write(5) == 5
    assert ["Read-only file system" in str(w.message) for w in seen] == [True, True]
    assert write.observations() == []
    (found,) = rescued(folder, "f")
    assert found.result == 5
    assert [path.name for path in found.artefacts()] == ["a.txt"]


def test_a_full_disk_loses_nothing(mounted: Callable[[str], Path], folder: Path) -> None:
    place = mounted("size=64k")
    function = eval("lambda n: os.urandom(n)", {"os": os})  # in no repository: no diff to keep
    recorded = experiment(root=place / "store", name="f")(function)
    recorded(10)
    with pytest.warns(RecordingWarning, match="No space left on device"):
        assert len(recorded(60_000)) == 60_000
    with pytest.warns(RecordingWarning, match="No space left on device"):
        assert len(recorded(600_000)) == 600_000
    recorded(20)
    assert [len(o.result) for o in recorded.observations()] == [10, 20]
    assert [len(o.result) for o in rescued(folder, "f")] == [60_000, 600_000]
    assert not list(place.rglob("*.tmp"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_with_no_room_anywhere_the_warning_tells_the_result(folder: Path) -> None:
    script = (
        "import resource, signal, warnings\n"
        "from digital_experiments import experiment\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "e = experiment(root='full', name='f')(lambda n: 'x' * n)\n"
        "e(10)\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    assert len(e(20_000)) == 20_000\n"
        "print(seen[-1].message)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "e(30)\n"
        "print([len(o.result) for o in e.observations()])\n"
    )
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert seen.returncode == 0, seen.stderr
    message, lengths = seen.stdout.strip().rsplit("\n", 1)
    assert "File too large" in message
    assert "ended as" in message  # with no place to keep it, the warning tells of it
    assert lengths == "[10, 30]"
    assert not list((folder / "full").rglob("*.tmp"))


def test_a_run_may_delete_its_folder_or_the_whole_store() -> None:
    @experiment(root="store")
    def destroy(what: str) -> str:
        place = current_dir()
        shutil.rmtree(place if what == "folder" else "store")
        if what == "twice":
            current_dir()
        return what

    assert [destroy("folder"), destroy("store"), destroy("twice")] == ["folder", "store", "twice"]
    (last,) = destroy.observations()
    assert last.metadata["environment"]["system"]["system"]
    assert "def destroy" in last.metadata["code"]


def test_strict_turns_faults_into_errors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = experiment(name="strictly")(lambda: threading.Lock())
    with pytest.raises(RecordingError, match="can't be pickled"):
        recorded.with_(strict=True)()
    monkeypatch.setenv("DE_STRICT", "1")
    with pytest.raises(RecordingError, match="can't be pickled"):
        recorded()


class Broken(Callback):
    def __init__(self, hook: str) -> None:
        self.hook = hook

    def start(self, id: str, config: dict[str, Any]) -> None:
        if self.hook == "start":
            raise ValueError("no start")

    def end(self, observation: Observation) -> None:
        if self.hook == "end":
            raise ValueError("no end")
        assert self.hook != "start", "a callback whose start failed is not told of the end"


@pytest.mark.parametrize("hook", ["start", "end"])
def test_a_broken_callback_is_named_and_harms_nothing(hook: str) -> None:
    recorded = experiment(callbacks=[Broken(hook)])(lambda x: x + 1)
    with pytest.warns(CallbackWarning, match=rf"Broken\.{hook} raised ValueError: no {hook}"):
        assert recorded(1) == 2
    assert [o.result for o in recorded.observations()] == [2]


def test_a_broken_backend_loses_nothing(folder: Path) -> None:
    from digital_experiments.backends import PickleBackend

    class Refusing(PickleBackend):
        def record(self, observation: Observation) -> None:
            raise OSError("no more")

    recorded = experiment(backend=Refusing, name="refused")(lambda: 7)
    with pytest.warns(RecordingWarning, match="OSError: no more"):
        assert recorded() == 7
    assert [o.result for o in rescued(folder, "refused")] == [7]


def test_a_clock_set_back_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    recorded = experiment(lambda x: x)
    recorded(0)
    now = time.time_ns
    monkeypatch.setattr("time.time_ns", lambda: now() - 3600 * 10**9)
    recorded(1)
    recorded(2)
    assert [o.result for o in recorded.observations()] == [0, 1, 2]
    assert all(o.duration >= 0 for o in recorded.observations())  # type: ignore[operator]


def test_two_functions_under_one_name_are_told() -> None:
    def one() -> int:
        return 1

    def other() -> int:
        return 2

    first, second = (experiment(root="same", name="same")(f) for f in (one, other))
    first()
    with pytest.warns(RecordingWarning, match=r"one and .*other both record as 'same'"):
        second()
    assert [o.result for o in first.observations()] == [1]
    assert [o.result for o in second.observations()] == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a/b"}, "can't be the name"),
        ({"nmae": "x"}, "Did you mean 'name'"),
        ({"tags": [1]}, "must be texts"),
        ({"callbacks": [Callback]}, r"instances of Callback.*add \(\)"),
        ({"root": "s4://bucket/x"}, "unknown scheme"),
        ({"root": 3}, "must be a path"),
        ({"backend": 3}, "must be a name"),
    ],
)
def test_a_wrong_option_is_told_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError, InvalidName), match=message):
        experiment(**options)(lambda: 1)


def test_a_forgotten_keyword_is_told() -> None:
    with pytest.raises(TypeError, match="Options go by name"):
        experiment("runs")  # type: ignore[call-overload]


def test_wrong_selections_are_told() -> None:
    @experiment
    def f(learning_rate: float) -> float:
        return learning_rate

    f(0.1)
    with pytest.raises(ValueError, match="Did you mean 'failed'"):
        f.observations(status="fialed")
    with pytest.raises(TypeError, match="Did you mean 'learning_rate'"):
        f.observations(learning_rat=0.1)
    with pytest.raises(KeyError, match=r"has a number in column 'result\.x'"):
        f.observations().best("result.x")
    with pytest.raises(KeyError, match="No observation 'nope'"):
        f.load("nope")


def test_a_run_shows_itself() -> None:
    shown: list[str] = []
    recorded = experiment(lambda x: shown.append(repr(current_run())))
    recorded(1)
    assert "{'x': 1}" in shown[0]


def test_a_callback_that_can_not_be_set_up_is_left_out() -> None:
    class Unready(Callback):
        def setup(self, function: Any) -> None:
            raise ValueError("not now")

    with pytest.warns(CallbackWarning, match=r"Unready\.setup raised ValueError: not now"):
        recorded = experiment(callbacks=[Unready()])(lambda: 1)
    assert recorded() == 1


def test_what_a_callback_adds_and_can_not_be_kept_is_told() -> None:
    class Adds(Callback):
        def end(self, observation: Observation) -> None:
            observation.metadata["mine"] = threading.Lock()

    recorded = experiment(callbacks=[Adds()])(lambda: 1)
    with pytest.warns(RecordingWarning, match="type lock can't be pickled"):
        recorded()


def test_odd_arguments_harm_nothing() -> None:
    import numpy  # noqa: F401 - proxies meet its types

    class Proxy:
        @property
        def __class__(self) -> Any:  # type: ignore[override]
            raise RuntimeError("outside of a request")

    with pytest.warns(RecordingWarning, match="outside of a request"):
        assert experiment(lambda p: 1)(Proxy()) == 1
    assert experiment(lambda **options: options, name="o")(self=1, function=2) == {
        "self": 1,
        "function": 2,
    }


def test_a_torn_blob_is_written_again() -> None:
    recorded = experiment(name="torn")(lambda: "z" * 200_000)
    recorded()
    for blob in recorded.root.rglob("*.pkl"):
        if blob.stat().st_size > 100_000:
            blob.write_bytes(b"")
    recorded()
    assert [o.result for o in recorded.observations()] == ["z" * 200_000] * 2


def test_odd_values_show_and_rank() -> None:
    recorded = experiment(lambda x: x)
    for value in (10**400, 1, {10**5000: 1}, "\ud800"):
        recorded(value)
    found = recorded.observations()
    found._repr_html_().encode()
    assert len(found.to_dataframe()) == 4
    assert found[:2].best().result == 10**400


def test_a_named_pipe_in_the_store_is_passed_over() -> None:
    recorded = experiment(lambda: 1)
    recorded()
    os.mkfifo(recorded.root / "pipe.pkl")
    assert len(recorded.observations()) == 1


@pytest.mark.parametrize("content", [b"[" * 100_000, b"- " * 100_000, b"&a [*a]"])
@pytest.mark.parametrize("backend", ["json", "yaml"])
def test_garbage_nested_without_end_costs_only_itself(backend: str, content: bytes) -> None:
    recorded = experiment(backend=backend)(lambda: 1)
    recorded()
    (recorded.root / f"bad.{backend}").write_bytes(content + b"\n...\n")
    with pytest.warns(UserWarning, match="bad"):
        assert [o.result for o in recorded.observations()] == [1]


def test_a_cached_result_that_was_not_kept_whole_is_made_again() -> None:
    recorded = experiment(cache=True)(lambda x: {"lock": threading.Lock(), "x": x})
    for _ in range(2):
        with pytest.warns(RecordingWarning, match="can't be pickled"):
            assert not isinstance(recorded(1)["lock"], ValueView)
