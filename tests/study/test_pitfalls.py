"""What users have stumbled over: stores that moved, values that can't be compared, old versions."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from digital_experiments import (
    Experiment,
    Outcome,
    Retention,
    Study,
    current_dir,
    experiment,
    log_metric,
)
from digital_experiments.errors import InvalidStudy, UnknownColumn


@pytest.fixture
def draw() -> Experiment[..., Any]:
    @experiment(root="draw")
    def draw(k: float = 0.0, seed: int = 0) -> dict[str, float]:
        return {"x": k + random.Random(seed).gauss(0, 1)}

    return draw


def test_a_study_has_one_store_wherever_the_process_stands(
    draw: Experiment[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(5.0)
    Path("below").mkdir()
    monkeypatch.chdir("below")
    study = Study(draw, treatments={"a": {"k": 1.0}}, replicates=3, seed=1)
    study.run()
    assert study.load().is_complete
    study.run(strategy="resume")
    assert len(draw.observations()) == 7
    assert os.listdir() == []


class Client:
    """What can't be compared with another of its kind, and looks like all of them."""

    def __init__(self, power: float) -> None:
        self.power = power
        self.lock = threading.Lock()

    def __repr__(self) -> str:
        return "Client()"


def test_values_that_look_alike_are_not_taken_for_one_another() -> None:
    @experiment(root="clients")
    def used(client: Any, seed: int = 0) -> dict[str, float]:
        return {"v": client.power}

    usual, strong = Client(1.0), Client(2.0)

    def study(other: Client) -> Study:
        return Study(
            used,
            baseline={"client": usual},
            treatments={"t": {"client": other}},
            replicates=3,
            seed=1,
        )

    def outcome_of(other: Client) -> Outcome:
        with pytest.warns(Warning, match="can't be pickled"):
            return study(other).run(strategy="resume")

    outcome_of(strong)
    assert study(strong).run(strategy="resume").version == 1
    assert len(used.observations()) == 6
    other = outcome_of(Client(50.0))
    assert other.metrics("t")["v"].tolist() == [50.0] * 3
    assert len(used.observations()) == 9


def test_what_gives_its_values_only_once_is_refused(draw: Experiment[..., Any]) -> None:
    Path("file").write_text("1")
    with open("file") as file:
        for once in ((k for k in range(5)), file):
            with pytest.raises(InvalidStudy, match=r"baseline: its 'k', a .*, gives what it has"):
                Study(draw, baseline={"k": once}).run()


def test_a_study_goes_on_with_all_its_runs_not_the_newest_alone(
    draw: Experiment[..., Any],
) -> None:
    one = Study(draw, treatments={"a": {"k": 1.0}, "b": {"k": 2.0}}, replicates=4, seed=1)
    other = Study(draw, baseline={"k": 9.0}, treatments={"q": {"k": 3.0}}, replicates=4, seed=1)
    one.run()
    other.run()
    one.run(treatments=["a"])
    before = len(draw.observations())
    outcome = one.run(strategy="resume", replicates=5)
    assert outcome.is_complete
    assert len(draw.observations()) == before + 3
    newest = {o.observation.id for o in outcome.replicates if o.treatment == "a"}
    assert newest <= {o.id for o in draw.observations()[-11:]}
    unseeded = Study(draw, treatments={"a": {"k": 1.0}}, replicates=2, name="unseeded")
    unseeded.run()
    assert unseeded.run(strategy="resume", replicates=3).is_complete
    assert len(draw.observations()) == before + 3 + 6


def test_files_of_runs_that_failed_are_no_artefacts() -> None:
    @experiment(root="halves")
    def halves(seed: int = 0) -> None:
        (current_dir() / "deep").mkdir()
        (current_dir() / "deep" / "file").write_text("half")
        if seed == 31338:
            raise ValueError
        (current_dir() / "deep" / "file").write_text("whole")

    study = Study(halves, replicates=3, seed=1)
    study.run()
    assert [path.read_text() for path in study.artefacts("deep/file")] == ["whole"] * 2
    with pytest.raises(FileNotFoundError, match="'deep/file'"):
        study.artefacts("file")


