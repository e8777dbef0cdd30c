"""What a run can be told while it is in flight. Knows files and series; no run.

A wrong name or value is an error where it is logged; what can't be written is a fault of
recording, told at the end of the run.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, NoReturn

from digital_experiments.errors import NoActiveRun, RunEnded
from digital_experiments.files import write_atomic
from digital_experiments.heart import heart
from digital_experiments.ids import check_path
from digital_experiments.logged import DICTS, FIGURES, IMAGES, PLOTLY, TABLES, TEXTS, image_name
from digital_experiments.pictures import figure_files, image_file
from digital_experiments.series import FILE, SeriesWriter, WatchedSeries
from digital_experiments.tables import table_files
from digital_experiments.values import NoBlobs, decode, encode
from digital_experiments.views import short_repr, type_name

_NOT_BEGUN = "Run {0} has not begun: use it as `with start_run(...) as run:`."
_ENDED = "Run {0} has ended: nothing can be logged to it any more."
_INHERITED = (
    "{0} works in the process that started the run, not in one forked from it: there the run "
    "would not learn of it. Hand the value back, and log it there. Metrics, texts, tables, "
    "images, figures and artefacts can be logged from here."
)


class RunLog:
    """The part of a run that takes what is logged. Mixed into ``Run``."""

    id: str
    lost: list[str]
    fault: Callable[[str], None]
    rescue_dir: Callable[[], Path]
    _series: SeriesWriter | None = None
    _whole_series: SeriesWriter | None = None
    _params: dict[str, Any] | None = None
    _features: dict[str, None] | None = None
    _dicts: dict[str, dict[str, Any]] | None = None
    _refusal: str | None = _NOT_BEGUN
    _inherited = False
    watch: Callable[[str, float, float], None] | None = None
    """Who is told of each point that is logged, and may end the run by raising RunEnded."""
    _has_logged = False
    _noting: RLock
    _pictures: dict[str, list[str]] | None = None

    if TYPE_CHECKING:

        @property
        def dir(self) -> Path: ...  # noqa: D102

    def log_metric(self, key: str, value: Any, step: float | None = None) -> None:
        """As :func:`log_metric`, for this run."""
        (self._series or self._begin_series()).add(key, value, step)

    def log_metrics(self, metrics: Mapping[str, Any], step: float | None = None) -> None:
        """As :func:`log_metrics`, for this run."""
        _check_mapping(metrics, "log_metrics")
        for key, value in metrics.items():
            self.log_metric(key, value, step)

    def log_param(self, key: str, value: Any) -> None:
        """As :func:`log_param`, for this run."""
        self._check_noting("log_param")
        check_path(key, "the name of a parameter")
        self._has_logged = True
        frozen = decode(encode(value, self.lost), NoBlobs())
        with self._noting:
            self._params = self._params or {}
            self._params[key] = frozen

    def log_params(self, params: Mapping[str, Any]) -> None:
        """As :func:`log_params`, for this run."""
        _check_mapping(params, "log_params")
        for key, value in params.items():
            self.log_param(key, value)

    def log_features(self, names: Iterable[str]) -> None:
        """As :func:`log_features`, for this run."""
        self._check_noting("log_features")
        names = _names(names)
        self._has_logged = True
        with self._noting:
            self._features = self._features or {}
            self._features.update(dict.fromkeys(names))

    def log_dict(self, name: str, data: Mapping[str, Any]) -> None:
        """As :func:`log_dict`, for this run."""
        import json

        self._check_noting("log_dict")
        _check_mapping(data, "log_dict", "a name and ")
        check_path(name, "the name of a dict")
        try:
            added = _json_like(data)
        except RecursionError:
            raise ValueError("log_dict expects a dict that does not hold itself.") from None
        with self._noting:
            self._dicts = self._dicts or {}
            merged = {**self._dicts.get(name, {}), **added}
            text = json.dumps(merged, indent=2, ensure_ascii=False)
            self._dicts[name] = merged
            self._keep(f"{DICTS}/{name}.json", text.encode(errors="backslashreplace"))

    def log_text(self, name: str, text: str | bytes) -> None:
        """As :func:`log_text`, for this run."""
        self._check_in_flight()
        if isinstance(text, bytes):
            text = text.decode(errors="backslashreplace")
        if not isinstance(text, str):
            raise TypeError(f"log_text expects a name and a text, not {type_name(type(text))}.")
        check_path(name, "the name of a text")
        self._keep(f"{TEXTS}/{name}.txt", text.encode(errors="backslashreplace"))

    def log_image(self, name: str, image: Any) -> None:
        """As :func:`log_image`, for this run."""
        self._check_in_flight()
        check_path(name, "the name of an image")
        ending, data = image_file(image)
        self._keep_picture(IMAGES, image_name(name), [(ending, data)])

    def log_figure(self, name: str, figure: Any) -> None:
        """As :func:`log_figure`, for this run."""
        self._check_in_flight()
        if not isinstance(name, str) and isinstance(figure, str):
            raise TypeError("log_figure expects the name first: log_figure(name, figure).")
        check_path(name, "the name of a figure")
        self._keep_picture(FIGURES, name, list(figure_files(figure, PLOTLY)))

    def log_table(self, name: str, table: Any) -> None:
        """As :func:`log_table`, for this run."""
        import pandas

        self._check_in_flight()
        check_path(name, "the name of a table")
        if not isinstance(table, pandas.DataFrame):
            table = _table_of(table)
        for ending, data in table_files(table):
            self._keep(f"{TABLES}/{name}{ending}", data)

    def log_artefact(self, source: str | os.PathLike[str] | bytes, name: str | None = None) -> None:
        """As :func:`log_artefact`, for this run."""
        self._check_in_flight()
        if isinstance(source, (bytes, bytearray, memoryview)):
            if name is None:
                raise TypeError("log_artefact expects a name for bytes: log_artefact(data, name).")
            self._keep(_free_name(name), bytes(source))
            return
        path = _path_of(source)
        name = _free_name(path.name if name is None else name)
        if not path.exists():
            raise FileNotFoundError(f"There is no file or folder {str(path)!r} to log.")
        target = self.dir / name
        if path == target:
            return
        if target.is_relative_to(path):
            raise ValueError(f"{str(path)!r} holds the run's own folder, so it can't be logged.")
        self._written(name, lambda folder: _copy(path, folder / name))

    log_artifact = log_artefact

    # -- what becomes of it -------------------------------------------------------------------

    def _begin_series(self) -> SeriesWriter:
        self._check_in_flight()
        series = self._new_series()
        if self._inherited:  # nobody here will end this run
            heart.adopt(self)
            _at_exit(series.flush)
        self._series, self._has_logged = series, True
        return series

    def _new_series(self) -> SeriesWriter:
        def path() -> str:
            return f"{self.dir}/{FILE}"

        if self.watch is None:
            return SeriesWriter(path, self._series_failed)
        return WatchedSeries(path, self._series_failed, self._watched)

    def _watched(self, key: str, value: float, step: float) -> None:
        """Tell who watches; that alone may end the run."""
        try:
            if self.watch is not None:
                self.watch(key, value, step)
        except RunEnded:
            raise
        except Exception as problem:  # of a storage, say
            self.watch = None
            self.fault(f"Nobody watches {key!r} of run {self.id} any more: {problem!r}.")

    def adopt(self) -> None:
        """In a forked process: what the parent has taken is the parent's to write."""
        self._inherited, self._series, self._noting = True, None, RLock()

    def flush_log(self) -> None:
        """Write out what was logged."""
        series = self._series
        if series is not None:
            series.flush()

    def _series_failed(self, problem: OSError) -> str | None:
        """Where else to write a series that its file does not take."""
        try:
            folder = self.rescue_dir()
        except OSError:
            self.fault(f"Points that run {self.id} logged are lost, because {problem}.")
            return None
        self.fault(f"The series of run {self.id} go on in {folder}, because {problem}.")
        return f"{folder}/{FILE}"

    def _open_log(self) -> None:
        """From now on the run takes what is logged."""
        self._noting = RLock()
        self._refusal = None

    def _close_log(self) -> None:
        """Refuse what comes now."""
        self._refusal = _ENDED
        if self._series is not None:
            self._whole_series, self._series = self._series, None

    def _check_in_flight(self) -> None:
        if self._refusal is not None:
            raise NoActiveRun(self._refusal.format(self.id))

    def _check_noting(self, function: str) -> None:
        self._check_in_flight()
        if self._inherited:
            raise NoActiveRun(_INHERITED.format(function))

    def _logged_facts(self) -> dict[str, Any]:
        """What the metadata tell of what was logged."""
        series = self._series or self._whole_series
        metrics = series.summary() if series else None
        with self._noting:
            params, features = dict(self._params or {}), list(self._features or ())
        facts = {"metrics": metrics, "params": params, "features": features}
        return {key: value for key, value in facts.items() if value}

    def _keep_picture(self, kind: str, name: str, files: list[tuple[str, bytes]]) -> None:
        """Write the files of a picture, in place of those that it had before."""
        with self._noting:
            self._pictures = self._pictures or {}
            before = self._pictures.get(f"{kind}/{name}", [])
            for ending, data in files:
                self._keep(f"{kind}/{name}{ending}", data)
            kept = self._pictures[f"{kind}/{name}"] = [ending for ending, _ in files]
            for ending in before:
                if ending not in kept:
                    (self.dir / f"{kind}/{name}{ending}").unlink(missing_ok=True)

    def _keep(self, name: str, data: bytes) -> None:
        """Write a file into the run's folder."""

        def write(folder: Path) -> None:
            place = folder / name
            write_atomic(str(place.parent), place.name, data)

        self._written(name, write)

    def _written(self, name: str, write: Callable[[Path], None]) -> None:
        """Have a file written, elsewhere if its folder does not take it."""
        try:
            write(self.dir)
        except OSError as problem:
            try:
                folder = self.rescue_dir()
                write(folder)
            except OSError:
                self.fault(f"{name!r}, which run {self.id} logged, is lost, because {problem}.")
            else:
                self.fault(f"{name!r}, logged by run {self.id}, is in {folder}: {problem}.")


