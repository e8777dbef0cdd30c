"""``study``: plans over an experiment, run and reported from their files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from digital_experiments.cli.common import console

if TYPE_CHECKING:
    from digital_experiments.study import Outcome, Study

_FILE = click.argument("file", type=click.Path(dir_okay=False), metavar="STUDY.YAML")


@click.group()
def study() -> None:
    """Studies: treatments, replicates and hypotheses in a YAML file."""


@study.command()
@click.argument("file", type=click.Path(dir_okay=False), metavar="STUDY.YAML")
@click.option("--experiment", metavar="FILE:NAME", default="train.py:train", show_default=True)
def new(file: str, experiment: str) -> None:
    """Write a study to begin with.

    It is made for the experiment, if that is there: its first number is what the treatment
    changes.

    \b
    digital-experiments study new study.yaml --experiment train.py:train
    """
    from digital_experiments.files import save
    from digital_experiments.study.yaml import scaffold

    if Path(file).exists():
        raise click.ClickException(f"{file} is there already: give another name.")
    save(file, scaffold(experiment, Path(file).parent).encode())
    click.echo(f"{file}: change it, then: digital-experiments study run {file}")


@study.command()
@_FILE
@click.option("--resume", is_flag=True, help="Go on with the newest version.")
@click.option("--executor", metavar="NAME", help="In place of the file's: process, thread, ...")
@click.option("--workers", type=int, metavar="N", help="How many at once.")
@click.option("--replicates", type=int, metavar="N", help="In place of the file's.")
@click.option("--report", "page", metavar="FILE", help="Write a page, such as report.html.")
def run(
    file: str,
    resume: bool,
    executor: str | None,
    workers: int | None,
    replicates: int | None,
    page: str | None,
) -> None:
    """Run every replicate of every condition, and show what it proves.

    Exits with 1 if a run failed.

    \b
    digital-experiments study run study.yaml
    digital-experiments study run study.yaml --resume --replicates 50 --executor process
    """
    strategy = "resume" if resume else "rerun"
    outcome = _read(file).run(
        strategy=strategy, executor=executor, workers=workers, replicates=replicates
    )
    _show(outcome, page)
    raise SystemExit(1 if outcome.errors else 0)


@study.command()
@_FILE
def status(file: str) -> None:
    """Show the versions of a study, and how far the newest is.

    \b
    digital-experiments study status study.yaml
    """
    from rich.table import Table

    asked = _read(file)
    versions = asked.versions()
    if not versions:
        click.echo(f"Study {asked.name} has not been run yet.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("version", "made (UTC)", "kind", "treatments", "replicates", "runs"):
        table.add_column(head)
    for version in versions:
        done, size = asked.progress(version.number)
        runs = f"{done} of {size}" + ("" if version.complete else ", not complete")
        when = version.made[:16].replace("T", " ")
        cells = (version.kind, ", ".join(version.treatments), str(version.replicates), runs)
        table.add_row(f"v{version.number}", when, *cells)
    console().print(table)


@study.command()
@_FILE
@click.option("--version", type=int, metavar="N", help="By default the newest.")
@click.option("--output", "-o", "page", metavar="FILE", help="Write a page, such as report.html.")
def report(file: str, version: int | None, page: str | None) -> None:
    """Show what came of a study.

    \b
    digital-experiments study report study.yaml
    digital-experiments study report study.yaml --version 2 -o report.html
    """
    _show(_read(file).load(version), page)


def _read(file: str) -> Study:
    from digital_experiments.study import Study

    if not os.path.isfile(file):
        raise click.UsageError(f"There is no file {file!r}: it is to be the YAML file of a study.")
    return Study.from_yaml(file)


def _show(outcome: Outcome, page: str | None) -> None:
    out: Any = console()
    out.print(outcome.report(page), soft_wrap=True, markup=False, highlight=False)
    if page is not None:
        click.echo(page)
