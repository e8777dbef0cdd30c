"""A registry holds stores, and variants of each; a team pushes to it and pulls from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from click.testing import CliRunner

from digital_experiments import (
    Registry,
    current_dir,
    experiment,
    open_experiment,
    start_run,
)
from digital_experiments.cli import main
from digital_experiments.errors import AnotherObservation, RootError, StoreNotFound


def make(root: str | None = None) -> Any:
    @experiment(root=root, name="train")
    def train(lr: float) -> dict[str, float]:
        (current_dir() / "model.bin").write_bytes(b"m" * 100)
        if lr > 1:
            raise ValueError("too large")
        return {"loss": lr}

    return train


def content(root: Path) -> dict[str, bytes]:
    """What a store holds, but for what is this machine's own."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name[0] != "." and path.name != "elsewhere.txt"
    }


def test_what_is_pushed_is_found_by_the_team(
    registry: str, another_host: Callable[[], None]
) -> None:
    train = make()
    for lr in (0.1, 0.2):
        train(lr)
    assert Registry(registry).push(train) == f"{registry}/train"
    another_host()
    team = Registry(registry)
    assert team.experiments() == ["train"]
    assert team.variants("train") == ["main"]
    assert team.runs("train", "main") == [o.id for o in train.observations()]
    latest = team.load("train")
    assert latest.result == {"loss": 0.2}
    assert [p.name for p in latest.artefacts()] == ["model.bin"]
    assert team.load("train", run_id=team.runs("train")[0]).result == {"loss": 0.1}
    assert [o.result["loss"] for o in team.search("result.loss < 0.15")] == [0.1]


def test_pushing_and_pulling_again_changes_nothing(registry: str, folder: Path) -> None:
    train = make()
    for lr in (0.1, 0.2):
        train(lr)
    train.annotate(train.observations()[0].id, tags=["good"])
    team = Registry(registry)
    team.push(train)
    before = content(team.open("train").root)
    team.push(train)
    team.push(train.observations())
    assert content(team.open("train").root) == before
    first = team.pull(into=folder / "pulled")
    assert len(first.added) == 2
    pulled = content(folder / "pulled" / "train")
    again = team.pull(into=folder / "pulled")
    assert (again.added, again.known) == ([], 2)
    assert content(folder / "pulled" / "train") == pulled


def test_two_stores_that_merge_both_ways_are_equal_byte_for_byte(
    registry: str, folder: Path, another_host: Callable[[], None]
) -> None:
    mine, yours = make(str(folder / "mine" / "train")), make(str(folder / "yours" / "train"))
    mine(0.1)
    yours(0.2)
    mine.annotate(mine.observations()[0].id, note="mine")
    Registry(registry).push(mine)
    another_host()
    Registry(registry).push(yours)
    another_host()
    for place in ("mine", "yours"):
        Registry(registry).pull(into=folder / place)
    assert content(folder / "mine" / "train") == content(folder / "yours" / "train")
    assert len(mine.observations()) == 2
    assert open_experiment(folder / "yours" / "train").check()


def test_variants_are_told_apart(registry: str) -> None:
    train = make()
    for lr in (0.1, 0.2, 0.3):
        train(lr)
    first, second, third = train.observations()
    team = Registry(registry)
    team.push([first, second])
    team.push(third, variant="candidate")
    assert team.variants("train") == ["candidate", "main"]
    assert team.runs("train", "candidate") == [third.id]
    assert team.runs("train") == [first.id, second.id]
    team.push(second, variant="candidate")  # it is in both from now on
    assert team.runs("train", "candidate") == [second.id, third.id]
    assert team.runs("train") == [first.id, second.id]
    assert team.load("train", "candidate").id == third.id


def test_a_run_keeps_the_variant_that_it_was_started_as(registry: str) -> None:
    with start_run("fit", variant="wide") as run:
        run.result = 1
    team = Registry(registry)
    team.push(run.observation)
    assert team.variants("fit") == ["wide"]


def test_observations_of_several_experiments_go_each_to_its_own(registry: str) -> None:
    train = make()
    train(0.1)
    with start_run("fit") as run:
        run.result = 1
    team = Registry(registry)
    assert team.push([train.observations()[0], run.observation]) == registry
    assert team.experiments() == ["fit", "train"]


