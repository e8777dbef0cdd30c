"""A run without a function: around code that is not yours, or in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from digital_experiments.backends import Backend, backend_class
from digital_experiments.callbacks import Callback, GitInfo, PipFreeze, SystemInfo, Timing
from digital_experiments.callbacks.git import folder_of
from digital_experiments.config import freeze
from digital_experiments.digest import short_hash
from digital_experiments.ids import check_name
from digital_experiments.observation import Observation
from digital_experiments.options import (
    checked_callbacks,
    checked_root,
    listens,
    make_backend,
)
from digital_experiments.recorder import Recorder
from digital_experiments.remote import Root
from digital_experiments.run import Run
from digital_experiments.selection import checked_tags
from digital_experiments.source import module_text


def start_run(
    name: str,
    variant: str | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    root: Root | None = None,
    backend: str | type[Backend] = "pickle",
    callbacks: Sequence[Callback] | None = None,
    tags: Sequence[str] = (),
    strict: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Run:
    """A run around a block of code, recorded as a call of a decorated function is.

    Parameters
    ----------
    name : str
        The name of the experiment.
    variant : str, optional
        Which variant of it this is; ``metadata["variant"]``.
    params : dict, optional
        The config of the run.
    root, backend, callbacks, tags, strict, storage_options
        As for :func:`experiment`.

    Returns
    -------
    Run
        To be used as ``with start_run(...) as run:``. An exception in the block records the
        run as failed, and goes on. Set ``run.result``; after the block ``run.observation`` is
        the record. The code that is recorded is the notebook cell or the file of the caller.

    Raises
    ------
    InvalidName, RootError, UnknownBackend, TypeError, ValueError
        For an argument that is wrong, at once.

    Examples
    --------
    >>> from digital_experiments import start_run
    >>> with start_run("fit", variant="main", params={"objective": "rmse"}) as run:
    ...     run.log_metric("rmse", 0.9)
    ...     run.result = 0.9
    >>> run.observation.config, run.observation.result
    ({'objective': 'rmse'}, 0.9)
    """
    check_name(name, "the name of an experiment")
    facts = {"fingerprint": ""}
    if variant is not None:
        facts["variant"] = check_name(variant, "the name of a variant")
    params = {} if params is None else params
    if not isinstance(params, Mapping) or not all(isinstance(key, str) for key in params):
        raise TypeError(f"params must be a dict of names and values, not {params!r}.")
    code = _CallingCode(sys._getframe(1))
    facts["fingerprint"] = short_hash(code.text.encode(errors="surrogatepass"))
    listeners = [code, code.git(), PipFreeze(), SystemInfo(), *checked_callbacks(callbacks or ())]
    kind = backend_class(backend)
    recorder = Recorder(
        name,
        make_backend(kind, checked_root(root, storage_options, kind), name),
        starters=[c for c in listeners if listens(c, "start")],
        enders=[*(c for c in listeners if listens(c, "end")), Timing()],
        tags=checked_tags(tags),
        strict=strict,
    )
    config, lost = dict(params), list[str]()
    return Run(recorder, config, freeze(config, lost, None), lost, facts)


class _CallingCode(Callback):
    """Records the text of the cell or the file that a frame runs."""

    def __init__(self, frame: FrameType) -> None:
        self.filename = frame.f_code.co_filename
        self.text = module_text(self.filename, frame.f_globals) or "# typed in: it has no source"

    def git(self) -> GitInfo:
        """Facts of the repository that the file belongs to."""
        facts = GitInfo()
        facts.folder = folder_of(self.filename)
        return facts

    def end(self, observation: Observation) -> None:
        """Add the code."""
        observation.metadata["code"] = self.text