@pytest.mark.parametrize(
    "how",
    [{"timeout": "3"}, {"timeout": 1}, {"retries": -1}, {"executor": "async"}, {"progress": 3}],
)
def test_what_is_refused_leaves_no_version(draw: Experiment[..., Any], how: dict[str, Any]) -> None:
    study = Study(draw, treatments={"a": {"k": 1.0}}, replicates=5, seed=1)
    outcome = study.run()
    with pytest.raises((TypeError, ValueError)):
        study.run(**how)
    with pytest.raises((TypeError, ValueError)):
        outcome.confirm("a.x > baseline.x", 8, **how)
    assert len(study.versions()) == 1
    assert outcome.confirm("a.x > baseline.x", 8).integrity.reasons == []


def test_all_that_can_not_be_sent_is_told_before_the_first_run() -> None:
    @experiment(root="sent")
    def sent(client: Any = None, seed: int = 0) -> float:
        return 1.0

    study = Study(sent, treatments={"t": {"client": threading.Lock()}}, executor="process")
    with pytest.raises(InvalidStudy, match="'t': its 'client' can't be sent to a worker"):
        study.validate()
    with pytest.raises(InvalidStudy, match="'async' is for coroutine functions"):
        Study(sent, executor="async").validate()


def test_a_plan_that_is_removed_meanwhile_is_written_again() -> None:
    @experiment(root="gone")
    def gone(seed: int = 0) -> float:
        for path in Path("gone/studies/gone").iterdir():
            path.unlink()
        return 1.0

    study = Study(gone, replicates=2, seed=1)
    assert study.run().is_complete
    assert study.load().is_complete


def test_a_damaged_plan_says_how_to_go_on(draw: Experiment[..., Any]) -> None:
    study = Study(draw, replicates=1, seed=1)
    study.run()
    (path,) = (p for p in Path("draw/studies/draw").iterdir() if ".done" not in p.name)
    path.write_text("{ broken")
    with pytest.raises(ValueError, match=r"is no plan of a study .*[^.]\)\. repair\(\) puts it"):
        study.load()
    draw.repair()
    assert study.run().is_complete


def test_a_seed_in_a_config_is_not_passed_over(draw: Experiment[..., Any]) -> None:
    study = Study(draw, seed=1)
    for work in (
        lambda: study.apply({"seed": 5}),
        lambda: study.debug({"seed": 5}),
    ):
        with pytest.raises(InvalidStudy, match=r"The config sets 'seed'"):
            work()
    with pytest.raises(InvalidStudy, match=r"no parameter 'kk'.*Did you mean 'k'"):
        study.apply(kk=2.0)


FILE = """
from digital_experiments import Study, experiment

def plain(k=0.0, seed=0):
    return k

@experiment(root="store")
def named(k=0.0, seed=0):
    return k

other = experiment(root="elsewhere")(plain)

if __name__ == "__main__":
    for made in (named, other):
        Study(made, replicates=2, seed=1).to_yaml("study.yaml")
        again = Study.from_yaml("study.yaml")
        print(again.experiment.name, again.experiment.root.name, again.run().is_complete)
    try:
        Study(named.with_(root="third")).to_yaml()
    except ValueError as problem:
        print(problem)
"""


def test_a_study_in_a_file_is_of_the_same_experiment() -> None:
    Path("train.py").write_text(FILE)
    made = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True)
    assert made.stdout.splitlines()[:2] == ["named store True", "plain elsewhere True"], made.stderr
    assert "'named' is no experiment that has a name in the file" in made.stdout


