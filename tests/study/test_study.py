"""Studies: what is planned is what is run, and what came of it is told."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from digital_experiments import (
    Callback,
    Experiment,
    Outcome,
    Retention,
    Study,
    Treatment,
    current_dir,
    experiment,
    log_metric,
    open_experiment,
    pipeline,
    step,
)
from digital_experiments.callbacks import Seed
from digital_experiments.errors import (
    CallbackWarning,
    DigitalExperimentsWarning,
    InvalidStudy,
    UnknownColumn,
    VersionNotFound,
)


@pytest.fixture
def throw() -> Experiment[..., Any]:
    @experiment(root="throw")
    def throw(bias: float = 0.0, fails: bool = False) -> dict[str, float]:
        if fails and random.random() < 0.4:
            raise ValueError("it fell")
        (current_dir() / "mark").write_text(f"{bias}")
        log_metric("height", bias, step=0)
        return {"x": random.gauss(bias, 1.0), "y": float(np.random.normal(bias))}

    return throw


@pytest.fixture
def study(throw: Experiment[..., Any]) -> Study:
    return Study(throw, treatments={"high": {"bias": 1.0}}, replicates=8, seed=1234)


def values(outcome: Outcome, metric: str = "x") -> dict[str, list[float]]:
    return {name: outcome.metrics(name)[metric].tolist() for name in outcome.plan.conditions}


# seeds


def test_replicates_have_the_same_seeds_in_every_condition_and_are_seeded(study: Study) -> None:
    outcome = study.run()
    seeds = outcome.to_dataframe().groupby("treatment")["seed"].apply(list)
    expected = [(1234 + r * 31337) % 2**32 for r in range(8)]
    assert seeds["baseline"] == seeds["high"] == expected
    by_hand = []
    for seed in expected:
        random.seed(seed)
        np.random.seed(seed)
        by_hand.append((random.gauss(0.0, 1.0), float(np.random.normal(0.0))))
    found = outcome.metrics()
    assert list(zip(found["x"], found["y"], strict=True)) == by_hand
    assert [o.metadata["seed"] for o in outcome.observations][:8] == expected
    again = study.run()
    assert values(again) == values(outcome)


def test_a_parameter_seed_is_given_the_seed() -> None:
    @experiment(root="seeded")
    def fit(lr: float = 0.1, seed: int = 0) -> int:
        return seed

    outcome = Study(fit, treatments={"a": {"lr": 1.0}}, replicates=3, seed=7).run()
    assert outcome.metrics("a")["result"].tolist() == [7, 31344, 62681]
    assert [o.config["seed"] for o in outcome.observations] == 2 * [7, 31344, 62681]
    with pytest.raises(InvalidStudy, match=r"baseline: it sets 'seed'.*Study\(seed="):
        Study(fit, baseline={"seed": 3}).validate()
    with pytest.raises(InvalidStudy, match="treatment 'a': it sets 'seed'"):
        Study(fit, treatments={"a": {"seed": 3}}).validate()


def test_without_a_seed_one_is_drawn_and_kept(throw: Experiment[..., Any]) -> None:
    study = Study(throw, replicates=2)
    first, second = study.run(), study.run()
    assert first.plan.seed != second.plan.seed
    repeated = study.with_(seed=first.plan.seed).run()
    assert values(repeated) == values(first)


def test_a_seed_callback_serves_any_experiment() -> None:
    drawn: list[int] = []

    @experiment(root="one", callbacks=[Seed()])
    def draw() -> float:
        return random.random()

    @experiment(root="two", callbacks=[Seed(auto_seed=False)])
    def same() -> float:
        return random.random()

    @experiment(root="three", callbacks=[Seed(5, seed_fn=drawn.append)])
    def own(seed: int = 1) -> None: ...

    @experiment(root="four", callbacks=[Seed()])
    def named(seed: int = 1) -> float:
        return random.random()

    assert draw() != draw()
    observation = draw.observations()[0]
    random.seed(observation.metadata["seed"])
    assert random.random() == observation.result
    assert same() == same()
    own()
    Study(own, replicates=2, seed=10).run()
    assert drawn == [5, 10, 31347]
    assert named(seed=3) == named(seed=3) != named(seed=4)
    for wrong in (-1, 2**32, 1.5, True, "1"):
        with pytest.raises(ValueError, match="whole number from 0 to"):
            Seed(wrong)  # type: ignore[arg-type]


def test_threads_that_share_generators_are_warned_of_once(throw: Experiment[..., Any]) -> None:
    study = Study(throw, replicates=2, seed=1, name="threads-warned", executor="thread")
    with pytest.warns(DigitalExperimentsWarning, match=r"share the global generators.*'process'"):
        study.run()
    study.run()

    @experiment(root="own")
    def own(seed: int = 0) -> float:
        return float(np.random.default_rng(seed).random())

    Study(own, replicates=2, seed=1, name="threads-own", executor="thread").run()


@pytest.mark.parametrize("executor", ["process"])
def test_workers_are_seeded_too(study: Study, executor: str) -> None:
    assert values(study.run(executor=executor, workers=2)) == values(study.run())


# what is planned


def test_deriving_leaves_the_study_as_it_is(study: Study) -> None:
    more = study.treat("higher", bias=2.0).treat("twice", lambda config: {"bias": 2.0})
    asked = more.expect("high.x > baseline.x", alpha=0.01).replicate(3)
    assert list(study.treatments) == ["high"]
    assert (study.replicates, study.hypotheses) == (8, ())
    assert list(asked.treatments) == ["high", "higher", "twice"]
    assert (asked.replicates, asked.hypotheses[0].alpha) == (3, 0.01)
    assert asked.conditions["twice"] == {"bias": 2.0, "fails": False}
    assert repr(study) == "Study(throw: baseline, high; 8 replicates)"
    with pytest.raises(TypeError, match=r"no 'replicate'.*Did you mean 'replicates'"):
        study.with_(replicate=3)


def test_all_that_is_wrong_is_said_before_anything_runs(throw: Experiment[..., Any]) -> None:
    study = Study(
        throw,
        baseline={"biass": 1.0},
        treatments={"a": {"fail": True}, "b": lambda config: 3, "c": lambda config: 1 / 0},
        hypotheses=["d.x > baseline.x", "a.x > b.x"],
        executor="proces",
    )
    with pytest.raises(InvalidStudy) as told:
        study.run()
    lines = str(told.value).splitlines()
    assert len(lines) == 7
    assert "baseline: 'throw' has no parameter 'biass'" in lines[1]
    assert "Did you mean 'bias'?" in lines[1]
    assert "'d.x > baseline.x' names 'd'" in lines[5]
    assert "executor: " in lines[6]
    assert not throw.observations(status=None)
    assert Study(throw).versions() == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"replicates": 0}, "replicates must be a number, 1 or more"),
        ({"replicates": 2.0}, "replicates must be a number, 1 or more"),
        ({"seed": -1}, "A seed must be a whole number"),
        ({"treatments": {"baseline": {}}}, "can't be the name of a treatment"),
        ({"treatments": {"a": 3}}, "must be a dict of config values, or a function"),
        ({"treatments": [3]}, "holds Treatment objects"),
        ({"treatments": [Treatment("a", {}), Treatment("a", {})]}, "Two treatments are called 'a'"),
        ({"treatments": "high"}, "treatments must be a dict"),
        ({"baseline": 3}, "baseline must be a dict"),
        ({"correction": "bonferoni"}, "No correction 'bonferoni'"),
        ({"name": "a/b"}, "can't be the name of a study"),
        ({"retention": 3}, "retention must be Retention"),
        ({"callbacks": [3]}, "callbacks must hold Callback objects"),
    ],
)
def test_what_can_not_be_is_refused_where_it_is_given(
    throw: Experiment[..., Any], wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        Study(throw, **wrong)


def test_a_function_that_is_no_experiment_is_refused() -> None:
    with pytest.raises(TypeError, match="decorate the function with @experiment"):
        Study(len)  # type: ignore[arg-type]


def test_too_few_replicates_for_a_verdict_are_warned_of(study: Study) -> None:
    few = study.replicate(3).expect("high.x > baseline.x")
    with pytest.warns(DigitalExperimentsWarning, match=r"smallest p-value .* is 0.12, above alpha"):
        outcome = few.run()
    assert outcome.verdicts[0].supported is None
    assert "too few replicates" in outcome.verdicts[0].reason


def some(x: int, /, y: int = 2, *more: int, z: int = 3, **rest: int) -> int:
    return x + y + z + sum(more) + sum(rest.values())


def test_functions_of_every_signature_may_be_studied() -> None:
    from functools import partial

    def needs(x: int, seed: int) -> int:
        return x + seed

    rest = experiment(root="rest", name="rest")(partial(some, 1, z=5))
    study = Study(rest, {"w": 10}, {"a": {"z": 6, "v": 1}}, replicates=2, seed=1)
    assert study.conditions == {
        "baseline": {"y": 2, "z": 5, "w": 10},
        "a": {"y": 2, "z": 6, "w": 10, "v": 1},
    }
    assert study.run().metrics("a")["result"].tolist() == [20, 20]
    needed = Study(experiment(root="needs")(needs), {"x": 1}, replicates=2, seed=1)
    assert needed.run().metrics()["result"].tolist() == [2, 31339]
    with pytest.raises(InvalidStudy, match=r"baseline: it does not fit 'needs'.*'x'"):
        Study(experiment(root="needs")(needs)).validate()


# what is run


def test_a_study_ends_in_ordinary_observations_and_a_table(study: Study) -> None:
    outcome = study.expect("high.x > baseline.x").expect("high.x > baseline.y").run()
    assert len(open_experiment("throw").observations()) == 16
    frame = outcome.to_dataframe()
    assert list(frame.columns)[:5] == ["treatment", "replicate", "seed", "status", "id"]
    assert len(frame) == 16
    summary = outcome.summary().set_index(["treatment", "metric"])
    found = frame[frame["treatment"] == "high"]["x"]
    assert summary.loc[("high", "x"), "mean"] == pytest.approx(found.mean(), abs=1e-12)
    assert summary.loc[("high", "x"), "std"] == pytest.approx(found.std(), abs=1e-12)
    assert list(outcome.metrics("high").columns) == ["x", "y", "height", "duration"]
    assert outcome.metrics("high").index.tolist() == list(range(8))
    assert outcome.verdicts[0].supported is True  # pairs differ by 1, always
    assert outcome.best == "high"
    text = repr(outcome)
    assert "2 conditions x 8 replicates, seed 1234. 16 of 16 runs completed" in text
    assert "high.x > baseline.x" in text
    assert "supported" in text
    html = outcome._repr_html_()
    assert "<svg" in html
    assert "high.x &gt; baseline.x" in html
    with pytest.raises(UnknownColumn, match="Did you mean 'high'"):
        outcome.metrics("hig")
    with pytest.raises(UnknownColumn, match="No run has a finite number in 'z'"):
        outcome.plot("z")
    assert "<svg" in outcome.plot().svg


def test_a_run_that_fails_is_counted_and_the_rest_goes_on(throw: Experiment[..., Any]) -> None:
    study = Study(throw, treatments={"bad": {"fails": True}}, replicates=12, seed=3)
    outcome = study.expect("bad.x <= baseline.x + 0.1").run()
    missed = len(outcome.errors)
    assert 0 < missed < 10
    assert {o.status for o in outcome.errors} == {"failed"}
    assert len(outcome.metrics()) == 12
    assert len(outcome.metrics("bad")) == 12 - missed
    assert f"{missed} of 12 replicates of 'bad' did not complete" in outcome.verdicts[0].reason
    assert outcome.verdicts[0].integrity == "incomplete"
    assert f"{missed} x failed: ValueError: it fell" in repr(outcome)
    assert not outcome.is_complete
    assert not study.versions()[0].complete


def test_some_treatments_hypotheses_and_replicates_may_be_asked_for(study: Study) -> None:
    wider = study.treat("higher", bias=2.0)
    outcome = wider.run(["higher"], "higher.x > baseline.x", 6)
    assert list(outcome.plan.conditions) == ["baseline", "higher"]
    assert (outcome.plan.replicates, len(outcome.verdicts)) == (6, 1)
    with pytest.raises(InvalidStudy, match=r"no treatment 'highest'.*Did you mean 'higher'"):
        wider.run("highest")


def test_replicates_come_as_they_end(study: Study) -> None:
    seen = list(study.stream())
    assert len(seen) == 16
    assert {(one.treatment, one.number) for one in seen} == {
        (name, n) for name in ("baseline", "high") for n in range(8)
    }
    assert study.versions()[0].complete
    for one in study.stream():
        assert one.observation.status == "completed"
        break
    assert not study.versions()[1].complete
    assert study.run(strategy="resume").version == 2


def test_it_may_be_awaited(study: Study) -> None:
    async def main() -> Outcome:
        with pytest.raises(RuntimeError, match=r"await study\.arun"):
            study.run()
        return await study.arun()

    assert len(asyncio.run(main()).replicates) == 16


def test_a_single_run_gives_the_functions_own_value(study: Study) -> None:
    assert study.apply("high", seed=9) == study.apply(Treatment("mine", {"bias": 1.0}), seed=9)
    assert study.apply(seed=9)["x"] == pytest.approx(study.apply("high", seed=9)["x"] - 1.0)
    assert study.apply({"bias": 1.0}, seed=9, bias=2.0)["x"] == pytest.approx(
        study.apply("high", seed=9)["x"] + 1.0
    )
    last = study.experiment.observations()[-1]
    assert last.metadata["seed"] == 9
    assert last.metadata["study"] == {"name": "throw", "treatment": "high"}
    with pytest.raises(InvalidStudy, match="does not fit"):
        study.apply(biass=3)
    with pytest.raises(InvalidStudy, match="has it a parameter 'data'"):
        study.apply(data=[1])
    assert study.versions() == []


def test_debug_makes_one_replicate_and_raises(throw: Experiment[..., Any]) -> None:
    study = Study(throw, treatments={"bad": {"fails": True}}, replicates=3, seed=2)
    outcome = study.run()
    assert study.debug()["x"] == outcome.metrics()["x"][0]
    assert study.debug("bad")["x"] == outcome.metrics("bad")["x"][0]  # with this seed it stands
    with pytest.raises(ValueError, match="it fell"):
        study.with_(seed=1).debug("bad")


def test_coroutines_and_generators_are_run() -> None:
    @experiment(root="coroutine")
    async def wait(x: int = 1, seed: int = 0) -> int:
        await asyncio.sleep(random.Random(seed).random() / 1000)
        return x

    study = Study(wait, treatments={"two": {"x": 2}}, replicates=2, seed=1)
    assert study.apply("two") == 2
    assert study.run(executor="async").metrics("two")["result"].tolist() == [2, 2]


def load(n: int = 3) -> list[int]:
    return list(range(n))


def scale(values: list[int], by: int = 1) -> int:
    return sum(values) * by


def test_a_treatment_may_vary_the_parameters_of_steps_and_data_be_replaced() -> None:
    whole = pipeline(step(load), step(scale), name="whole", root="whole")
    study = Study(whole, treatments={"ten": {"by": 10}, "long": {"n": 5}}, replicates=2, seed=1)
    outcome = study.run()
    means = outcome.summary().set_index(["treatment", "metric"])["mean"]
    assert (means["baseline", "result"], means["ten", "result"], means["long", "result"]) == (
        3,
        30,
        10,
    )
    assert study.apply("ten", data=[5]) == 50


def test_its_tree_goes_down_to_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    whole = pipeline(step(load), step(scale), name="whole", root="whole")
    outcome = Study(whole, treatments={"ten": {"by": 10}}, replicates=2, seed=1).run()
    outcome.tree()
    told = capsys.readouterr().out
    assert told.count("load(n=3)") == 4
    assert "ten · 2 runs" in told
    outcome.tree("replicate > treatment")
    told = capsys.readouterr().out
    assert "replicate 1 · 2 runs" in told
    assert "load" not in told
    outcome.tree("treatment")
    assert "ten · 2 runs" in capsys.readouterr().out
    for wrong in ("treatment > setp", "step", "treatment > treatment"):
        with pytest.raises(ValueError, match="level"):
            outcome.tree(wrong)


class Listener(Callback):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def study_start(self, study: Any) -> None:
        self.heard.append(f"start {study.name}")

    def study_end(self, outcome: Any) -> None:
        self.heard.append(f"end {len(outcome.replicates)}")

    def end(self, observation: Any) -> None:
        self.heard.append("run")


class Broken(Callback):
    def study_start(self, study: Any) -> None:
        raise RuntimeError("no ears")


def test_callbacks_hear_of_the_whole_and_a_broken_one_harms_nothing(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    with caplog.at_level(logging.INFO, "digital_experiments"):
        study.with_(callbacks=[listener], replicates=2).run()
    assert listener.heard == ["start throw", *4 * ["run"], "end 4"]
    assert "study throw: 4 runs to make" in caplog.text
    assert "study throw: 4 of 4 runs completed" in caplog.text
    with pytest.warns(CallbackWarning, match=r"Broken.study_start raised RuntimeError: no ears"):
        outcome = study.with_(callbacks=[Broken()], replicates=2).run()
    assert outcome.is_complete


# versions


def test_each_running_is_a_version_with_a_plan_written_before(study: Study, folder: Path) -> None:
    seen: list[Any] = []

    class Look(Callback):
        def start(self, id: str, config: Any) -> None:
            (path,) = Path("throw/studies/throw").glob("*.json")
            seen.append(json.loads(path.read_text()))

    study.expect("high.x > baseline.x").with_(replicates=5, callbacks=[Look()]).run()
    told = seen[0]
    assert told["conditions"] == {
        "baseline": {"bias": 0.0, "fails": False},
        "high": {"bias": 1.0, "fails": False},
    }
    assert (told["seed"], told["replicates"]) == (1234, 5)
    assert told["hypotheses"][0]["text"] == "high.x > baseline.x"
    assert told["fingerprint"] == study.experiment.fingerprint
    study.treat("higher", bias=2.0).run(replicates=2)
    first, second = study.versions()
    assert (first.number, second.number) == (1, 2)
    assert (first.treatments, second.treatments) == (["high"], ["high", "higher"])
    assert first.complete
    assert second.complete
    assert values(study.load(1)) == values(study.run(replicates=5))
    assert study.load(1).verdicts[0].supported is True
    newest = study.load_all()
    assert {name: number for name, (number, _) in newest.items()} == {
        "baseline": 3,
        "high": 3,
        "higher": 2,
    }
    with pytest.raises(VersionNotFound, match=r"has no version 9\. It has 3"):
        study.load(9)
    with pytest.raises(VersionNotFound, match="not been run yet"):
        study.with_(name="other").load()


def test_more_replicates_extend_a_study_without_repeating_any(study: Study) -> None:
    study.run(replicates=4)
    before = {o.id for o in study.experiment.observations()}
    outcome = study.run(replicates=10, strategy="resume")
    assert len(study.experiment.observations()) == 20
    assert before < {o.id for o in outcome.observations}
    assert outcome.version == 2
    assert values(outcome) == values(study.with_(name="whole", replicates=10).run())
    again = study.run(replicates=10, strategy="resume")
    assert (again.version, len(study.experiment.observations())) == (2, 40)
    wider = study.treat("higher", bias=2.0).run(replicates=10, strategy="resume")
    assert (wider.version, len(study.experiment.observations())) == (3, 50)
    loaded = study.load(2)
    assert values(loaded) == values(outcome)


def test_failed_replicates_are_made_again_on_resume(folder: Path) -> None:
    @experiment(root="flaky")
    def flaky(seed: int = 0) -> int:
        if not Path("fixed").exists() and seed % 2:
            raise OSError("not yet")
        return seed

    study = Study(flaky, replicates=6, seed=2)
    assert len(study.run().errors) == 3
    Path("fixed").touch()
    outcome = study.run(strategy="resume")
    assert (outcome.version, len(outcome.errors), outcome.is_complete) == (1, 0, True)
    assert len(flaky.observations(status=None)) == 9
    assert study.load().is_complete


def test_other_code_is_not_resumed_upon(folder: Path) -> None:
    def made(text: str) -> Study:
        Path("module.py").write_text(text)
        space: dict[str, Any] = {}
        exec(compile(text, str(folder / "module.py"), "exec"), space)
        return Study(experiment(root="code", name="fit")(space["fit"]), replicates=3, seed=1)

    made("def fit(): return 1").run()
    with pytest.warns(DigitalExperimentsWarning, match="begins anew: .* the code is another now"):
        outcome = made("def fit(): return 2").run(strategy="resume")
    assert outcome.metrics()["result"].tolist() == [2, 2, 2]
    assert outcome.version == 2


KILLED = """
import os, random, signal, time
from digital_experiments import Study, experiment

