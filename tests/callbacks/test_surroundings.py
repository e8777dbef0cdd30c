"""Git, packages, system, logs: what is recorded around a run."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from digital_experiments import experiment
from digital_experiments.callbacks import (
    CodeVersioning,
    GitInfo,
    Logging,
    PipFreeze,
    SaveLogs,
    SystemInfo,
    Timing,
)
from digital_experiments.callbacks.git import git_facts
from digital_experiments.callbacks.packages import pip_freeze
from digital_experiments.callbacks.watched import Watched
from digital_experiments.forks import unforked
from digital_experiments.testing import CallbackSuite

Git = Callable[..., str]


@pytest.mark.parametrize(
    "kind", [CodeVersioning, GitInfo, Logging, PipFreeze, SaveLogs, SystemInfo, Timing]
)
class TestBuiltIn(CallbackSuite):
    @pytest.fixture(autouse=True)
    def choose(self, kind: Any) -> None:
        self.kind = kind

    def make(self) -> Any:
        return self.kind()


def facts_of_a_run() -> dict[str, Any]:
    recorded = experiment(root="store", name="probe")(lambda: 1)
    recorded()
    return dict(recorded.observations()[-1].metadata["environment"])


@pytest.fixture
def repository(git: Git, folder: Path) -> Git:
    git("init", "-q", "-b", "main")
    (folder / ".gitignore").write_text("store\ntmp\n")
    (folder / "code.py").write_text("x = 1\n")
    git("add", "-A")
    git("commit", "-qm", "one")
    return git


def test_a_clean_commit_is_recorded(repository: Git) -> None:
    repository("remote", "add", "origin", "https://me:secret@example.org/team/r.git?key=1")
    git = facts_of_a_run()["git"]
    assert git == {
        "branch": "main",
        "commit": repository("rev-parse", "HEAD"),
        "remote": "https://example.org/team/r.git",
        "dirty": False,
    }
    stored = b"".join(p.read_bytes() for p in Path("store").rglob("*") if p.is_file())
    assert b"secret" not in stored


def test_uncommitted_changes_can_be_applied_again(repository: Git, folder: Path) -> None:
    (folder / "code.py").write_text("x = 2\n\n")
    (folder / "new.py").write_text("y = 'ü'\n")
    (folder / "notes.txt").write_text("not Python")
    (folder / "huge.py").write_text("z = 1\n" * 100_000)
    git = facts_of_a_run()["git"]
    assert git["dirty"] is True
    assert git["untracked"] == {"new.py": "y = 'ü'\n"}
    (folder / "saved.patch").write_text(git["diff"])
    repository("checkout", "-q", "code.py")
    repository("apply", "saved.patch")
    assert (folder / "code.py").read_text() == "x = 2\n\n"


def test_a_new_commit_is_noticed_and_no_process_is_started_otherwise(
    repository: Git, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = experiment(root="store", name="probe")(lambda: 1)
    recorded()
    popen = subprocess.Popen
    started: list[Any] = []

    class Counted(popen):  # type: ignore[type-arg, misc, valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            started.append(args)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", Counted)
    monkeypatch.setattr("git.cmd.safer_popen", Counted)
    for _ in range(100):
        recorded()
    assert started == []
    monkeypatch.undo()
    os.chdir(folder)
    repository("commit", "-q", "--allow-empty", "-m", "two")
    recorded()
    repository("checkout", "-q", "-b", "other")
    recorded()
    commits = [o.metadata["environment"]["git"] for o in recorded.observations()[-2:]]
    assert [c["commit"] for c in commits] == [repository("rev-parse", "HEAD")] * 2
    assert [c["branch"] for c in commits] == ["main", "other"]


def test_without_a_repository_git_is_left_out(folder: Path) -> None:
    assert git_facts(str(folder)) is None


def test_without_a_commit_or_a_remote(git: Git, folder: Path) -> None:
    git("init", "-q", "-b", "main")
    (folder / ".gitignore").write_text("store\ntmp\n")
    facts = facts_of_a_run()["git"]
    assert (facts["branch"], facts["commit"], facts["remote"]) == ("main", None, None)


def test_a_detached_head_a_worktree_and_a_submodule(repository: Git, folder: Path) -> None:
    commit = repository("rev-parse", "HEAD")
    repository("worktree", "add", "-q", "-b", "side", "tmp/side")
    repository("clone", "-q", ".", "tmp/inner")
    protocol = ["-c", "protocol.file.allow=always"]
    repository(*protocol, "submodule", "--quiet", "add", "./tmp/inner", "sub")
    repository("checkout", "-q", "--detach")
    for place, branch in ((".", "HEAD"), ("tmp/side", "side"), ("sub", "main")):
        facts = git_facts(str(folder / place))
        assert facts is not None
        assert (facts["branch"], facts["commit"]) == (branch, commit)


def test_without_git_on_the_path(folder: Path, repository: Git) -> None:
    script = (
        "from digital_experiments import experiment\n"
        "f = experiment(root='store', name='f')(lambda: 1)\nf()\n"
        "print(sorted(f.observations()[0].metadata['environment']))"
    )
    seen = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PATH": str(folder / "nothing")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout.strip() == "['pip_freeze', 'system']"


def test_packages_are_listed_as_pip_freeze_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = folder / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def install(name: str, **direct: Any) -> None:
        (site / f"{name}.dist-info").mkdir()
        if direct:
            (site / f"{name}.dist-info" / "direct_url.json").write_text(json.dumps(direct))

    install("some_package-1.2")
    first = pip_freeze().splitlines()
    assert "some-package==1.2" in first
    vcs = {"vcs": "git", "commit_id": "abc"}
    install("from_git-2", url="https://u:p@example.org/r", vcs_info=vcs)
    install("editable-3", url="file:///src/editable", dir_info={"editable": True})
    lines = pip_freeze().splitlines()
    assert set(lines) - set(first) == {
        "from-git @ git+https://example.org/r@abc",
        "-e file:///src/editable  # editable==3",
    }
    listed = [sys.executable, "-m", "pip", "list", "--format=json"]
    seen = subprocess.run(listed, capture_output=True, text=True, check=True)
    for package in json.loads(seen.stdout):
        name = package["name"].lower().replace("_", "-").replace(".", "-")
        if name not in ("pip", "setuptools", "wheel"):
            assert name in "\n".join(lines).lower().replace(".", "-")
    assert sysconfig.get_paths()["purelib"] in sys.path


def test_the_system_is_described(folder: Path) -> None:
    system = facts_of_a_run()["system"]
    expected = {"platform", "machine", "processor", "system", "python_version", "pwd"}
    assert expected <= system.keys()
    assert system["pwd"] == str(folder)


def test_logs_of_threads_keep_apart_and_stdout_is_restored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sys.stdout, sys.stderr
    barrier = threading.Barrier(4)

    @experiment(callbacks=[SaveLogs()])
    def talk(i: int) -> None:
        barrier.wait()
        for _ in range(20):
            print("out", i)
            print("err", i, file=sys.stderr)
        if i == 3:
            raise ValueError

    def quietly(i: int) -> None:
        try:
            talk(i)
        except ValueError:
            print("failed", i)

    threads = [threading.Thread(target=quietly, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sys.stdout, sys.stderr) == before
    found = talk.observations(status=None)
    assert len(found) == 4
    for o in found:
        i = o.config["i"]
        assert (o.dir / "logs.txt").read_text() == f"out {i}\nerr {i}\n" * 20
    assert capsys.readouterr().out.count("out") == 80


def test_the_log_of_a_nested_run_is_in_its_parents_too() -> None:
    @experiment(callbacks=[SaveLogs("mine.txt")])
    def inner() -> None:
        print("inside")

    @experiment(callbacks=[SaveLogs()])
    def outer() -> None:
        print("before")
        inner()

    outer()
    assert outer.observations()[0].artefacts()[0].read_text() == "before\ninside\n"
    assert inner.observations()[0].artefacts()[0].read_text() == "inside\n"


def test_a_log_can_not_leave_its_folder() -> None:
    with pytest.raises(ValueError, match="can't be the name of a log file"):
        SaveLogs("../logs.txt")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_waits_until_another_process_has_answered() -> None:
    asked, answered = threading.Event(), threading.Event()

    def ask() -> None:
        with unforked:
            asked.set()
            subprocess.run(["sleep", "0.5"], check=True)
            answered.set()

    thread = threading.Thread(target=ask)
    thread.start()
    asked.wait()
    forked = multiprocessing.get_context("fork").Process(target=answered.is_set)
    forked.start()
    assert answered.is_set()  # it holds no pipe to the other
    forked.join()
    thread.join()


def test_what_is_watched_is_noticed_two_milliseconds_later_at_most(folder: Path) -> None:
    file, missing = folder / "file", folder / "missing"
    file.write_text("1")
    watched = Watched([str(file), str(missing)])
    assert watched.is_unchanged()
    missing.write_text("2")
    time.sleep(0.002)
    assert not watched.is_unchanged()
    assert not watched.is_unchanged(), "until somebody has looked at it anew"
