"""``ls``, ``show``, ``best``, ``tag``: what was recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from digital_experiments.cli.common import (
    console,
    find,
    id_argument,
    name_of,
    one_store,
    store_argument,
    store_option,
    stores,
)
from digital_experiments.cli.tables import (
    SHOWN,
    local_time,
    print_observation,
    print_table,
)
from digital_experiments.errors import ObservationNotFound, UnknownColumn
from digital_experiments.selection import STATUSES, select
from digital_experiments.stored import StoredExperiment
from digital_experiments.views import for_json

Table = dict[str, list[Any]]
_ALWAYS = ("completed", "failed")
Order = tuple[str, bool] | None


@click.command()
@store_argument
@click.option("--where", "-w", metavar="EXPR", help='Such as "config.lr < 0.1 and result > 0.9".')
@click.option("--columns", "-c", metavar="NAMES", help="Columns to show, joined by commas.")
@click.option("--status", type=click.Choice(STATUSES), multiple=True, help="By default all.")
@click.option("--tag", "tags", multiple=True, help="Only those with this tag.")
@click.option("--since", metavar="TIME", help="2026-11-21, 7d, 2h: not started before.")
@click.option("--until", metavar="TIME", help="Started before.")
@click.option("--sort", metavar="COLUMN", help="Smallest first; with a - before it largest first.")
@click.option("--limit", "-n", type=click.IntRange(0), help=f"How many; {SHOWN} in a table.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list with an object for each.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values.")
def ls(
    store: str | None,
    columns: str | None,
    sort: str | None,
    limit: int | None,
    as_json: bool,
    as_csv: bool,
    **chosen: Any,
) -> None:
    """List observations, the newest first; without a STORE, the stores there are.

    With something to look for but no STORE, all stores are looked through.

    \b
    digital-experiments ls
    digital-experiments ls train --where "result.accuracy > 0.9" --sort -result.accuracy
    digital-experiments ls train --status failed --since 7d
    digital-experiments ls --status running
    digital-experiments ls train --columns id,config.lr,result --csv > train.csv
    """
    found = stores(store)
    if (store is None or len(found) > 1) and not any([columns, sort, *chosen.values()]):
        _list_stores(found, as_json, as_csv)
        return
    names = _names_in(columns)
    cut = limit if limit is not None or as_json or as_csv else SHOWN
    order = (sort.removeprefix("-"), sort.startswith("-")) if sort else None
    if len(found) == 1:
        table = _table(found[0], names, order, cut, **chosen)
    else:
        table = _table_of_all(found, names, order, cut, chosen)
    if as_json:
        click.echo(json.dumps(_objects(table), indent=2, default=str))
    elif as_csv:
        _print_csv(table)
    else:
        print_table(table, found, names)


def _names_in(columns: str | None) -> list[str] | None:
    if columns is None:
        return None
    names = [name.strip() for name in columns.split(",") if name.strip()]
    if not names:
        raise click.BadParameter("expected names with commas between.", param_hint="--columns")
    return names


def _table(
    store: StoredExperiment,
    names: list[str] | None,
    order: Order,
    limit: int | None,
    status: Sequence[str],
    **chosen: Any,
) -> Table:
    from digital_experiments.store.query import Query, as_lists

    selection = select(
        status or None, limit=limit, newest_first=True, order=order, experiment=store.name, **chosen
    )
    lead = ["status", "start", "duration", "tags", "note"]
    return as_lists(Query(store.backend.index, selection, lead).table(names))


def _table_of_all(
    found: Sequence[StoredExperiment],
    names: list[str] | None,
    order: Order,
    limit: int | None,
    chosen: dict[str, Any],
) -> Table:
    """What several stores hold, in one table; those without such columns hold nothing of it."""
    key, descending = order or ("id", True)
    asked = names and list(dict.fromkeys([*names, "id", key]))
    rows: list[dict[str, Any]] = []
    problems = []
    for store in found:
        try:
            table = _table(store, asked, order, limit, **chosen)
        except UnknownColumn as problem:
            problems.append(problem)
            continue
        rows += [{"store": name_of(store), **row} for row in _rows(table)]
    if len(problems) == len(found):
        raise problems[0]
    rows = _sorted(rows, key, descending)[:limit]
    columns = ["store", *names] if names else list(dict.fromkeys(c for row in rows for c in row))
    return {name: [row.get(name) for row in rows] for name in columns}


def _sorted(rows: list[dict[str, Any]], key: str, descending: bool) -> list[dict[str, Any]]:
    """Rows by a column, numbers before texts; those without it, or with NaN, come last."""
    some = [row for row in rows if row.get(key) is not None and row[key] == row[key]]
    none = [row for row in rows if row.get(key) is None or row[key] != row[key]]
    some.sort(key=lambda row: _rank(row[key]), reverse=descending)
    return some + none


def _rank(value: Any) -> tuple[bool, Any]:
    number = isinstance(value, (int, float))
    return (not number, value if number else str(value))


def _rows(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def _objects(table: Table) -> list[dict[str, Any]]:
    return _rows({name: [for_json(v) for v in values] for name, values in table.items()})


def _print_csv(table: Table) -> None:
    import csv

    writer = csv.writer(sys.stdout)
    writer.writerow(table)
    for row in zip(*table.values(), strict=True):
        writer.writerow([" ".join(v) if isinstance(v, list) and _texts(v) else v for v in row])


def _texts(value: list[Any]) -> bool:
    return all(isinstance(item, str) for item in value)


def _list_stores(found: Sequence[StoredExperiment], as_json: bool, as_csv: bool) -> None:
    from rich.table import Table as Shown

    rows = []
    for store in found:
        last = store.observations(status=None, limit=1, newest_first=True)
        kinds = store.backend.index.kinds.values()
        counts = {s: sum(k.count for k in kinds if k.status == s) for s in STATUSES}
        start = last[0].facts.get("timing", {}) if last else {}
        latest = start.get("total", start).get("start") if isinstance(start, dict) else None
        rows.append((store, counts, latest))
    listed = [
        {"store": s.root.name, "path": str(s.root), **counts, "latest": latest}
        for s, counts, latest in rows
    ]
    if as_json:
        click.echo(json.dumps(listed, indent=2))
        return
    if as_csv:
        _print_csv({name: [row[name] for row in listed] for name in (listed[0] if listed else ())})
        return
    table = Shown(box=None, pad_edge=False, header_style="bold")
    seen = [s for s in STATUSES if s in _ALWAYS or any(counts[s] for _, counts, _ in rows)]
    for name in ("store", *seen, "latest run"):
        table.add_column(name, justify="left" if name in ("store", "latest run") else "right")
    for store, counts, latest in rows:
        counted = [f"{counts[status]:,}" if counts[status] else "" for status in seen]
        table.add_row(name_of(store), *counted, local_time(latest or ""))
    console().print(table)


@click.command()
@id_argument()
@store_option
@click.option("--code", is_flag=True, help="Show the function's source too.")
@click.option("--environment", is_flag=True, help="Show system, packages and git too.")
@click.option("--json", "as_json", is_flag=True, help="All that is plain data, as JSON.")
def show(id: str, store: str | None, code: bool, environment: bool, as_json: bool) -> None:
    """Show one observation: config, result, timing, files, and what went wrong.

    \b
    digital-experiments show k3f9xq
    digital-experiments show 2026-11-21_10-15 --code
    """
    where, whole = find(id, store)
    observation = where.load(whole)
    if as_json:
        parts = {part: for_json(observation.shown(part)) for part in ("config", "result")}
        metadata = for_json({k: v for k, v in observation.metadata.items() if k != "tags"})
        more = {"tags": observation.tags, "note": observation.note, "metadata": metadata}
        click.echo(json.dumps({"id": whole, **parts, **more}, indent=2, default=str))
        return
    print_observation(observation, code, environment)


@click.command()
@store_argument
@click.option("--by", default="result", metavar="COLUMN", help="By default `result`.")
@click.option("--min", "smallest", is_flag=True, help="The smallest is best.")
@click.option("--where", "-w", metavar="EXPR", help="Only among these.")
@click.option("--json", "as_json", is_flag=True, help="Id and value as JSON.")
def best(store: str | None, by: str, smallest: bool, where: str | None, as_json: bool) -> None:
    """Show the observation with the largest number in a column.

    \b
    digital-experiments best train --by result.accuracy
    digital-experiments best train --by result.loss --min
    """
    from digital_experiments.errors import did_you_mean
    from digital_experiments.store.query import Query, as_lists

    found = one_store(store)
    selection = select(where=where, order=(by, not smallest), experiment=found.name)
    table = as_lists(Query(found.backend.index, selection).table(["id", by]))
    pairs = zip(table["id"], table.get(by, []), strict=False)
    numbers = [(id, v) for id, v in pairs if isinstance(v, (int, float)) and v == v]
    if not numbers:
        if not table["id"]:
            raise ObservationNotFound(f"No observation of {name_of(found)} that completed matches.")
        known = [c for c in Query(found.backend.index, select()).table() if c != "id"]
        raise UnknownColumn(f"No numbers in column {by!r}. {did_you_mean(by, known)}")
    id, value = (min if smallest else max)(numbers, key=lambda pair: pair[1])
    if as_json:
        click.echo(json.dumps({"id": id, by: for_json(value)}))
    else:
        print_observation(found.load(id), code=False, environment=False)


@click.command()
@id_argument()
@click.argument("tags", nargs=-1)
@click.option("--remove", "-r", multiple=True, metavar="TAG", help="Take a tag away.")
@click.option("--note", metavar="TEXT", help="Note something; an empty text takes it away.")
@store_option
def tag(
    id: str, tags: tuple[str, ...], remove: tuple[str, ...], note: str | None, store: str | None
) -> None:
    """Give an observation tags, or note something on it.

    \b
    digital-experiments tag k3f9xq best paper --note "figure 3"
    digital-experiments tag k3f9xq --remove best
    """
    where, whole = find(id, store)
    if not (tags or remove or note is not None):
        raise click.UsageError("Name a tag, or give --remove or --note.")
    if remove:
        where.untag(whole, remove)
    found = where.annotate(whole, tags, note) if tags or note is not None else where.load(whole)
    click.echo(f"{whole}  {' '.join(found.tags)}{'  ' + found.note if found.note else ''}")