@experiment(root="killed")
def fit(lr=0.1):
    time.sleep(0.02)
    return {"x": random.random() + lr}

study = Study(fit, treatments={"high": {"lr": 1.0}}, replicates=20, seed=5)
study = study.expect("high.x > baseline.x")
"""


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_a_study_that_was_killed_ends_as_one_that_was_not(folder: Path, executor: str) -> None:
    run = f"study.run(strategy='resume', executor='{executor}', workers=None)\n"
    Path("killed.py").write_text(KILLED + run)
    process = subprocess.Popen([sys.executable, "killed.py"], start_new_session=True)
    while len(list(Path("killed").glob("*.pkl"))) < 9:
        time.sleep(0.01)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there = {path.stem for path in Path("killed").glob("*.pkl")}
    assert len(there) < 40
    Path("whole.py").write_text(KILLED.replace('"killed"', '"whole"') + "study.run()\n")
    told = "import json\nprint(json.dumps(study.load().to_dataframe()[['treatment', 'replicate', "
    told += "'seed', 'status', 'x']].to_dict('list')), study.load().verdicts[0].p, "
    told += "study.load().integrity, len(study.versions()))\n"
    with open("killed.py", "a") as file:
        file.write(told)
    with open("whole.py", "a") as file:
        file.write(told)
    results = [
        subprocess.run([sys.executable, name], capture_output=True, text=True, check=True).stdout
        for name in ("killed.py", "whole.py")
    ]
    assert results[0] == results[1]
    assert "valid 1" in results[0]
    assert there < {path.stem for path in Path("killed").glob("*.pkl")}


def test_artefacts_are_paths_that_tell_what_a_run_came_from(study: Study) -> None:
    outcome = study.run(replicates=3)
    paths = study.artefacts("mark", "high")
    assert [path.read_text() for path in paths] == ["1.0"] * 3

    @experiment(root="next")
    def read(mark: Path, more: list[Path]) -> str:
        return mark.read_text()

    read(paths[0], more=paths)
    observation = read.observations()[0]
    ids = [o.id for o in outcome.observations][3:]
    assert observation.inputs == {"mark": [f"{ids[0]}/mark"], "more": [f"{id}/mark" for id in ids]}
    with pytest.raises(FileNotFoundError, match=r"has 'marks'.*Did you mean 'mark'"):
        study.artefacts("marks")
    with pytest.raises(UnknownColumn, match="no condition 'low'"):
        study.artefacts("mark", "low")
    assert len(study.artefacts("mark", require_complete=True)) == 3


def test_an_incomplete_version_may_be_refused(throw: Experiment[..., Any]) -> None:
    study = Study(throw, treatments={"bad": {"fails": True}}, replicates=8, seed=3)
    study.run()
    assert study.artefacts("mark")
    with pytest.raises(FileNotFoundError, match="version 1 is not complete"):
        study.artefacts("mark", require_complete=True)


# retention


def save_two(small: int = 10) -> None:
    (current_dir() / "small").write_bytes(bytes(small))
    (current_dir() / "big").write_bytes(bytes(2000))
    log_metric("loss", 1.0)


def test_older_versions_lose_their_big_files_and_then_all(folder: Path) -> None:
    save = experiment(root="save")(save_two)
    study = Study(save, replicates=2, seed=1, retention=Retention(keep=2, big_file_mb=0.001))
    for _ in range(3):
        study.run()
    left = [
        sorted({p.name for o in study.load(n).observations for p in o.artefacts()})
        for n in (1, 2, 3)
    ]
    assert left == [
        ["metrics.jsonl"],
        ["metrics.jsonl", "small"],
        ["big", "metrics.jsonl", "small"],
    ]
    assert all(len(study.load(n).metrics()) == 2 for n in (1, 2, 3))
    assert study.load(1).metrics()["loss"].tolist() == [1.0, 1.0]


def test_a_plain_experiment_keeps_files_of_its_newest_runs(folder: Path) -> None:
    save = experiment(root="save", retention=Retention(keep=2, big_file_mb=0.001))(save_two)
    for _ in range(4):
        save()
    left = [sorted(p.name for p in o.artefacts()) for o in save.observations()]
    assert left == [
        ["metrics.jsonl"],
        ["metrics.jsonl"],
        ["metrics.jsonl", "small"],
        ["big", "metrics.jsonl", "small"],
    ]


def test_the_environment_tells_how_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Retention() == Retention(3, 10)
    monkeypatch.setenv("DE_ARTEFACT_RETENTION", "0")
    monkeypatch.setenv("DE_BIG_FILE_THRESHOLD_MB", "0.5")
    assert Retention() == Retention(0, 0.5)
    save = experiment(root="save", retention=Retention())(save_two)
    for _ in range(3):
        save()
    assert all(len(o.artefacts()) == 3 for o in save.observations())
    monkeypatch.setenv("DE_ARTEFACT_RETENTION", "many")
    with pytest.raises(
        ValueError, match="DE_ARTEFACT_RETENTION must be a whole number, not 'many'"
    ):
        Retention()
    with pytest.raises(TypeError, match="retention must be Retention"):
        experiment(retention=3)(save_two)  # type: ignore[call-overload]


# files


def test_an_outcome_is_written_and_read(study: Study) -> None:
    outcome = study.expect("high.x > baseline.x").run()
    frame = outcome.to_dataframe()
    pd.testing.assert_frame_equal(pd.read_parquet(outcome.to_parquet("a/out.parquet")), frame)
    assert json.loads(outcome.to_json("a/out.json").read_text())[0]["seed"] == 1234
    text = outcome.report("a/report.html")
    assert text == repr(outcome)
    page = Path("a/report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "high.x &gt; baseline.x" in page


def test_plans_are_merged_checked_and_set_aside(study: Study, folder: Path) -> None:
    study.run(replicates=2)
    other = open_experiment("throw")
    experiment(root="elsewhere", name="throw")(save_two)()
    merged = open_experiment("elsewhere").merge("throw")
    assert merged.notes == 2
    assert len(list(Path("elsewhere/studies/throw").glob("*.json"))) == 2
    assert open_experiment("elsewhere").merge("throw").notes == 0
    assert not other.check().damages
    (plan,) = (p for p in Path("throw/studies/throw").iterdir() if "done" not in p.name)
    plan.write_text("{")
    assert [d.kind for d in other.check().damages] == ["plan"]
    other.repair()
    assert not other.check().damages
    assert study.versions() == []
