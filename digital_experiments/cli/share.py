"""``push``, ``pull`` and ``sync``: what a team shares on a bucket."""

from __future__ import annotations

import click

from digital_experiments.cli.common import store_argument, stores
from digital_experiments.stores import DEFAULT_REGISTRY


@click.command()
@store_argument
@click.option("--to", "registry", required=True, metavar="URI", help="The registry to push to.")
@click.option("--where", "-w", metavar="EXPR", help="Only these.")
@click.option("--variant", metavar="NAME", help="The variant that they belong to.")
@click.option("--overwrite", is_flag=True, help="Replace what is something else there.")
def push(
    store: str | None, registry: str, where: str | None, variant: str | None, overwrite: bool
) -> None:
    """Copy observations into a registry. Pushing again changes nothing.

    \b
    digital-experiments push train --to s3://team/experiments
    digital-experiments push train --to /mnt/team --where "result.loss < 1" --variant good
    """
    from digital_experiments.registry import Registry

    team = Registry(registry)
    for one in stores(store):
        what = one if where is None else one.observations(status=None, where=where)
        click.echo(team.push(what, variant, overwrite))


@click.command()
@click.argument("registry")
@click.argument("experiment", required=False)
@click.option("--variant", metavar="NAME", help="Only this variant.")
@click.option("--into", metavar="FOLDER", help="The folder of stores; by default ./experiments.")
@click.option("--trust", is_flag=True, help="Let pickled values in them be loaded without asking.")
def pull(
    registry: str, experiment: str | None, variant: str | None, into: str | None, trust: bool
) -> None:
    """Copy observations from a registry. Pulling again changes nothing.

    \b
    digital-experiments pull s3://team/experiments
    digital-experiments pull s3://team/experiments train --variant good
    """
    from digital_experiments.registry import Registry

    done = Registry(registry).pull(experiment, variant, into or DEFAULT_REGISTRY, trust=trust)
    click.echo(f"{len(done.added):,} observations added, {done.known:,} known")
    for problem in (*(f"conflict: {id}" for id in done.conflicts), *done.problems):
        click.echo(f"not copied: {problem}", err=True)
    if done.conflicts or done.problems:
        raise click.exceptions.Exit(1)


@click.command()
def sync() -> None:
    """Send what could not go up to its bucket when it was recorded.

    \b
    digital-experiments sync
    """
    from digital_experiments.remote.copies import working_copies

    copies = working_copies()
    failed = False
    for copy in copies:
        try:
            sent = copy.sync()
            click.echo(f"{copy.name}: {sent:,} sent" if sent else f"{copy.name}: nothing to send")
        except (OSError, ImportError) as problem:
            failed = True
            click.echo(f"{problem}", err=True)
    if not copies:
        click.echo("Nothing was recorded to a bucket from this machine.")
    if failed:
        raise click.exceptions.Exit(1)
