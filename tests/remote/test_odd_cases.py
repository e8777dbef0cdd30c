"""Corners of sharing that fresh eyes found wrong once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from buckets import forget_buckets
from s3_server import BUCKET, Server
from test_machines import long_run

from digital_experiments import Registry, current_dir, experiment, open_experiment, start_run
from digital_experiments.errors import (
    DigitalExperimentsWarning,
    InvalidName,
    OfflineWarning,
    RootError,
    StoreNotFound,
)
from digital_experiments.remote import Place, located
from digital_experiments.remote.buckets import Bucket
from digital_experiments.remote.opening import bucket_of, folder_for

ODD = ["x#1", "x#2", "a b", "a%20b", "q?1", "q?2", "100%", "ä~[b]"]


def place_of(root: str) -> Place:
    place = located(root)
    assert isinstance(place, Place)
    return place


def bucket(root: str) -> Bucket:
    return bucket_of(place_of(root))


class Held:
    """A value that is no plain data."""

    def __init__(self, x: int) -> None:
        self.x = x


def fit(root: str) -> Any:
    @experiment(root=root)
    def fit(x: int) -> Held:
        (current_dir() / "left").write_text(str(x))
        return Held(x)

    return fit


def fit_with_an_odd_name(root: str) -> Any:
    @experiment(root=root, name="fit")
    def fit(x: int) -> Held:
        (current_dir() / "left").write_text(str(x))
        (current_dir() / "a\\b").write_text("only here")
        return Held(x)

    return fit


def test_experiments_of_odd_names_are_kept_apart(
    registry: str, folder: Path, another_host: Callable[[], None]
) -> None:
    names = ODD if os.name == "nt" else [*ODD, "a:b"]
    team = Registry(registry)
    for name in names:
        with start_run(name, params={"name": name}):
            pass
        team.push(open_experiment(f"experiments/{name}"))
    if not registry.startswith("memory"):
        another_host()
    assert team.experiments() == sorted(names)
    for name in names:
        assert [o.config for o in team.open(name).observations()] == [{"name": name}]
    Registry(registry).pull(into="pulled")
    assert sorted(path.name for path in Path("pulled").iterdir()) == sorted(names)


def square_of(name: str) -> Any:
    @experiment(name=name)
    def square(x: int) -> int:
        return x * x

    square(1)
    return square


def test_a_name_is_looked_for_in_the_shared_root(
    s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Registry(s3).push(square_of("mine"))
    shutil.rmtree("experiments")
    monkeypatch.setenv("DE_ROOT", s3)
    assert len(open_experiment("mine").observations()) == 1
    with pytest.raises(StoreNotFound):
        open_experiment("yours")


def test_a_uri_means_what_it_says(s3: str, folder: Path) -> None:
    @experiment(root=f"{s3}/a%20b")
    def square(x: int) -> int:
        return x * x

    square(2)
    assert bucket(s3).here("")[1] == ["a%20b"]
    there = Registry(s3).push(square_of("a#b?"))
    assert len(open_experiment(there).observations()) == 1
    for wrong in (f"s3://{BUCKET}:99/x", "s3://bucket/one\ntwo"):
        with pytest.raises(ValueError, match=r"bucket|line breaks"):
            Registry(wrong)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """From now on this is the machine of that name."""

    def move(name: str) -> None:
        forget_buckets()
        monkeypatch.setenv("DE_DATA_DIR", str(tmp_path / name / "data"))
        monkeypatch.setenv("DE_CACHE_DIR", str(tmp_path / name / "cache"))

    return move


def test_what_was_deleted_and_restored_elsewhere_is_our_own_still(
    s3: str, folder: Path, machine: Callable[[str], None]
) -> None:
    root = f"{s3}/fit"
    machine("ours")
    ours = fit_with_an_odd_name(root)
    with pytest.warns(OfflineWarning, match="they stay here"):
        ours(1)
    machine("theirs")
    theirs = open_experiment(root)
    theirs.delete(theirs.observations())
    machine("ours")
    assert not open_experiment(root).observations()
    machine("theirs")
    theirs = open_experiment(root)
    theirs.restore(theirs.trash())
    machine("ours")
    (run,) = open_experiment(root).observations()
    assert run.result.x == 1
    assert sorted(path.name for path in run.artefacts()) == ["a\\b", "left"]


def test_a_look_that_overlaps_another_takes_no_run_of_ours_away(
    s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sibling records while we list, looks, and notes what it has seen; our list has less."""
    root = f"{s3}/fit"
    ours = fit(root)
    ours(1)
    ours.observations()
    kind = type(bucket(root))
    listed = kind.stamps

    def sibling(does: str) -> None:
        begin = "import sys; sys.path[:0] = sys.argv[2:]; from test_odd_cases import fit; "
        here = Path(__file__).parent
        words = [sys.executable, "-c", begin + does, root, str(here), str(here.parent)]
        subprocess.run(words, check=True)

    older = listed(bucket(root), (".pkl",))
    sibling("fit(sys.argv[1])(2)")

    def slow(self: Bucket, endings: tuple[str, ...]) -> Any:
        monkeypatch.setattr(kind, "stamps", listed)
        sibling("fit(sys.argv[1]).observations()")
        return older

    monkeypatch.setattr(kind, "stamps", slow)
    ours.observations()
    assert sorted(run.result.x for run in ours.observations()) == [1, 2]


