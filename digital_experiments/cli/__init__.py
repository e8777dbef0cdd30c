"""The shell's commands. Thin: they start what the package does and show what it says."""

from __future__ import annotations

import click

import digital_experiments
from digital_experiments.cli.common import Commands
from digital_experiments.cli.exchange import export, import_
from digital_experiments.cli.find import best, ls, show, tag
from digital_experiments.cli.keep import check, delete, gc, merge, prune, purge, repair, restore
from digital_experiments.cli.look import compare, diff, sweep, watch
from digital_experiments.cli.share import pull, push, sync
from digital_experiments.cli.study import study


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(digital_experiments.__version__, prog_name="digital-experiments")
def main() -> None:
    """Record every call of a function, and find its results again.

    A STORE is a folder that an experiment records into, the URI of one on a bucket, or the name
    of an experiment in $DE_ROOT or ./experiments. An ID may be given by its start or by its last
    characters.

    \b
    digital-experiments demo
    digital-experiments ls
    digital-experiments ls train --where "config.lr < 0.1" --sort -result.accuracy
    digital-experiments show k3f9xq

    `dex` is a short name of this command.
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


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands, stores and ids.

    \b
    eval "$(digital-experiments completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    for name in ("digital-experiments", "dex"):
        variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
        click.echo(kind(main, {}, name, variable).source())


for command in (
    ls,
    show,
    best,
    tag,
    compare,
    diff,
    watch,
    sweep,
    study,
    import_,
    export,
    check,
    repair,
    prune,
    gc,
    delete,
    restore,
    purge,
    merge,
    push,
    pull,
    sync,
):
    main.add_command(command)
