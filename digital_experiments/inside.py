"""What may be called inside a run: who it is, its folder, its parts, what it logs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from digital_experiments.run import current_run


def current_id() -> str:
    """The id of the current run.

    Raises
    ------
    NoActiveRun
        Outside of a run.

    Examples
    --------
    >>> from digital_experiments import current_id, experiment
    >>> @experiment
    ... def who():
    ...     return current_id()
    >>> who() == who.observations()[-1].id
    True
    """
    return current_run().id


def current_dir() -> Path:
    """The folder for the current run's files; what is put there are its artefacts.

    Raises
    ------
    NoActiveRun
        Outside of a run.

    Examples
    --------
    >>> from digital_experiments import current_dir, experiment
    >>> @experiment
    ... def write():
    ...     _ = (current_dir() / "answer.txt").write_text("42")
    >>> write()
    >>> [path.name for path in write.observations()[-1].artefacts()]
    ['answer.txt']
    """
    return current_run().dir


@contextmanager
def time_block(name: str) -> Iterator[None]:
    """Time a part of the current run, into ``metadata["timing"][name]``.

    Parameters
    ----------
    name : str
        The part's name. Blocks of one name add up, and ``count`` says how many there were.

    Raises
    ------
    NoActiveRun
        Outside of a run.
    ValueError
        If the name is ``total``, which is the whole run's.

    Examples
    --------
    >>> from digital_experiments import experiment, time_block
    >>> @experiment
    ... def work():
    ...     with time_block("load"):
    ...         pass
    >>> work()
    >>> sorted(work.observations()[-1].metadata["timing"])
    ['load', 'total']
    """
    with current_run().time_block(name):
        yield


def log_metric(key: str, value: Any, step: float | None = None) -> None:
    """Add a point to a series of numbers of the current run.

    Parameters
    ----------
    key : str
        The name of the series, such as ``loss`` or ``train/loss``.
    value : number
        Also one of NumPy's, Torch's and the like; NaN and infinities are kept.
    step : number, optional
        Where on the axis the point is; by default 0, 1, 2... for each series.

    Raises
    ------
    NoActiveRun
        Outside of a run.
    TypeError, InvalidName
        For what is no number, or no name.

    Notes
    -----
    Points are in the file ``metrics.jsonl`` of the run's folder after half a second, or at the
    end of the run. :meth:`Observation.metrics` reads them; ``metadata["metrics"]`` keeps of each
    series the ``last`` value, ``min``, ``max`` (both without NaN) and ``count``.

    Examples
    --------
    >>> from digital_experiments import experiment, log_metric
    >>> @experiment
    ... def fit():
    ...     for step in range(3):
    ...         log_metric("loss", 1 / (step + 1), step=step)
    >>> fit()
    >>> fit.observations()[-1].metadata["metrics"]["loss"]["min"]
    0.3333333333333333
    >>> fit.observations()[-1].metrics("loss")["step"].tolist()
    [0, 1, 2]
    """
    current_run().log_metric(key, value, step)


def log_metrics(metrics: Mapping[str, Any], step: float | None = None) -> None:
    """Add a point to each of several series of the current run.

    Parameters
    ----------
    metrics : dict
        Values by the names of their series.
    step : number, optional
        As for :func:`log_metric`.

    Raises
    ------
    NoActiveRun, TypeError, InvalidName
        As for :func:`log_metric`.
    """
    current_run().log_metrics(metrics, step)


def log_param(key: str, value: Any) -> None:
    """Note a setting of the current run that is none of its parameters.

    Parameters
    ----------
    key : str
        Its name; the last value of a name counts.
    value
        Anything; it stands in ``metadata["params"]``, see :attr:`Observation.params`.

    Raises
    ------
    NoActiveRun
        Outside of a run.
    InvalidName
        For what is no name.

    Examples
    --------
    >>> from digital_experiments import experiment, log_param
    >>> @experiment
    ... def fit():
    ...     log_param("device", "cpu")
    >>> fit()
    >>> fit.observations()[-1].params
    {'device': 'cpu'}
    """
    current_run().log_param(key, value)


def log_params(params: Mapping[str, Any]) -> None:
    """Note several settings of the current run, see :func:`log_param`."""
    current_run().log_params(params)


def log_features(names: Iterable[str]) -> None:
    """Note which features, columns or inputs the current run uses.

    Parameters
    ----------
    names : iterable of str
        Those of several calls add up; see :attr:`Observation.features`.

    Raises
    ------
    NoActiveRun, TypeError
        Outside of a run; for what is no name.
    """
    current_run().log_features(names)


def log_dict(name: str, data: Mapping[str, Any]) -> None:
    """Keep a dict with the current run, as the file ``dicts/<name>.json``.

    Parameters
    ----------
    name : str
        What :meth:`Observation.dicts` calls it.
    data : dict
        What JSON has; of anything else in it the text is kept. Dicts of one name are merged.

    Raises
    ------
    NoActiveRun, TypeError, InvalidName
        Outside of a run; for what is no dict; for what is no name.
    """
    current_run().log_dict(name, data)


def log_text(name: str, text: str | bytes) -> None:
    """Keep a text with the current run, as the file ``texts/<name>.txt``.

    Parameters
    ----------
    name : str
        What :meth:`Observation.texts` calls it.
    text : str, or bytes in UTF-8
        The last text of a name counts.

    Raises
    ------
    NoActiveRun, TypeError, InvalidName
        Outside of a run; for what is no text; for what is no name.
    """
    current_run().log_text(name, text)


def log_image(name: str, image: Any) -> None:
    """Keep an image with the current run, as the file ``images/<name>.png`` or the like.

    Parameters
    ----------
    name : str
        What :meth:`Observation.images` calls it.
    image : path, bytes, image of PIL, or array
        Paths and bytes: of a PNG, JPEG, GIF, WebP or SVG file. Arrays, which need Pillow: shape
        (height, width) or (height, width, 3 or 4); integers 0 to 255, or floats 0 to 1.

    Raises
    ------
    NoActiveRun, InvalidName
        Outside of a run; for what is no name.
    FileNotFoundError, TypeError, ValueError
        For what is no image.
    """
    current_run().log_image(name, image)


def log_figure(name: str, figure: Any) -> None:
    """Keep a figure with the current run: Matplotlib's as PNG and SVG, Plotly's as JSON.

    Parameters
    ----------
    name : str
        What :meth:`Observation.figures` calls it.
    figure
        A figure or axes of Matplotlib, or whatever has ``savefig``; or a figure of Plotly. It
        is not closed.

    Raises
    ------
    NoActiveRun, TypeError, InvalidName
        Outside of a run; for what is no figure; for what is no name.
    """
    current_run().log_figure(name, figure)


def log_table(name: str, table: Any) -> None:
    """Keep a table with the current run, as the file ``tables/<name>.csv``.

    Parameters
    ----------
    name : str
        What :meth:`Observation.tables` calls it.
    table : pandas.DataFrame, or what makes one
        A list of dicts, a dict of lists. An index that is more than 0, 1, 2... becomes a column.

    Raises
    ------
    NoActiveRun, TypeError, InvalidName
        Outside of a run; for what is no table; for what is no name.
    """
    current_run().log_table(name, table)


def log_artefact(source: str | os.PathLike[str] | bytes, name: str | None = None) -> None:
    """Copy a file or a folder, or write bytes, into the current run's folder.

    Parameters
    ----------
    source : path or bytes
        What to keep; ``log_artifact`` is the same.
    name : str, optional
        The path in the run's folder, by default the last part of the source's.

    Raises
    ------
    NoActiveRun, InvalidName
        Outside of a run; for a name that leaves the folder.
    FileNotFoundError
        If there is nothing at the path.
    TypeError, ValueError
        For bytes without a name; for a folder that holds the run's own.

    Examples
    --------
    >>> from digital_experiments import experiment, log_artefact
    >>> @experiment
    ... def fit():
    ...     log_artefact(b"42", "answer.txt")
    >>> fit()
    >>> [path.name for path in fit.observations()[-1].artefacts()]
    ['answer.txt']
    """
    current_run().log_artefact(source, name)


log_artifact = log_artefact
