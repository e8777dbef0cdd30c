"""``import`` and ``export``: runs of other systems, and ours for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from digital_experiments.cli.common import home, name_of, one_store, store_argument
from digital_experiments.stores import DEFAULT_REGISTRY


@click.command("import")
@click.argument("place", type=click.Path(exists=True))
@click.option("--from", "source", metavar="SYSTEM", help="erm, mlflow or wandb; by default seen.")
@click.option("--root", metavar="FOLDER", help="The folder of stores; by default ./experiments.")
def import_(place: str, source: str | None, root: str | None) -> None:
    """Bring over the runs that another system recorded.

    PLACE is a registry of experiment-results-manager, a folder mlruns or an SQLite database of
    MLflow, or a folder of offline runs of W&B. What is there already stays as it is.

    \b
    digital-experiments import mlruns
    digital-experiments import mlflow.db --root brought
    """
    from digital_experiments.exchange import import_runs

    usual = home()
    into = usual if isinstance(usual, Path) else DEFAULT_REGISTRY
    found = import_runs(place, root or into, source)
    click.echo(repr(found))
    raise SystemExit(1 if found.problems else 0)


@click.command()
@store_argument
@click.option("--to", "form", required=True, metavar="FORMAT", help="csv, parquet, json or mlflow.")
@click.option("--output", "-o", metavar="FILE", help="By default named as the store.")
@click.option("--where", "-w", metavar="EXPR", help="Only these.")
def export(store: str | None, form: str, output: str | None, where: str | None) -> None:
    """Hand observations on: as a table, as JSON, or to MLflow.

    \b
    digital-experiments export train --to csv -o train.csv
    digital-experiments export train --to mlflow -o mlflow.db --where "result.loss < 1"
    """
    from digital_experiments.exchange import export as handed

    found = one_store(store)
    ending = {"mlflow": "db"}.get(form, form)
    target = output or f"{name_of(found)}.{ending}"
    click.echo(handed(found.observations(status=None, where=where), form, target))
