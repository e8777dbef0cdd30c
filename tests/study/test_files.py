"""Studies in YAML files, and the commands that run them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from digital_experiments import Callback, Hypothesis, Retention, Study
from digital_experiments.cli import main
from digital_experiments.errors import InvalidStudy
from digital_experiments.targets import load_target

TRAIN = """
import random
from helper import GAIN
from digital_experiments import experiment

@experiment(root="runs")
def train(lr=0.01, epochs=3, seed=0):
    return {"accuracy": GAIN * lr + random.gauss(0, 0.001), "loss": 1 - lr}

def plain(): ...
"""
FAILS = """
from digital_experiments import experiment

@experiment(root="fails")
def fail(): raise ValueError
"""
STUDY = """\
experiment: train.py:train
name: rates
description: Which rate?
baseline: {epochs: 2}
treatments:
  high:
    lr: 1e-1
  off: {lr: 0}
replicates: 6
seed: 12
hypotheses:
  - high.accuracy > baseline.accuracy
  - text: high.loss <= baseline.loss + 0.05
    test: welch
    alpha: 0.01
retention: {keep: 2}
"""


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    Path("train.py").write_text(TRAIN)
    Path("helper.py").write_text("GAIN = 1.0\n")
    Path("study.yaml").write_text(STUDY)
    Path("broken.py").write_text("1 / 0\n")


def dex(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), catch_exceptions=False)


def test_a_file_says_what_python_would() -> None:
    study = Study.from_yaml("study.yaml")
    assert (study.name, study.description, study.replicates, study.seed) == (
        "rates",
        "Which rate?",
        6,
        12,
    )
    assert study.conditions == {
        "baseline": {"lr": 0.01, "epochs": 2},
        "high": {"lr": 0.1, "epochs": 2},
        "off": {"lr": 0, "epochs": 2},
    }
    assert study.hypotheses == (
        Hypothesis("high.accuracy > baseline.accuracy"),
        Hypothesis("high.loss <= baseline.loss + 0.05", test="welch", alpha=0.01),
    )
    assert study.retention == Retention(keep=2)


def test_what_is_written_is_read_as_it_was() -> None:
    study = Study.from_yaml("study.yaml")
    text = study.to_yaml("copies/again.yaml")
    assert Path("copies/again.yaml").read_text() == text
    assert "experiment: ../train.py:train" in text
    again = Study.from_yaml("copies/again.yaml")
    assert again.to_yaml() == study.to_yaml()
    assert again.conditions == study.conditions
    odd = study.treat("1e3", lr="1e-5").with_(description="010", name="1:30")
    odd = odd.with_(baseline={"epochs": "on"})
    odd.to_yaml("odd.yaml")
    read = Study.from_yaml("odd.yaml")
    assert (read.name, read.description, read.conditions) == (odd.name, "010", odd.conditions)
    with pytest.raises(InvalidStudy, match=r"can't keep: a tuple, \(1, 2\)"):
        study.treat("odd", lr=(1, 2)).to_yaml()
    with pytest.raises(InvalidStudy, match="has callbacks"):
        study.with_(callbacks=[Callback()]).to_yaml()
    with pytest.raises(InvalidStudy, match="'twice' is a function, which YAML can't keep"):
        study.treat("twice", lambda config: {}).to_yaml()
    with pytest.raises(InvalidStudy, match="holds what YAML can't keep"):
        study.treat("odd", lr=object()).to_yaml()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("replicates: 6", "replicats: 6"), r"line 9: no 'replicats'.*Did you mean 'replicates'"),
        (("replicates: 6", "replicates: six"), "line 9: replicates must be a number"),
        (("seed: 12", "seed: -1"), "A seed must be a whole number"),
        (("seed: 12", "seed: 12\nseed: 13"), "line 11: 'seed' is there twice"),
        (("seed: 12", "executor: proces"), r"line 10: There is no executor 'proces'.*'process'"),
        (("  off: {lr: 0}", "  off: 3"), "line 8: Treatment 'off' must be a dict"),
        (("accuracy > baseline", "accuracy baseline"), "line 12: Expected >, <"),
        (("test: welch", "test: welsh"), "line 13: No test 'welsh'"),
        (("train.py:train", "train.py:trian"), r"line 1: .*holds no 'trian'.*'train'"),
        (("train.py:train", "nope.py:train"), "line 1: There is no file"),
        (("train.py:train", "train.py:plain"), "line 1: .*is no experiment"),
        (("train.py:train", "train"), "line 1: An experiment is named as in"),
        (("{epochs: 2}", "[epochs"), "line 5: "),
        (("baseline: {epochs: 2}", "baseline: 3"), "line 4: baseline must be a mapping"),
        (("description: Which rate?", "description: !!python/name:os.system"), "line 3: could not"),
        ((STUDY, "- a\n- b\n"), "is no study: it must hold 'experiment"),
        (("experiment: train.py:train\n", ""), "'experiment' is missing"),
        (("lr: 1e-1", "rate: 1e-1"), r"line 6: .*no parameter 'rate'"),
        (("{epochs: 2}", "{epoch: 2}"), r"line 4: .*no parameter 'epoch'.*'epochs'"),
        (("high.accuracy >", "hihg.accuracy >"), r"line 12: .*names 'hihg'.*'high'"),
        (
            ("hypotheses:\n", "hypotheses: 5\nother:\n"),
            "line 11: A hypothesis is a text|no 'other'",
        ),
        (("test: welch", "tset: welch"), "line 13: A hypothesis has no 'tset'.*'test'"),
        (("{keep: 2}", "{keeep: 2}"), "line 16: retention must be such as"),
        (("{keep: 2}", "3"), "line 16: retention must be such as"),
        (("train.py:train", "broken.py:train"), "line 1: broken.py:train can't be loaded: ZeroDiv"),
        (("name: rates", "name: rat\x01es"), "is no YAML"),
        (("description: Which rate?", "description: 1:30\ntreatments: []"), "there twice|mapping"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(change: tuple[str, str], says: str) -> None:
    Path("wrong.yaml").write_text(STUDY.replace(*change))
    with pytest.raises(InvalidStudy, match=says):
        Study.from_yaml("wrong.yaml")


def test_a_target_is_a_file_or_a_module() -> None:
    assert load_target("train.py:train").name == "train"
    assert load_target("train:train") is load_target("train.py:train")
    with pytest.raises(ModuleNotFoundError):
        load_target("no_such_module_there:train")
    Path("raises.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load_target("raises.py:train")


def test_the_commands_run_a_study_and_tell_of_it() -> None:
    ran = dex("study", "run", "study.yaml", "--report", "page.html")
    assert ran.exit_code == 0, ran.output
    assert "18 of 18 runs completed" in ran.output
    assert "high.accuracy > baseline.accuracy" in ran.output
    assert "Which rate?" in Path("page.html").read_text()
    more = dex("study", "run", "study.yaml", "--resume", "--replicates", "8")
    assert "version 2" in more.output
    assert "24 of 24 runs completed" in more.output
    told = dex("study", "status", "study.yaml")
    assert "v1" in told.output
    assert "18 of 18" in told.output
    assert "24 of 24" in told.output
    shown = dex("study", "report", "study.yaml", "--version", "1", "-o", "one.html")
    assert "version 1" in shown.output
    assert Path("one.html").exists()
    missing = dex("study", "report", "study.yaml", "--version", "7")
    assert missing.exit_code == 2
    assert "has no version 7" in missing.output
    Path("fails.py").write_text(FAILS)
    Path("fails.yaml").write_text("experiment: fails.py:fail\nreplicates: 2\n")
    assert dex("study", "run", "fails.yaml").exit_code == 1
    wrong = dex("study", "run", "nope.yaml")
    assert wrong.exit_code == 2
    assert "nope.yaml" in wrong.output


def test_a_file_to_begin_with_runs_as_it_is() -> None:
    assert dex("study", "new", "new.yaml", "--experiment", "train.py:train").exit_code == 0
    assert "lr: 0.1" in Path("new.yaml").read_text()
    ran = dex("study", "run", "new.yaml", "--executor", "process", "--workers", "2")
    assert ran.exit_code == 0, ran.output
    assert "20 of 20 runs completed" in ran.output
    assert "Available: 'accuracy', 'loss'" in ran.output
    assert dex("study", "new", "known.yaml", "--experiment", "train.py:train").exit_code == 0
    assert "- new.accuracy > baseline.accuracy" in Path("known.yaml").read_text()
    again = dex("study", "new", "new.yaml")
    assert again.exit_code != 0
    assert "there already" in again.output
    assert "has not been run yet" in dex("study", "status", "study.yaml").output
    assert dex("study", "new", "later.yaml", "--experiment", "later.py:fit").exit_code == 0
    assert "experiment: later.py:fit" in Path("later.yaml").read_text()


def test_what_is_twice_within_a_condition_is_refused(tmp_path: Path) -> None:
    for text in ("treatments: {a: {lr: 1, lr: 2}}", "baseline: {lr: 1, lr: 2}"):
        (tmp_path / "s.yaml").write_text(f"experiment: train.py:train\n{text}\n")
        with pytest.raises(InvalidStudy, match="line 2: 'lr' is there twice"):
            Study.from_yaml(tmp_path / "s.yaml")


def test_names_are_texts_and_numbers_numbers(folder: Path) -> None:
    (folder / "odd.py").write_text(
        "from digital_experiments import experiment\n"
        "@experiment\ndef odd(n=0, m=0):\n    return {'val-loss': n + m}\n"
    )
    (folder / "s.yaml").write_text(
        "experiment: odd.py:odd\ntreatments:\n  true: {n: 1_000}\n  ~: {m: 0x10}\n"
    )
    study = Study.from_yaml(folder / "s.yaml")
    assert study.conditions == {
        "baseline": {"n": 0, "m": 0},
        "true": {"n": 1000, "m": 0},
        "~": {"n": 0, "m": 16},
    }
    (folder / "u.yaml").write_text("experiment: odd.py:odd\nbaseline: {n: [0x_, 1_, 1_0, 0xF_F]}\n")
    assert Study.from_yaml(folder / "u.yaml").baseline == {"n": ["0x_", "1_", 10, 255]}
    for text in ("workers: two", "workers: -2"):
        (folder / "t.yaml").write_text(f"experiment: odd.py:odd\n{text}\n")
        with pytest.raises(InvalidStudy, match="line 2: workers must be a number"):
            Study.from_yaml(folder / "t.yaml")
    study.experiment()
    made = CliRunner().invoke(main, ["study", "new", "n.yaml", "--experiment", "odd.py:odd"])
    assert made.exit_code == 0, made.output
    assert [h.text for h in Study.from_yaml("n.yaml").hypotheses] == [
        "new.val-loss < baseline.val-loss"
    ]


def test_texts_that_look_like_numbers_stay_texts(folder: Path) -> None:
    (folder / "odd.py").write_text(
        "from digital_experiments import experiment\n@experiment\ndef odd(n=0):\n    return n\n"
    )
    (folder / "s.yaml").write_text(
        "experiment: odd.py:odd\nname: 2026_11_22\nexecutor: null\nbaseline: {n: {1: a, '1': b}}\n"
    )
    study = Study.from_yaml(folder / "s.yaml")
    assert (study.name, study.executor) == ("2026_11_22", "serial")
    assert study.baseline == {"n": {1: "a", "1": "b"}}
    (folder / "deep.yaml").write_text("experiment: odd.py:odd\nbaseline: " + "[" * 5000)
    with pytest.raises(InvalidStudy, match=r"deep\.yaml"):
        Study.from_yaml(folder / "deep.yaml")
    plain = study.with_(baseline={"n": np.float64(0.5)})
    assert "n: 0.5" in plain.to_yaml()
    with pytest.raises(InvalidStudy, match="can't keep: cannot represent an object"):
        study.with_(baseline={"n": object()}).to_yaml()
