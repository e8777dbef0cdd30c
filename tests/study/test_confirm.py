"""Confirmations: fresh seeds, a plan before the first run, and what is to be held against them."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from digital_experiments import Callback, Experiment, Outcome, Study, experiment
from digital_experiments.controllers import GridSearch
from digital_experiments.errors import InvalidStudy, RecordingWarning


@pytest.fixture
def throw() -> Experiment[..., Any]:
    @experiment(root="throw")
    def throw(bias: float = 0.0) -> dict[str, float]:
        return {"x": random.gauss(bias, 1.0), "y": random.gauss(0, 1.0)}

    return throw


@pytest.fixture
def explored(throw: Experiment[..., Any]) -> Outcome:
    treatments = {"high": {"bias": 1.0}, "low": {"bias": -1.0}}
    return Study(throw, treatments=treatments, replicates=6, seed=1).run()


def test_what_exploration_found_is_confirmed_on_fresh_seeds(explored: Outcome) -> None:
    confirmed = explored.confirm("high.x > baseline.x", replicates=10)
    assert confirmed.plan.kind == "confirmation"
    assert list(confirmed.plan.conditions) == ["baseline", "high"]
    seeds = {one.seed for one in confirmed}
    assert len(seeds) == 10
    assert not seeds & {one.seed for one in explored}
    (verdict,) = confirmed.verdicts
    assert (verdict.supported, verdict.integrity) == (True, "valid")
    assert str(confirmed.integrity) == "valid"
    assert bool(confirmed.integrity)
    told = confirmed.report("report.html")
    assert "a confirmation" in told
    page = Path("report.html").read_text()
    assert confirmed.plan.id in page
    assert confirmed.plan.fingerprint in page


def test_all_hypotheses_and_all_treatments_may_be_confirmed(explored: Outcome) -> None:
    confirmed = explored.confirm(["*.x != baseline.x", "high.x > low.x"], replicates=8, seed=99)
    assert [v.supported for v in confirmed.verdicts] == [True, True, True]
    assert confirmed.plan.seed == 99
    assert confirmed.study.versions()[0].kind == "confirmation"


def test_seeds_that_were_explored_are_refused(explored: Outcome) -> None:
    with pytest.raises(InvalidStudy, match="leads to seeds that earlier runs have used"):
        explored.confirm("high.x > baseline.x", replicates=4, seed=1)
    with pytest.raises(InvalidStudy, match="names 'hihg'"):
        explored.confirm("hihg.x > baseline.x", replicates=4)


def test_a_hypothesis_that_came_later_is_not_pre_registered(explored: Outcome) -> None:
    confirmed = explored.confirm("high.x > baseline.x", replicates=8)
    later = confirmed.study.load(hypotheses=["high.y > baseline.y", "high.x > baseline.x"])
    assert [v.integrity for v in later.verdicts] == ["not pre-registered", "valid"]
    other = confirmed.study.load(hypotheses=[{"text": "high.x > baseline.x", "alpha": 0.1}])
    assert other.verdicts[0].integrity == "not pre-registered"
    assert "not pre-registered" in repr(later)


def test_a_plan_that_was_changed_is_told(explored: Outcome) -> None:
    confirmed = explored.confirm("high.x > baseline.x", replicates=8)
    (path,) = Path("throw/studies/throw-confirmation").glob(f"{confirmed.plan.id}.json")
    path.write_text(path.read_text().replace("high.x > baseline.x", "high.y > baseline.y"))
    loaded = confirmed.study.load()
    assert loaded.verdicts[0].integrity == "plan changed"
    assert loaded.integrity.reasons == ["16 runs were made by another text of the plan"]


def test_code_that_was_changed_since_is_told(explored: Outcome) -> None:
    @experiment(root="throw")
    def throw(bias: float = 0.0) -> dict[str, float]:
        return {"x": random.gauss(bias, 0.5)}

    study = Study(throw, treatments={"high": {"bias": 1.0}})
    with pytest.warns(RecordingWarning, match="both record as 'throw'"):
        confirmed = study.load(1).confirm("high.x > baseline.x", replicates=8)
    assert confirmed.verdicts[0].integrity == "code changed"
    assert confirmed.integrity.reasons == ["the code is not that of what is to be confirmed"]


def test_runs_that_were_seen_before_are_told(explored: Outcome) -> None:
    study = explored.study.expect("high.x > baseline.x")
    extended = study.run(replicates=10, strategy="resume")
    assert extended.verdicts[0].integrity == "reused data"
    assert "18 runs were made before the plan" in str(extended.integrity)
    assert study.run(replicates=10).verdicts[0].integrity == "not pre-registered"  # seen before
    fresh = study.with_(seed=5).run(replicates=10)
    assert fresh.verdicts[0].integrity == "valid"


def test_a_look_before_the_end_is_noted(explored: Outcome) -> None:
    confirmed = explored.confirm("high.x > baseline.x", replicates=8)
    for one in confirmed.replicates[:3]:
        explored.study.experiment.delete([one.observation.id])
    early = confirmed.study.load()
    assert early.integrity.status == "incomplete"
    assert "13 of 16 runs have completed" in early.integrity.reasons
    explored.study.experiment.restore([one.observation.id for one in confirmed.replicates[:3]])
    whole = confirmed.study.load()
    assert whole.integrity.status == "valid"
    assert len(whole.integrity.reasons) == 1
    assert "looked at after 13 of 16 runs" in whole.integrity.reasons[0]
    assert "looked at after 13 of 16 runs" in repr(whole)


def test_a_confirmation_may_go_on_where_it_was_stopped(throw: Experiment[..., Any]) -> None:
    class StopError(KeyboardInterrupt):
        pass

    explored = Study(throw, treatments={"high": {"bias": 1.0}}, replicates=2, seed=1).run()
    count = 0

    @experiment(root="stops")
    def stops(bias: float = 0.0) -> float:
        nonlocal count
        count += 1
        if count == 9:
            raise StopError
        return random.gauss(bias, 1.0)

    explored = Study(stops, treatments={"high": {"bias": 3.0}}, replicates=2, seed=1).run()
    with pytest.raises(StopError):
        explored.confirm("high.result > baseline.result", replicates=6)
    confirmed = explored.confirm("high.result > baseline.result", replicates=6, strategy="resume")
    assert confirmed.is_complete
    assert confirmed.version == 1
    assert confirmed.verdicts[0].integrity == "valid"
    assert len(stops.observations(status=None)) == 4 + 12 + 1


def test_seeds_of_runs_beside_the_plans_are_seen_data_too(explored: Outcome) -> None:
    explored.study.apply("high", seed=777)
    with pytest.raises(InvalidStudy, match="leads to seeds that earlier runs have used"):
        explored.confirm("high.x > baseline.x", replicates=4, seed=777)
    confirmed = explored.confirm("high.x > baseline.x", replicates=6, seed=888)
    assert confirmed.integrity.status == "valid"
    explored.study.apply("high", seed=888)  # afterwards
    assert confirmed.integrity.status == "valid"


def test_a_confirmation_may_be_extended_more_than_once(explored: Outcome) -> None:
    asked = "high.x > baseline.x"
    first = explored.confirm(asked, replicates=6)
    for count in (8, 8, 10):
        more = explored.confirm(asked, replicates=count, strategy="resume")
        assert len(more.replicates) == 2 * count
        assert more.plan.seed == first.plan.seed
        assert not any("earlier confirmations" in reason for reason in more.integrity.reasons)


@pytest.fixture
def noise() -> Experiment[..., Any]:
    @experiment(root="noise")
    def noise(lr: float = 0.0, seed: int = 0) -> dict[str, float]:
        own = random.Random(f"{seed}/{lr}")
        return {"x": own.gauss(0, 1), "y": own.gauss(0, 1)}

    return noise


def test_runs_that_took_the_place_of_deleted_ones_are_told(noise: Experiment[..., Any]) -> None:
    explored = Study(noise, treatments={"a": {"lr": 1.0}}, replicates=3, seed=1).run()
    confirmed = explored.confirm("a.x > baseline.x", 6)
    assert confirmed.integrity
    noise.delete([one.observation for one in confirmed.replicates[:2]])
    again = explored.confirm("a.x > baseline.x", 6, strategy="resume")
    assert again.integrity.status == "reused data"
    assert again.integrity.reasons == ["2 runs of it that had completed were deleted"]
    noise.purge()
    again = again.study.load()
    assert again.integrity.reasons == ["2 runs took the place of others that were deleted"]
    assert again.study.load().verdicts[0].integrity == "reused data"


def test_earlier_confirmations_of_the_same_are_counted(noise: Experiment[..., Any]) -> None:
    study = Study(noise, treatments={"a": {"lr": 1.0}}, replicates=3, seed=1)
    outcome = study.run()
    for name in ("one", "two"):
        outcome = outcome.confirm("a.x > baseline.x", 6, name=name)
    assert outcome.integrity.reasons == ["a confirmation of the same was begun once before"]
    new = study.with_(seed=77).run().confirm("a.x > baseline.x", 6, name="three")
    assert new.integrity.reasons == ["a confirmation of the same was begun 2 times before"]
    assert new.confirm("a.y > baseline.y", 6, name="other").integrity.reasons == []
    shutil.rmtree("noise/studies/one")
    last = new.confirm("a.y < baseline.y", 6, name="last")
    assert last.integrity.reasons == ["of 1 other versions there are runs, and no plan"]


def test_what_is_asked_after_the_same_seeds_were_run_is_not_pre_registered(
    noise: Experiment[..., Any],
) -> None:
    study = Study(noise, treatments={"a": {"lr": 1.0}}, replicates=6, seed=1)
    first = study.expect("a.x > baseline.x").run()
    both = study.expect("a.x > baseline.x").expect("a.y > baseline.y").run()
    assert [v.integrity for v in first.verdicts] == ["valid"]
    assert [v.integrity for v in both.verdicts] == ["valid", "not pre-registered"]
    other = study.with_(seed=2).expect("a.y > baseline.y").run()
    assert other.verdicts[0].integrity == "valid"


def test_seeds_of_plain_calls_are_not_fresh(noise: Experiment[..., Any]) -> None:
    for number in range(6):
        noise(lr=1.0, seed=7 + 31337 * number)
    explored = Study(noise, treatments={"a": {"lr": 1.0}}, replicates=3, seed=1).run()
    with pytest.raises(InvalidStudy, match="seeds that earlier runs have used"):
        explored.confirm("a.x > baseline.x", 6, seed=7)


def statuses(outcome: Outcome) -> list[str]:
    return [verdict.integrity for verdict in outcome.verdicts]


def test_the_winner_among_many_is_not_run_again_alone(noise: Experiment[..., Any]) -> None:
    study = Study(noise, treatments={"a": {"lr": 1.0}}, replicates=8, seed=1)
    both = study.expect("a.x > baseline.x").expect("a.y > baseline.y")
    assert statuses(both.run()) == ["valid", "valid"]
    assert statuses(both.run()) == ["valid", "valid"]  # the same once more
    alone = study.expect("a.x > baseline.x").run()
    assert statuses(alone) == ["reused data"]
    assert "had run the same with the same seeds" in alone.verdicts[0].reason
    assert statuses(both.with_(correction=None).run()) == ["reused data"] * 2
    assert statuses(both.run(replicates=9)) == ["reused data"] * 2


@pytest.mark.parametrize("how", [{"test": "welch"}, {"alpha": 0.1}, {"paired": False}])
def test_another_test_after_a_look_is_not_pre_registered(
    noise: Experiment[..., Any], how: dict[str, Any]
) -> None:
    study = Study(noise, treatments={"a": {"lr": 1.0}}, replicates=8, seed=1)
    study.expect("a.x > baseline.x").run()
    assert statuses(study.expect("a.x > baseline.x", **how).run()) == ["not pre-registered"]
    for text in ("a.x  >= baseline.x", "baseline.x < a.result.x", '"a".x > baseline.x'):
        assert statuses(study.expect(text).run()) == ["valid"], text  # it says the same


def test_who_asks_of_what_was_not_seen_is_not_accused(noise: Experiment[..., Any]) -> None:
    study = Study(noise, treatments={"a": {"lr": 1.0}}, replicates=8, seed=1)
    study = study.expect("a.x > baseline.x")
    study.run()
    assert statuses(study.treat("b", lr=2.0).expect("b.x > baseline.x").run()) == ["valid"] * 2
    renamed = study.with_(treatments={"better": {"lr": 1.0}}, hypotheses="better.x > baseline.x")
    assert statuses(renamed.run()) == ["valid"]

    @experiment(root="failing")
    def failing(k: float = 0.0, seed: int = 0) -> dict[str, float]:
        return {"x": float(Path("there").read_text()) + k}

    other = Study(failing, treatments={"a": {"k": 1.0}}, replicates=6, seed=1)
    other.run()
    Path("there").write_text("1")
    assert statuses(other.expect("a.x > baseline.x").run()) == ["valid"]


def test_what_was_seen_under_another_name_is_known(noise: Experiment[..., Any]) -> None:
    Study(noise, baseline={"lr": 0.0}, treatments={"a": {"lr": 2.0}}, replicates=6, seed=1).run()
    swapped = Study(noise, baseline={"lr": 2.0}, treatments={"a": {"lr": 0.0}}, seed=1)
    outcome = swapped.replicate(6).expect("baseline.x > a.x").run()
    assert statuses(outcome) == ["not pre-registered"]
    study = Study(noise, replicates=6, seed=7)
    best = study.optimise(GridSearch(lr=[1.0, 3.0]), 2, 6, objective="x", progress=False)
    assert study.load(1).integrity
    found = study.with_(treatments={"best": best}).expect("best.x > baseline.x").run()
    assert statuses(found) == ["not pre-registered"]
    assert "search 'noise' had run the same" in found.verdicts[0].reason


def test_a_confirmation_is_known_again_however_it_is_spelled(noise: Experiment[..., Any]) -> None:
    explored = Study(noise, treatments={"a": {"lr": 1.0}}, replicates=3, seed=1).run()
    explored.confirm("a.x > baseline.x", 6, name="first")
    for number, text in enumerate(("baseline.x  < a.x", "a.result.x >= baseline.x"), 1):
        told = explored.confirm(text, 6, name=f"n{number}").integrity.reasons
        times = "once" if number == 1 else f"{number} times"
        assert told == [f"a confirmation of the same was begun {times} before"]
    other = Study(noise, treatments={"a": {"lr": 5.0}}, replicates=3, seed=2, name="other").run()
    assert other.confirm("*.x > baseline.x", 6).integrity.reasons == []


def test_what_was_deleted_before_the_end_is_told(noise: Experiment[..., Any]) -> None:
    class Stop(Callback):
        runs = 0

        def end(self, observation: Any) -> None:
            self.runs += 1
            if self.runs > 9:
                raise KeyboardInterrupt

    study = Study(noise, treatments={"a": {"lr": 1.0}}, replicates=3, seed=1)
    study.run()
    with pytest.raises(KeyboardInterrupt):
        study.with_(callbacks=[Stop()]).load().confirm("a.x > baseline.x", 6)
    noise.delete([run.id for run in noise.observations(where="metadata.study.replicate == 2")[-2:]])
    resumed = study.load(1).confirm("a.x > baseline.x", 6, strategy="resume")
    assert resumed.integrity.status == "reused data"
    assert resumed.integrity.reasons[0] == "2 runs of it that had completed were deleted"
