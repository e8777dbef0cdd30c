"""``compare``, ``diff``, ``watch``: runs beside each other, and runs that live."""

from __future__ import annotations

import time
from pathlib import Path

import click

from digital_experiments.cli.common import console, find, store_argument, store_option, stores
from digital_experiments.cli.tables import in_flight_table, sweepers_table


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@store_option
@click.option(
    "--output", "-o", default="report.html", metavar="FILE", help="By default report.html."
)
@click.option("--title", metavar="TEXT", help="The title of the page.")
@click.option("--open", "opens", is_flag=True, help="Open it in the browser.")
def compare(
    ids: tuple[str, ...], store: str | None, output: str, title: str | None, opens: bool
) -> None:
    """Lay observations side by side, on a page that is one file.

    \b
    digital-experiments compare k3f9xq 8vd02m --open
    digital-experiments compare k3f9xq 8vd02m pl47rc -o three.html
    """
    from digital_experiments.reports import compare as laid

    observations = []
    for id in ids:
        where, whole = find(id, store)
        observations.append(where.load(whole))
    path = laid(observations, title=title).save(output)
    click.echo(path)
    if opens:
        click.launch(Path(path).as_uri())


@click.command()
@click.argument("one", metavar="ID")
@click.argument("other", metavar="ID")
@store_option
def diff(one: str, other: str, store: str | None) -> None:
    """Show what two observations differ in: config, result, code, packages, git.

    Exits with 1 if they differ.

    \b
    digital-experiments diff k3f9xq 8vd02m
    """
    from digital_experiments.reports import diff as difference

    (where, whole), (there, that) = find(one, store), find(other, store)
    found = difference(where.load(whole), there.load(that))
    console().print(found, soft_wrap=True)
    raise SystemExit(1 if found else 0)


@click.group()
def sweep() -> None:
    """Sweeps that are resumed on a store, by one process or several."""


@sweep.command()
@store_argument
def status(store: str | None) -> None:
    """Show who is at work on sweeps, what they have ended, and who has died.

    \b
    digital-experiments sweep status
    digital-experiments sweep status train
    """
    console().print(sweepers_table(stores(store)))


@click.command()
@store_argument
@click.option(
    "--every", default=2.0, show_default=True, metavar="SECONDS", help="How often to look."
)
@click.option("--once", is_flag=True, help="Look once, and end.")
def watch(store: str | None, every: float, once: bool) -> None:
    """Show the runs in flight, again and again, until Ctrl-C.

    A run is shown from its first second on; it is lost when its process is gone, or has not
    been heard of for a minute.

    \b
    digital-experiments watch
    digital-experiments watch train --every 10
    """
    from rich.live import Live

    out = console()
    if once or not out.is_terminal:
        out.print(in_flight_table(stores(store)))
        return
    with Live(in_flight_table(stores(store)), console=out, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(max(0.1, every))
                live.update(in_flight_table(stores(store)), refresh=True)
        except KeyboardInterrupt:
            return
