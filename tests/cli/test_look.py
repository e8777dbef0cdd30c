"""Runs beside each other, and runs that live, from a shell."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from digital_experiments import experiment, log_metric, open_experiment
from digital_experiments.cli import main


@pytest.fixture
def fit() -> Any:
    @experiment(root="experiments/fit")
    def fit(lr: float) -> float:
        for step in range(40):
            log_metric("train/loss", lr / (step + 1))
        return lr

    fit(0.1)
    fit(0.2)
    return fit


def run(*words: str, code: int = 0) -> str:
    seen = CliRunner().invoke(main, words)
    assert seen.exit_code == code, seen.output
    return seen.output


def test_show_draws_series(fit: Any) -> None:
    shown = run("show", fit.observations()[0].id[-6:])
    assert "train/loss" in shown
    assert "█" in shown
    assert "metrics.jsonl" in shown


def test_compare_writes_a_page(fit: Any, folder: Path) -> None:
    ids = [o.id[-6:] for o in fit.observations()]
    assert run("compare", *ids).strip() == str(folder / "report.html")
    run("compare", ids[0], "-o", "new/one.html", "--title", "just one")
    assert "<title>just one</title>" in (folder / "new" / "one.html").read_text()
    assert "is a folder: name a file" in run("compare", ids[0], "-o", str(folder), code=2)
    run("compare", "zzzzzz", code=2)
    run("compare", code=2)


def test_diff_tells_and_exits_with_1_where_there_is_something_to_tell(fit: Any) -> None:
    one, other = (o.id[-6:] for o in fit.observations())
    assert "0.1 → 0.2" in run("diff", one, other, code=1)
    assert "the same config" in run("diff", one, one)


def test_the_first_run_of_a_new_place_is_seen_while_it_runs(folder: Path) -> None:
    script = folder / "first.py"
    script.write_text(
        "import time\n"
        "from digital_experiments import experiment\n"
        "@experiment(root='experiments/first')\n"
        "def first():\n"
        "    time.sleep(30)\n"
        "first()\n"
    )
    job = subprocess.Popen([sys.executable, script])
    try:
        end = time.time() + 20
        while not list(folder.glob("experiments/first/running/*")):
            assert time.time() < end
            time.sleep(0.2)
        assert "1 running" in run("watch", "--once")
        assert "first" in run("ls")
        (started,) = open_experiment("first").observations(status="running")
        assert "running" in run("show", started.id)
    finally:
        job.kill()
        job.wait()


def test_watch_shows_what_runs(fit: Any, folder: Path) -> None:
    assert "0 running, 0 lost" in run("watch", "fit", "--once")
    script = folder / "slow.py"
    script.write_text(
        "import time\n"
        "from digital_experiments import experiment, log_metric\n"
        "@experiment(root='experiments/slow')\n"
        "def slow(lr):\n"
        "    log_metric('loss', 0.25)\n"
        "    print('go', flush=True)\n"
        "    time.sleep(30)\n"
        "slow(0.5)\n"
    )
    job = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE)
    try:
        end = time.time() + 20
        while "1 running" not in run("watch", "--once"):
            assert time.time() < end
            time.sleep(0.2)
        seen = run("watch")
        assert "loss=0.25" in seen
        assert "{'lr': 0.5}" in seen
        assert "▸ running" in run("ls", "slow", "--status", "running")
        assert "▸ running" in run("ls", "--status", "running")
    finally:
        job.kill()
        job.communicate()
    assert "0 running, 1 lost" in run("watch", "slow", "--once")