def test_something_else_under_an_id_that_exists_is_refused_unless_overwritten(
    registry: str, folder: Path, another_host: Callable[[], None]
) -> None:
    train = make(str(folder / "a" / "train"))
    train(0.1)
    (one,) = train.observations()
    Registry(registry).push(train)
    import shutil

    shutil.copytree(folder / "a", folder / "b")
    other = open_experiment(folder / "b" / "train")
    record = folder / "b" / "train" / f"{one.id}.pkl"
    record.unlink()
    changed = one._replace(result={"loss": 5.0})
    from digital_experiments.backends import PickleBackend

    PickleBackend(folder / "b" / "train").record(changed)
    with pytest.raises(AnotherObservation, match="overwrite=True"):
        Registry(registry).push(other)
    assert Registry(registry).load("train").result == {"loss": 0.1}
    Registry(registry).push(other, overwrite=True)
    assert Registry(registry).load("train").result == {"loss": 5.0}
    another_host()
    assert Registry(registry).load("train").result == {"loss": 5.0}


def test_the_folder_of_experiments_is_a_registry_too(registry: str) -> None:
    train = make()
    train(0.1)
    here = Registry()
    assert here.experiments() == ["train"]
    assert here.load("train").result == {"loss": 0.1}
    assert Registry(registry).push(here.open("train")) == f"{registry}/train"
    with pytest.raises(ValueError, match=r"is in .* already"):
        here.push(train)


def test_a_registry_in_a_folder_is_pushed_to(folder: Path) -> None:
    train = make()
    train(0.1)
    team = Registry(folder / "team")
    assert team.push(train) == str(folder / "team" / "train")
    assert team.load("train").result == {"loss": 0.1}
    assert Registry(f"file://{folder}/team").experiments() == ["train"]


def test_what_there_is_not_is_told(registry: str) -> None:
    make()(0.1)
    team = Registry(registry)
    team.push(open_experiment("train"))
    with pytest.raises(ValueError, match=r"no experiment 'tran' .* 'train'"):
        team.variants("tran")
    with pytest.raises(ValueError, match=r"no variant 'mian' of 'train' .* 'main'"):
        team.load("train", "mian")
    with pytest.raises(FileNotFoundError, match="no-such-run"):
        team.load("train", run_id="no-such-run")
    with pytest.raises(ValueError, match="nothing to push"):
        team.push([])
    with pytest.raises(TypeError, match="push takes observations"):
        team.push("train")
    Path("file").write_text("")
    with pytest.raises(RootError):
        Registry("file/x")


def test_deleted_runs_are_in_the_trash_of_their_store(registry: str) -> None:
    train = make()
    for lr in (0.1, 0.2):
        train(lr)
    team = Registry(registry)
    team.push(train)
    first = team.runs("train")[0]
    assert team.delete("train", run_id=first) == [first]
    assert len(team.runs("train")) == 1
    with pytest.raises(ValueError, match="was deleted in"):
        team.push(train)
    team.open("train").restore(first)
    assert len(team.runs("train")) == 2
    assert len(team.delete("train")) == 2


def test_values_that_were_pickled_elsewhere_are_loaded_only_for_who_trusts_them(
    registry: str, folder: Path, another_host: Callable[[], None]
) -> None:
    @experiment
    def weights(n: int) -> Any:
        return numpy.arange(n)

    weights(3)
    Registry(registry).push(weights)
    assert list(Registry(registry).load("weights").result) == [0, 1, 2]  # its own machine
    another_host()
    from digital_experiments.errors import UntrustedValue

    team = Registry(registry)
    found = team.load("weights")
    assert "ndarray" in repr(found)
    assert found.config == {"n": 3}
    with pytest.raises(UntrustedValue, match="trust=True"):
        _ = found.result
    assert list(team.load("weights", trust=True).result) == [0, 1, 2]
    assert list(Registry(registry, trust=True).load("weights").result) == [0, 1, 2]
    team.pull(into=folder / "pulled")
    pulled = open_experiment(folder / "pulled" / "weights")
    with pytest.raises(UntrustedValue):
        _ = pulled.observations()[0].result
    assert len(pulled.to_dataframe()) == 1
    trusting = open_experiment(folder / "pulled" / "weights", trust=True)
    assert list(trusting.observations()[0].result) == [0, 1, 2]
    team.pull(into=folder / "trusted", trust=True)
    trusted = open_experiment(folder / "trusted" / "weights")
    assert list(trusted.observations()[0].result) == [0, 1, 2]


