"""The demo: a small neural network learns to tell two spirals apart, at several settings."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from digital_experiments import Observation, current_dir, experiment, time_block
from digital_experiments.controllers import GridSearch
from digital_experiments.errors import RunsFailedWarning
from digital_experiments.observations import Observations

POINTS = 400
STEPS = 1500
LEARNING_RATES = [0.01, 0.3, 1.0, 30.0]
HIDDEN = [8, 32]

Array = np.ndarray[Any, np.dtype[np.float64]]


def two_spirals(seed: int, noise: float = 0.3) -> tuple[Array, Array]:
    """Draw points on two interleaved spirals.

    Returns
    -------
    features : array of shape (POINTS, 2)
    labels : array of shape (POINTS,)
        0.0 or 1.0: which spiral a point is on.
    """
    rng = np.random.default_rng(seed)
    angle = np.sqrt(rng.uniform(0.05, 1, POINTS)) * 3 * np.pi / 1.5
    labels = np.arange(POINTS) % 2
    turned = angle + np.pi * labels
    features = np.stack([angle * np.cos(turned), angle * np.sin(turned)], axis=1) / 3
    return features + rng.normal(0, noise, features.shape), labels.astype(float)


def forward(weights: list[Array], features: Array) -> tuple[Array, Array]:
    """The hidden layer's values, and the probability of the second spiral."""
    hidden = np.tanh(features @ weights[0] + weights[1])
    logits: Array = (hidden @ weights[2] + weights[3])[:, 0]
    return hidden, 1 / (1 + np.exp(-logits))


def gradients(weights: list[Array], features: Array, labels: Array) -> tuple[float, list[Array]]:
    """The mean cross-entropy, and how it changes with each weight."""
    hidden, chance = forward(weights, features)
    loss = -np.mean(np.log(np.where(labels == 1, chance, 1 - chance)))
    error = ((chance - labels) / len(labels))[:, None]
    back = error @ weights[2].T * (1 - hidden**2)
    return float(loss), [features.T @ back, back.sum(0), hidden.T @ error, error.sum(0)]


def train(lr: float, hidden: int = 8, seed: int = 0) -> dict[str, float]:
    """Fit a network with one hidden layer by gradient descent; test it on fresh points."""
    with time_block("data"):
        features, labels = two_spirals(seed)
    rng = np.random.default_rng(seed)
    weights = [
        rng.normal(0, 1, (2, hidden)),
        rng.normal(0, 1, hidden),
        rng.normal(0, 1 / np.sqrt(hidden), (hidden, 1)),
        np.zeros(1),
    ]
    with time_block("train"), np.errstate(all="ignore"):
        for step in range(STEPS):
            loss, slopes = gradients(weights, features, labels)
            if not np.isfinite(loss):
                raise FloatingPointError(f"the loss diverged at step {step}: lr={lr} is too large")
            weights = [w - lr * slope for w, slope in zip(weights, slopes, strict=True)]
    np.savez(current_dir() / "weights.npz", *weights)
    fresh, truth = two_spirals(seed + 1)
    return {"accuracy": float(np.mean((forward(weights, fresh)[1] > 0.5) == truth)), "loss": loss}


def run_demo(root: str | None) -> None:
    """Sweep :func:`train` and show the table, the failure, the best run and where all lies."""
    console = Console()
    folder = Path(root) if root else Path(tempfile.mkdtemp(prefix="digital-experiments-demo-"))
    recorded = experiment(root=folder / "train")(train)
    console.print(
        f"A network learns to tell two spirals apart: {len(LEARNING_RATES)} learning rates x "
        f"{len(HIDDEN)} sizes; a rate of {LEARNING_RATES[-1]:g} is too large, on purpose.\n"
    )
    with console.status("training"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsFailedWarning)
        GridSearch(lr=LEARNING_RATES, hidden=HIDDEN).control(recorded)
    console.print(_table(recorded.observations(status=None)))
    for failure in recorded.observations(status="failed"):
        console.print(f"[red]failed[/] with {failure.config['hidden']} hidden: {_message(failure)}")
    _print_best(console, recorded.observations(), folder)


def _message(failure: Observation) -> str:
    return escape((failure.error or {}).get("message", ""))


def _table(observations: Observations) -> Table:
    table = Table(title="train.observations(status=None)", title_justify="left")
    for column in ("id", "lr", "hidden", "status", "accuracy", "loss", "seconds"):
        table.add_column(column, justify="left" if column in ("id", "status") else "right")
    for o in observations:
        result = o.result or {}
        table.add_row(
            o.id,
            f"{o.config['lr']:g}",
            str(o.config["hidden"]),
            o.status if o.status == "completed" else f"[red]{o.status}[/]",
            f"{result['accuracy']:.3f}" if result else "",
            f"{result['loss']:.3f}" if result else "",
            f"{o.duration:.2f}",
        )
    return table


def _print_best(console: Console, observations: Observations, folder: Path) -> None:
    best = observations.best("result.accuracy")
    console.print(
        f"\nbest: accuracy [bold]{best.result['accuracy']:.3f}[/] with lr={best.config['lr']:g}, "
        f"hidden={best.config['hidden']}; its weights are {best.artefacts()[0].name} in its folder"
    )
    git = best.metadata["environment"].get("git")
    packages = len(best.metadata["environment"]["pip_freeze"].splitlines())
    commit = f", git commit {str(git['commit'])[:10]}" if git else ""
    console.print(f"recorded with each run: its code, {packages} packages{commit}, timing, config")
    console.print("all of it lies in", style="dim", end=" ")
    console.print(str(folder / "train"), soft_wrap=True, highlight=False)
    console.print("look again, from any Python:", style="dim")
    console.print(
        f"  from digital_experiments import experiment; from digital_experiments.cli.demo import "
        f"train\n  experiment(root={str(folder / 'train')!r})(train).to_dataframe()",
        soft_wrap=True,
        highlight=False,
    )
