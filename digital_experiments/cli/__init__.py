"""The shell's commands. Thin: they start what the package does and show what it says."""

from __future__ import annotations

import click

import digital_experiments


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(digital_experiments.__version__, prog_name="digital-experiments")
def main() -> None:
    """Record every call of a function, and find its results again.

    Try `digital-experiments demo`.
    """


@main.command()
@click.option(
    "--root",
    type=click.Path(file_okay=False),
    help="The folder to record into; by default a new one in the temporary folder.",
)
def demo(root: str | None) -> None:
    """Train a small model, sweep it, let one run fail, and show what was recorded."""
    from digital_experiments.cli.demo import run_demo

    run_demo(root)