def _at_exit(work: Callable[[], None]) -> None:
    """Have work done when this process ends, those of multiprocessing too."""
    atexit.register(work)
    multiprocessing = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None:
        multiprocessing.Finalize(None, work, exitpriority=10)


def _check_mapping(value: object, function: str, before: str = "") -> None:
    if not isinstance(value, Mapping):
        kind = type_name(type(value))
        raise TypeError(f"{function} expects {before}a dict of names and values, not {kind}.")


def _names(names: Iterable[str]) -> list[str]:
    if isinstance(names, str):
        return [names]
    found = list(names) if isinstance(names, Iterable) else [names]
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"log_features expects names, not {short_repr(name, 80)}.")
    return found


def _json_like(value: Any) -> Any:
    """A value with nothing in it but what JSON has; of all else the repr."""
    if isinstance(value, Mapping):
        return {str(key): _json_like(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_json_like(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's, Torch's
        return _json_like(value.tolist())
    if isinstance(value, (str, int, float, type(None))):
        return value
    try:
        return str(value)
    except Exception:  # code of the user's
        return short_repr(value)


def _table_of(table: Any) -> Any:
    import pandas

    try:
        return pandas.DataFrame(table)
    except (ValueError, TypeError) as problem:
        _refuse_table(table, problem)


def _refuse_table(table: Any, problem: Exception) -> NoReturn:
    raise TypeError(
        "log_table expects a name and a DataFrame, or what makes one, such as a list of dicts; "
        f"{type_name(type(table))} does not: {problem}."
    ) from problem


def _free_name(name: str) -> str:
    """A name for an artefact that is not one of ours."""
    check_path(name, "the name of an artefact")
    if name.partition("/")[0] == FILE:
        raise ValueError(f"{FILE!r} is the name of the file of the run's series; give another.")
    return name


def _path_of(source: Any) -> Path:
    if not isinstance(source, (str, os.PathLike)):
        kind = type_name(type(source))
        raise TypeError(f"log_artefact expects the path of a file or folder, or bytes, not {kind}.")
    return Path(os.path.expanduser(source)).absolute()


def _copy(source: Path, target: Path) -> None:
    import shutil

    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore_dangling_symlinks=True, dirs_exist_ok=True)
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        shutil.copyfile(source, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
