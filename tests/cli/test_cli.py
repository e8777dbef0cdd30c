"""The shell's commands, run as a user runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from digital_experiments import current_dir, experiment
from digital_experiments.cli import main

RUN = [sys.executable, "-c", "from digital_experiments.cli import main; main()"]


def test_the_demo_does_the_main_job_in_under_a_minute(folder: Path) -> None:
    start = time.perf_counter()
    seen = subprocess.run(
        [*RUN, "demo", "--root", "shown"], capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - start < 60
    assert seen.stdout.count("completed") == 6
    assert "diverged" in seen.stdout
    assert "best: accuracy" in seen.stdout
    assert "shown/train" in seen.stdout
    assert len(list((folder / "shown" / "train").glob("*.pkl"))) == 8


def test_help_and_version() -> None:
    assert "demo" in subprocess.run([*RUN, "--help"], capture_output=True, text=True).stdout
    assert "3.0.0" in subprocess.run([*RUN, "--version"], capture_output=True, text=True).stdout


@pytest.fixture
def store() -> Any:
    @experiment(root="experiments/train")
    def train(lr: float, seed: int = 0) -> Any:
        (current_dir() / "model.bin").write_bytes(bytes(2000))
        if lr > 1:
            raise ValueError("diverged\nbadly")
        return {"accuracy": 1 - lr, "[bold]name": "<b>"}

    for lr in (0.1, 0.2, 0.3):
        train(lr)
    with pytest.raises(ValueError, match="diverged"):
        train(3.0)
    return train


def run(*words: str, fails: int = 0, answer: str = "") -> str:
    """What a command says; on standard error where it fails."""
    seen = CliRunner().invoke(main, words, input=answer)
    assert seen.exit_code == fails, seen.output
    return seen.stderr if fails == 2 else seen.stdout


def test_ls_without_a_store_lists_the_stores(store: Any) -> None:
    experiment(root="experiments/other")(lambda: 1)()
    assert [line.split()[:2] for line in run("ls").splitlines()[1:]] == [
        *(["other", "1"], ["train", "3"])
    ]
    assert [entry["failed"] for entry in json.loads(run("ls", "--json"))] == [0, 1]


def test_ls_lists_selects_sorts_and_limits(store: Any) -> None:
    table = run("ls", "train")
    assert "✗ failed" in table
    assert "4 shown of 4" in table
    assert "the same in all: config.seed = 0" in table
    rows = json.loads(run("ls", "train", "--json", "--where", "config.lr < 0.25"))
    assert [row["config.lr"] for row in rows] == [0.2, 0.1]
    assert rows[0]["id"] == store.observations()[1].id
    rows = json.loads(run("ls", "train", "--json", "--sort", "-result.accuracy", "-n", "2"))
    assert [row["config.lr"] for row in rows] == [0.1, 0.2]
    rows = json.loads(run("ls", "train", "--json", "--status", "failed"))
    assert [row["status"] for row in rows] == ["failed"]
    csv = run("ls", "train", "--csv", "--columns", "config.lr,status", "--sort", "config.lr")
    assert csv.splitlines() == [
        *("config.lr,status", "0.1,completed", "0.2,completed", "0.3,completed", "3.0,failed")
    ]


def test_ls_looks_through_all_stores(store: Any) -> None:
    @experiment(root="experiments/other")
    def other(lr: float, depth: int = 1) -> None:
        if depth > 1:
            raise ValueError("too deep")

    other(0.15)
    with pytest.raises(ValueError, match="too deep"):
        other(0.5, depth=2)
    failed = json.loads(run("ls", "--status", "failed", "--json"))
    assert [(row["store"], row["config.lr"]) for row in failed] == [("other", 0.5), ("train", 3)]
    rows = json.loads(run("ls", "--where", "config.lr < 0.25", "--sort", "config.lr", "--json"))
    assert [row["config.lr"] for row in rows] == [0.1, 0.15, 0.2]
    assert rows[0]["config.seed"] == 0
    assert rows[0]["config.depth"] is None
    rows = json.loads(run("ls", "--where", "config.depth == 2", "--json"))  # train has no depth
    assert [row["store"] for row in rows] == ["other"]
    few = run("ls", "--csv", "--columns", "config.lr", "--sort", "-config.lr", "-n", "2")
    assert few.splitlines() == ["store,config.lr", "train,3.0", "other,0.5"]
    assert "2 shown of 6 in 2 stores in" in run("ls", "--status", "failed")
    assert "There is no column 'config.width'" in run("ls", "-w", "config.width < 1", fails=2)


def test_an_experiment_may_be_named_as_folders_of_a_store_are(store: Any) -> None:
    for name in ("storage", "running", "blobs"):
        experiment(root=f"experiments/{name}")(lambda: 1)()
    assert [entry["store"] for entry in json.loads(run("ls", "--json"))] == [
        *("blobs", "running", "storage", "train")
    ]


@pytest.mark.parametrize("wide", [40, 80, 200])
def test_a_table_fits_the_terminal(store: Any, wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(wide))
    table = run("ls", "train").splitlines()
    assert all(len(line) <= wide for line in table[:5])
    assert store.observations()[0].id[-6:] in table[4]


def test_show_best_and_tag_take_a_part_of_an_id(store: Any) -> None:
    failed = store.observations(status="failed")[0]
    shown = run("show", failed.id[-6:])
    assert "diverged" in shown
    assert "badly" in shown
    assert "model.bin  2.0 kB" in shown
    assert "def train" in run("show", failed.id, "--code")
    assert json.loads(run("show", failed.id, "--json"))["config"] == {"lr": 3.0, "seed": 0}
    assert re.search(r"config.lr +0\.1", run("best", "train", "--by", "result.accuracy"))
    best = json.loads(run("best", "train", "--by", "result.accuracy", "--min", "--json"))
    assert best == {"id": store.observations()[2].id, "result.accuracy": 0.7}
    run("tag", failed.id[-6:], "odd", "--note", "look again")
    assert store.load(failed.id).tags == ["odd"]
    assert "look again" in run("ls", "train", "--tag", "odd")
    run("tag", failed.id[-6:], "--remove", "odd")
    assert store.load(failed.id).tags == []


def test_what_can_not_be_done_is_told_in_a_line(store: Any, folder: Path) -> None:
    assert "Did you mean 'config.lr'" in run("ls", "train", "-w", "config.lrr < 1", fails=2)
    assert "There is no store at 'nowhere'" in run("ls", "nowhere", fails=2)
    assert "No observation 'zzzzzz'" in run("show", "zzzzzz", fails=2)
    assert "give more of the id" in run("show", store.observations()[0].id[:4], fails=2)
    assert "no column 'config.nothing'" in run("best", "train", "--by", "config.nothing", fails=2)
    assert "no column 'nothing'" in run("ls", "train", "--sort", "nothing", fails=2)
    assert "Give a condition" in run("prune", "train", fails=2)
    (folder / "empty").mkdir()
    words = [*RUN, "ls"]
    seen = subprocess.run(words, capture_output=True, text=True, cwd=folder / "empty")
    assert "Nothing was recorded" in seen.stderr


def test_check_and_repair_tell_of_damage(store: Any, folder: Path) -> None:
    assert "4 records" in run("check")
    path = sorted((folder / "experiments" / "train").glob("*.pkl"))[0]
    path.write_bytes(path.read_bytes()[:-1])
    assert path.name in run("check", fails=1)
    found = json.loads(run("check", "train", "--json", fails=1))
    assert found[0]["damages"][0]["kind"] == "record"
    assert "set aside" in run("repair", "train")
    assert "3 records" in run("check", "train")
    assert (folder / "experiments/train/damaged" / path.name).exists()


def test_deleting_restoring_and_purging(store: Any) -> None:
    first, second, third = (o.id for o in store.observations())
    assert "in the trash" in run("delete", first[-6:], second)
    assert json.loads(run("ls", "train", "--json", "--status", "completed"))[0]["id"] == third
    assert "is back in" in run("restore", second[-6:])
    assert "1 observations removed" in run("purge", answer="y\n")
    run("delete", second)
    run("purge", fails=1, answer="n\n")
    assert "1 observations removed" in run("purge", second[-6:], "--yes")
    assert "is not in the trash" in run("restore", second, fails=2)
    assert [o.id for o in store.observations()] == [third]


def test_pruning_collecting_and_merging(store: Any, folder: Path) -> None:
    would = run("prune", "train", "--keep", "1", "--dry-run")
    assert "3 files, 6.0 kB" in would
    assert "3 files, 6.0 kB, removed" in run("prune", "train", "--keep", "1", "--yes")
    assert "0 blobs, 0 B, removed" in run("gc", "train")
    shutil.copytree("experiments/train", "copy")
    store(0.9)
    assert "1 observations added, 4 known" in run("merge", "copy", "experiments/train")
    assert "0 observations added, 5 known" in run("merge", "copy", "experiments/train")


def test_shells_complete_commands_and_stores(store: Any) -> None:
    code = "from digital_experiments.cli import main; main(prog_name='digital-experiments')"
    words = [sys.executable, "-c", code]
    script = subprocess.run([*words, "completion", "zsh"], capture_output=True, text=True)
    assert "_DIGITAL_EXPERIMENTS_COMPLETE=zsh_complete" in script.stdout
    environment = {
        **os.environ,
        "COMP_WORDS": "digital-experiments ls t",
        "COMP_CWORD": "2",
        "_DIGITAL_EXPERIMENTS_COMPLETE": "bash_complete",
    }
    seen = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert seen.stdout.strip() == "plain,train"


def test_help_gives_examples() -> None:
    commands = ["ls", "show", "best", "tag", "check", "repair", "prune", "gc", "delete", "merge"]
    for command in commands:
        assert f"digital-experiments {command}" in run(command, "--help")


def test_purge_of_nothing_named_removes_nothing(store: Any) -> None:
    (deleted,) = store.delete(store.observations()[0])
    for command in ("purge", "restore"):
        assert "it is empty" in run(command, "", *(["-y"] if command == "purge" else []), fails=2)
        assert "is not in the trash" in run(command, "zzzz", fails=2)
    assert store.trash() == [deleted]


def test_stores_are_listed_for_programs_too(store: Any) -> None:
    header, row = run("ls", "--csv").splitlines()
    assert header.startswith("store,path,completed")
    assert row.startswith("train,")


def test_no_columns_are_told(store: Any) -> None:
    for nothing in ("", " , "):
        assert "expected names with commas" in run("ls", "train", "--columns", nothing, fails=2)


def test_a_terminal_of_no_width_is_one_of_some(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    assert "train" in run("ls")


def test_diverged_runs_are_sorted_last(store: Any) -> None:
    for name, values in (("a", [0.9, 0.1, float("nan"), 0.5]), ("b", [0.8, float("nan"), 0.2])):
        recorded = experiment(root=f"experiments/{name}")(lambda acc: {"acc": acc})
        for value in values:
            recorded(value)
    wanted = [0.9, 0.8, 0.5, 0.2, 0.1]
    for sort, order in (("-result.acc", wanted), ("result.acc", wanted[::-1])):
        listed = json.loads(run("ls", "--sort", sort, "--columns", "result.acc", "--json"))
        assert [row["result.acc"] for row in listed][:5] == order
    best = json.loads(run("ls", "--sort", "-result.acc", "--limit", "2", "--json"))
    assert [row["result.acc"] for row in best] == [0.9, 0.8]