def test_no_code_of_a_bucket_runs_because_somebody_looks(
    registry: str, folder: Path, another_host: Callable[[], None]
) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (exec, ("open('exploded', 'w')",))

    @experiment(root=f"{registry}/bomb", cache=True)
    def bomb(x: int, given: Any = None) -> Any:
        return Bomb()

    bomb(1, Bomb())
    for left in Path.cwd().glob("exploded"):
        left.unlink()
    another_host()
    store = open_experiment(f"{registry}/bomb")
    (one,) = store.observations()
    repr(one), one._repr_html_(), one.config, one.metadata, store.to_dataframe(), store.check()
    CliRunner().invoke(main, ["ls", f"{registry}/bomb"])
    Registry(registry).pull(into=folder / "pulled")
    open_experiment(folder / "pulled" / "bomb").observations()[0].config
    with pytest.raises(ValueError, match="trust=True"):
        _ = one.result
    assert not Path("exploded").exists()


def test_the_shell_pushes_lists_and_pulls(registry: str, another_host: Callable[[], None]) -> None:
    train = make()
    for lr in (0.1, 0.2):
        train(lr)

    def shell(*words: str) -> str:
        done = CliRunner().invoke(main, list(words))
        assert done.exit_code == 0, done.output
        return done.output

    pushed = shell("push", "train", "--to", registry, "--where", "result.loss < 0.15")
    assert pushed == f"{registry}/train\n"
    shell("push", "--to", registry, "--variant", "all")
    another_host()
    assert "train" in shell("ls", registry)
    listed = shell("ls", f"{registry}/train", "--json")
    assert '"config.lr"' in listed
    assert "0.1" in listed
    assert "2 observations added" in shell("pull", registry, "train", "--into", "pulled")
    assert len(open_experiment("pulled/train").observations()) == 2
    one = train.observations()[0].id
    assert "0.1" in shell("show", one, "--store", f"{registry}/train")
    assert "healthy" in shell("check", f"{registry}/train")


@pytest.mark.parametrize("on_bucket", [False, True])
def test_a_registry_of_experiment_results_manager_is_read(registry: str, on_bucket: bool) -> None:
    place = Path(__file__).parents[1] / "exchange" / "fixtures" / "erm"
    if on_bucket:
        from digital_experiments.remote import located
        from digital_experiments.remote.opening import bucket_of

        bucket = bucket_of(located(registry))
        for path in place.rglob("*"):
            if path.is_file():
                bucket.upload(path.relative_to(place).as_posix(), str(path))
    team = Registry(registry if on_bucket else place)
    assert "my_experiment" in team.experiments()
    assert team.variants("my_experiment") == ["main", "wide"]
    assert team.load("my_experiment", "wide").config
    one = team.load("my_experiment", run_id=team.runs("my_experiment")[0])
    assert one.metrics("rmse")["value"].tolist() == [0.9]
    assert (one.dir / "model.pickle").read_bytes() == b"\x00model"
    with pytest.raises(PermissionError, match="only read"):
        team.push(one)
    with pytest.raises(PermissionError, match="only read"):
        team.delete("my_experiment")
    assert len(team.pull(into="pulled").added) >= 2


def test_a_registry_shows_itself(registry: str) -> None:
    train = make()
    train(0.1)
    team = Registry(registry)
    team.push(train)
    assert repr(team) == f"Registry({registry!r})"
    shown = team._repr_html_()
    assert "train" in shown
    assert "main" in shown


def test_an_empty_registry_is_empty(registry: str) -> None:
    assert Registry(registry).experiments() == []
    assert Registry(registry).search() == []
    with pytest.raises(ValueError, match="no experiment"):
        Registry(registry).load("train")
    with pytest.raises(StoreNotFound):
        open_experiment(registry)