def test_pictures_and_trees_say_what_they_show() -> None:
    @experiment(root="shown")
    def shown(k: float = 0.1, seed: int = 0) -> dict[str, Any]:
        return {"big": 1e6 + k, "none": float("nan"), "mixed": 3 if seed % 2 else "a"}

    outcome = Study(shown, treatments={"t": {"k": 0.5}}, replicates=2, seed=1).run()
    assert "1000000.2" in outcome.plot("big").svg
    with pytest.raises(UnknownColumn, match="No run has a finite number in 'none'"):
        outcome.plot("none")
    outcome.report("report.html")
    with pytest.raises(ValueError, match=r"its file ends in \.html"):
        outcome.report("report.pdf")
    with pytest.raises(ValueError, match="to_json keeps them"):
        outcome.to_parquet("mixed.parquet")
    for wrong in (5, ["treatment"], None):
        with pytest.raises((TypeError, ValueError), match="must be"):
            outcome.tree(wrong)  # type: ignore[arg-type]


def test_a_tree_by_replicates_names_the_conditions(
    draw: Experiment[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = Study(draw, treatments={"mine": {"k": 0.5}}, replicates=2, seed=1).run()
    outcome.tree("replicate > step")
    told = capsys.readouterr().out
    assert told.count("mine · seed") == told.count("baseline · seed") == 2


def test_what_is_said_of_many_hypotheses_is_said_once(draw: Experiment[..., Any]) -> None:
    treatments = {f"t{n}": {"k": float(n)} for n in range(40)}
    study = Study(draw, treatments=treatments, replicates=5, seed=1)
    with pytest.warns(Warning, match="can't be shown"):
        told = repr(study.expect("*.x > baseline.x").run())
    assert told.count("too few replicates for 40 hypotheses") == 1
    assert "is 1, above alpha = 0.05" in " ".join(told.split())
    assert "and 37 more:" in told


def test_a_report_of_a_confirmation_says_that_it_is_valid(draw: Experiment[..., Any]) -> None:
    outcome = Study(draw, treatments={"a": {"k": 3.0}}, replicates=2, seed=1).run()
    text = outcome.confirm("a.x > baseline.x", 6).report("report.html")
    assert "Integrity: valid." in text
    page = Path("report.html").read_text()
    assert "<th>correction</th><td>holm</td>" in page
    assert "<th>confirms</th><td>draw/" in page


def leaving(k: int = 0) -> None:
    (current_dir() / "file").write_text("x")
    log_metric("loss", 1.0)


@pytest.mark.parametrize("executor", ["serial", "thread", "process"])
def test_files_of_the_newest_runs_are_kept_whoever_makes_them(executor: str) -> None:
    leaves = experiment(root="leaves", retention=Retention(keep=2))(leaving)
    leaves()
    how: dict[str, Any] = {} if executor == "serial" else {"workers": 3}
    leaves.map([{"k": k} for k in range(30)], executor=executor, progress=False, **how)
    leaves()
    left = [o for o in leaves.observations() if (o.dir / "file").exists()]
    assert left == leaves.observations()[-2:]
    assert all(len(o.metrics("loss")) == 1 for o in leaves.observations())


def test_a_studys_retention_leaves_other_runs_alone() -> None:
    leaves = experiment(root="leaves")(leaving)
    study = Study(leaves, treatments={"a": {"k": 1}}, seed=1, retention=Retention(keep=1))
    leaves()
    study.apply("a")
    for _ in range(3):
        study.run()
    kept = [(o.dir / "file").exists() for o in leaves.observations()]
    assert kept == [True, True, False, False, False, False, True, True]


def test_values_that_could_not_be_kept_are_asked_for_again() -> None:
    @experiment(root="kept")
    def kept(client: Any = None, seed: int = 0) -> dict[str, float]:
        if client.power < 2:
            raise ValueError("too weak")
        return {"v": client.power}

    weak, strong = Client(1.0), Client(2.0)

    class Both:
        def control(self, search: Any, n: int, executor: Any, workers: Any) -> None:
            configs = [{"client": client} for client in (weak, strong)]
            assert len(list(search.imap(configs[:n], executor, workers))) == n

    both = Both()
    study = Study(kept, baseline={"client": weak}, seed=1)
    for power, score in ((1.0, 2.0), (3.0, 3.0)):
        weak.power = power
        with pytest.warns(Warning, match="can't be pickled"):
            assert study.optimise(both, 2, progress=False).score == score
    assert len(kept.observations()) == 2
