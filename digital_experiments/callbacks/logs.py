"""What a run prints, saved beside it. Each thread's and task's output goes to its own run."""

from __future__ import annotations

import sys
import threading
from typing import Any, TextIO

from digital_experiments.callbacks.base import Callback
from digital_experiments.ids import check_name
from digital_experiments.observation import Observation
from digital_experiments.run import active_run, current_run

_lock = threading.RLock()
_files: dict[str, TextIO] = {}  # by the id of the run that they belong to
_routers: list[_Router] = []


class SaveLogs(Callback):
    r"""Saves what the run prints, to stdout and stderr, as an artefact; it is printed as well.

    Output is routed by context: runs in other threads and tasks have logs of their own. The
    output of a nested run is in its own log, if it has one, and in those of its parents.

    Parameters
    ----------
    name : str
        The file's name.

    Examples
    --------
    >>> from digital_experiments import experiment
    >>> from digital_experiments.callbacks import SaveLogs
    >>> @experiment(callbacks=[SaveLogs()])
    ... def greet():
    ...     print("hello")
    >>> greet()
    hello
    >>> greet.observations()[-1].artefacts()[0].read_text()
    'hello\n'
    """

    def __init__(self, name: str = "logs.txt") -> None:
        self.name = check_name(name, "the name of a log file")

    def start(self, id: str, config: dict[str, Any]) -> None:
        """Open the run's log, and route the process's output through us."""
        path = current_run().dir / self.name
        file = open(path, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
        with _lock:
            _files[id] = file
            if not _routers:
                _routers.extend([_Router("stdout"), _Router("stderr")])

    def end(self, observation: Observation) -> None:
        """Close the run's log; with the last one the process's output is as it was before."""
        with _lock:
            file = _files.pop(observation.id, None)
            if file is not None:
                file.close()
            if not _files:
                while _routers:
                    _routers.pop().restore()


class _Router:
    """Stands for a stream of the process, and copies what is written to the run's logs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stream: TextIO = getattr(sys, name)
        setattr(sys, name, self)

    def restore(self) -> None:
        """Put the stream back, whatever a run may have put in our place."""
        setattr(sys, self._name, self._stream)

    def write(self, text: str) -> int:
        for file in _open_logs():
            file.write(text)
        return self._stream.write(text) if self._stream is not None else len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        for file in _open_logs():
            file.flush()
        if self._stream is not None:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _open_logs() -> list[TextIO]:
    """The logs of the current run and of those that it is nested in."""
    found, run = [], active_run()
    while run is not None:
        file = _files.get(run.id)
        if file is not None and not file.closed:
            found.append(file)
        run = run.parent
    return found
