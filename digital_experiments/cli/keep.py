"""``check``, ``repair``, ``prune``, ``gc``, ``delete``, ``restore``, ``purge``, ``merge``."""

from __future__ import annotations

import json

import click

from digital_experiments.cli.common import (
    find_all,
    id_argument,
    one_store,
    size_text,
    store_argument,
    store_option,
    stores,
)
from digital_experiments.errors import ObservationNotFound
from digital_experiments.ids import check_id
from digital_experiments.stored import StoredExperiment

_DRY_RUN = click.option("--dry-run", "-n", is_flag=True, help="Only say what would be removed.")
_YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.command()
@store_argument
@click.option("--json", "as_json", is_flag=True, help="What was found as JSON.")
@click.pass_context
def check(context: click.Context, store: str | None, as_json: bool) -> None:
    """Compare every record, blob and note with its checksum. Exits with 1 if any is damaged.

    \b
    digital-experiments check
    digital-experiments check runs/train && rsync -a runs/train backup:
    """
    found = [one.check() for one in stores(store)]
    if as_json:
        listed = [
            {
                "store": f.root, "ok": f.ok,
                "records": f.records, "blobs": f.blobs, "notes": f.notes,
                "damages": [d._asdict() for d in f.damages],
                "notices": [d._asdict() for d in f.notices],
            }
            for f in found
        ]  # fmt: skip
        click.echo(json.dumps(listed, indent=2))
    else:
        click.echo("\n".join(map(repr, found)))
    context.exit(0 if all(found) else 1)


@click.command()
@store_argument
def repair(store: str | None) -> None:
    """Set what is damaged aside, and say what is lost. All that is healthy stays.

    \b
    digital-experiments repair train
    digital-experiments merge train backup/train    (gives back what a healthy copy has)
    """
    for one in stores(store):
        click.echo(repr(one.repair()))


@click.command()
@store_argument
@click.option("--keep", type=click.IntRange(0), metavar="N", help="Keep all files of the newest N.")
@click.option("--older-than", metavar="TIME", help="Only of runs from before: 30d, 2026-01-01.")
@click.option("--bigger-than", metavar="SIZE", help='Only files above: 1000, "10 MB".')
@_DRY_RUN
@_YES
def prune(
    store: str | None,
    keep: int | None,
    older_than: str | None,
    bigger_than: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Remove files that runs left. The records stay.

    \b
    digital-experiments prune train --keep 10 --dry-run
    digital-experiments prune train --older-than 30d --bigger-than "10 MB"
    """
    if keep is None and older_than is None and bigger_than is None:
        raise click.UsageError("Give a condition: --keep, --older-than or --bigger-than.")
    for one in stores(store):
        would = one.prune(keep, older_than, bigger_than, dry_run=True)
        for id, path, size in would.files:
            click.echo(f"{id}/{path}  {size_text(size)}")
        what = f"{len(would.files):,} files, {size_text(would.bytes)}, of {one.uri}"
        if dry_run or not would.files:
            click.echo(f"{what} {'would be removed' if would.files else 'to remove'}")
        elif yes or click.confirm(f"Remove {what}?"):
            done = one.prune(keep, older_than, bigger_than)
            click.echo(f"{len(done.files):,} files, {size_text(done.bytes)}, removed")


@click.command()
@store_argument
@_DRY_RUN
def gc(store: str | None, dry_run: bool) -> None:
    """Remove the blobs that no observation refers to; others may go on recording.

    \b
    digital-experiments gc --dry-run
    """
    for one in stores(store):
        done = one.gc(dry_run)
        if done.postponed:
            click.echo(f"{one.uri}: a record is being written for long; try again later")
            continue
        how = "would be removed" if dry_run else "removed"
        click.echo(f"{one.uri}: {len(done.blobs):,} blobs, {size_text(done.bytes)}, {how}")


@click.command()
@id_argument(nargs=-1, required=True)
@store_option
def delete(id: tuple[str, ...], store: str | None) -> None:
    """Move observations to their store's trash.

    \b
    digital-experiments delete k3f9xq 8vd02m
    """
    for one, ids in find_all(id, store).items():
        for gone in one.delete(ids):
            click.echo(f"{gone} is in the trash of {one.uri}")


@click.command()
@click.argument("id", nargs=-1, required=True)
@store_option
def restore(id: tuple[str, ...], store: str | None) -> None:
    """Move observations back from the trash.

    \b
    digital-experiments restore k3f9xq
    """
    for one, ids in _in_trash(id, store).items():
        for back in one.restore(ids):
            click.echo(f"{back} is back in {one.uri}")


@click.command()
@click.argument("id", nargs=-1)
@store_option
@_YES
def purge(id: tuple[str, ...], store: str | None, yes: bool) -> None:
    """Remove deleted observations for good; without an ID, all that are in the trash.

    \b
    digital-experiments purge
    digital-experiments purge k3f9xq --yes
    """
    wanted = _in_trash(id, store) if id else {one: one.trash() for one in stores(store)}
    count = sum(map(len, wanted.values()))
    if count and not yes:
        click.confirm(f"Remove {count:,} observations for good?", abort=True)
    for one, ids in wanted.items():
        one.purge(ids)
    click.echo(f"{count:,} observations removed for good")


def _in_trash(ids: tuple[str, ...], named: str | None) -> dict[StoredExperiment, list[str]]:
    """The stores and the whole ids of deleted observations."""
    wanted: dict[StoredExperiment, list[str]] = {}
    all_trash = [(one, whole) for one in stores(named) for whole in one.trash()]
    for id in map(check_id, ids):
        found = [(one, w) for one, w in all_trash if w.startswith(id) or w.endswith(id)]
        if len(found) != 1:
            many = ", ".join(w for _, w in found[:5])
            told = f"{id!r} could be any of {many}." if found else f"{id!r} is not in the trash."
            raise ObservationNotFound(told)
        wanted.setdefault(found[0][0], []).append(found[0][1])
    return wanted


@click.command()
@click.argument("store")
@click.argument("other")
def merge(store: str, other: str) -> None:
    """Copy what the store OTHER holds into STORE. Doing it twice changes nothing.

    \b
    digital-experiments merge train /mnt/cluster/experiments/train
    """
    done = one_store(store).merge(other)
    click.echo(
        f"{len(done.added):,} observations added, {done.known:,} known, {done.notes:,} notes"
    )
    for what, ids in (("deleted here, left out", done.deleted), ("conflicts", done.conflicts)):
        if ids:
            click.echo(f"{len(ids):,} {what}: {', '.join(ids[:5])}{'...' if len(ids) > 5 else ''}")
    for problem in done.problems:
        click.echo(f"not copied: {problem}", err=True)
    if done.conflicts or done.problems:
        raise click.exceptions.Exit(1)