def test_links_among_a_runs_files_cost_none_of_them(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    @experiment(root=f"{s3}/links")
    def links() -> None:
        for step in ("100", "200"):
            (current_dir() / step).mkdir()
            (current_dir() / step / "model").write_text(step)
            (current_dir() / step / "up").symlink_to("..")
        (current_dir() / "a-latest").symlink_to("200")
        (current_dir() / "z-latest").symlink_to("200")

    links()
    another_host()
    (run,) = open_experiment(f"{s3}/links").observations()
    found = {str(p.relative_to(run.dir)): p.read_text() for p in run.dir.rglob("model")}
    names = {"100/model": "100", "200/model": "200"}
    assert found == names | {"a-latest/model": "200", "z-latest/model": "200"}


def test_long_names_go_up_and_come_down(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    longest = "n" * 255

    @experiment(root=f"{s3}/long")
    def long() -> None:
        (current_dir() / longest).write_text("x")

    long()
    bucket(f"{s3}/long").write(f"notes/{longest[:245]}.json", b"{}", new=True)
    another_host()
    (run,) = open_experiment(f"{s3}/long").observations()
    assert [path.name for path in run.artefacts()] == [longest]


def test_a_push_that_was_interrupted_puts_nothing_into_another_variant(
    registry: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from digital_experiments import registry as room

    @experiment
    def train(x: int) -> int:
        return x

    team = Registry(registry)
    train(1)
    team.push(train)
    train(2)
    candidate = [run for run in train.observations() if run.config["x"] == 2]

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(room, "put_into", killed)
        with pytest.raises(KeyboardInterrupt):
            team.push(candidate, variant="candidate")
    assert len(team.runs("train", "main")) == 1
    team.push(candidate, variant="candidate")
    assert team.runs("train", "candidate") == [candidate[0].id]
    assert candidate[0].id not in team.runs("train", "main")
    assert len(team.runs("train", "main")) == 1


def test_a_push_that_fails_leaves_no_tags(
    registry: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from digital_experiments import registry as room

    train = square_of("train")

    def fails(*_: Any) -> None:
        raise OSError("away")

    with monkeypatch.context() as patch:
        patch.setattr(room, "merge", fails)
        with pytest.raises(OSError, match="away"):
            Registry(registry).push(train, variant="wrong")
    Registry(registry).push(train, variant="right")
    assert Registry(registry).variants("train") == ["right"]


def test_credentials_of_a_server_are_not_kept(server: Server, s3: str, folder: Path) -> None:
    secret = uuid4().hex
    hidden = server.endpoint.replace("://", f"://user:{secret}@")

    def square(x: int) -> int:
        return x * x

    experiment(root=f"{s3}/a", storage_options={"endpoint_url": hidden})(square)(1)
    options = {"account_name": "one", "endpoint": f"http://127.0.0.1:1/one?sig={secret}"}
    experiment(root="az://box/a", storage_options=options)(square)
    kept = [path for path in Path(os.environ["DE_DATA_DIR"]).rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if secret.encode() in path.read_bytes()]


def test_objects_of_other_tools_do_no_harm(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    import s3fs

    run = fit(f"{s3}/fit")
    run(1)
    (made,) = run.observations()
    files = s3fs.S3FileSystem()
    for name in ("storage", f"storage/{made.id}", f"storage/{made.id}/empty", "trash", "claims"):
        files.pipe_file(f"{s3}/fit/{name}/", b"")
    files.pipe_file(f"{s3}/fit/trash/purged-x.txt", b"\xff\xfe")
    files.pipe_file(f"{s3}/fit/claims/zzz.log", b"[]")
    another_host()
    store = open_experiment(f"{s3}/fit")
    assert [p.name for p in store.observations()[0].artefacts() if p.is_file()] == ["left"]
    assert len(fit(f"{s3}/fit").map([{"x": 1}, {"x": 2}], resume=True, progress=False)) == 2
    assert Registry(s3).pull(into="here").added
    files.pipe_file(f"{s3}/fit/a\nb.json", b"{}")
    with pytest.raises(InvalidName, match="name that can't be used"):
        store.observations()


@pytest.mark.slow
def test_several_processes_push_one_store_at_once(
    s3: str, folder: Path, another_host: Callable[[], None]
) -> None:
    run = fit(str(folder / "experiments" / "fit"))
    for x in range(30):
        run(x)
    words = [sys.executable, "-m", "digital_experiments", "push", "fit", "--to", s3]
    pushing = [subprocess.Popen(words) for _ in range(4)]
    assert [one.wait() for one in pushing] == [0, 0, 0, 0]
    another_host()
    runs = open_experiment(f"{s3}/fit").observations()
    assert [len(one.artefacts()) for one in runs] == [1] * 30


def test_a_run_of_a_machine_whose_clock_goes_otherwise_lives(
    s3: str, folder: Path, another_host: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"{s3}/long"
    with long_run(folder, root, 12) as run:
        another_host()
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 600)
        store = open_experiment(root)
        (live,) = store.observations(status=None)
        assert live.status == "running"
        with pytest.raises(ValueError, match="still running"):
            store.delete([live.id])
        assert not [name for name in bucket(root).below("claims") if name.endswith(".clock")]
        monkeypatch.undo()
        run.wait()


def test_nothing_to_push_is_an_error_and_makes_nothing(registry: str, folder: Path) -> None:
    @experiment
    def empty(x: int) -> int:
        return x

    with pytest.raises(ValueError, match="nothing to push: 'empty' has no runs"):
        Registry(registry).push(empty)
    assert Registry(registry).experiments() == []


def test_a_store_taken_for_a_registry_is_told(registry: str, folder: Path) -> None:
    fit(f"{registry}/fit")(1)
    with pytest.raises(ValueError, match="It is the store of one itself"):
        Registry(f"{registry}/fit").pull(into="here")


def test_a_registry_out_of_reach_is_shown_all_the_same(
    own_server: Server, impatient: None, folder: Path
) -> None:
    own_server.kill()
    told = Registry(f"s3://{BUCKET}/{uuid4().hex}")._repr_html_()
    assert "can&#x27;t be reached" in told
    assert "Debug source" not in told


def test_collecting_removes_what_kills_left_here(s3: str, folder: Path) -> None:
    root = f"{s3}/fit"
    fit(root)(1)
    copied = Path(folder_for(place_of(root)))
    left = copied / ".one.pkl.00000000-1-1.tmp"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    open_experiment(root).gc(dry_run=True)
    assert left.exists()
    open_experiment(root).gc()
    assert not left.exists()


def test_where_there_is_no_room_for_a_copy_the_bucket_is_named(
    s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "full").write_text("no folder")
    monkeypatch.setenv("DE_DATA_DIR", str(folder / "full"))
    run = fit(f"{s3}/fit")
    with pytest.warns(DigitalExperimentsWarning) as told:
        run(1)
    said = "".join(str(warning.message) for warning in told)
    assert f"could not be recorded in {s3}/fit" in said
    assert f"digital-experiments merge {s3}/fit " in said
    with pytest.raises(RootError, match=f"{s3}/fit has no working copy"):
        run.load("one")


def test_what_others_have_pruned_can_be_pruned_here_too(
    s3: str, folder: Path, machine: Callable[[str], None]
) -> None:
    root = f"{s3}/fit"
    machine("ours")
    fit(root)(1)
    machine("theirs")
    store = open_experiment(root)
    assert store.prune(bigger_than=0).bytes == 1
    machine("ours")
    ours = open_experiment(root)
    assert [path.name for path in ours.observations()[0].artefacts()] == ["left"]
    assert ours.prune(bigger_than=0).bytes == 1
    assert ours.observations()[0].artefacts() == []
