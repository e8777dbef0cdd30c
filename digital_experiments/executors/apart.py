"""A function run in a process of its own, which can be killed: how clusters keep a timeout."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from digital_experiments.executors.base import WorkerDied


def run_apart(function: bytes, argument: Any, timeout: float) -> Any:
    """The value of a pickled function, or what it raises; killed when its time is over.

    Raises
    ------
    TimeoutError
        If it took longer than ``timeout`` seconds.
    WorkerDied
        If its process ended without a word.
    """
    with TemporaryDirectory() as folder:
        task, answer = Path(folder, "task"), Path(folder, "answer")
        task.write_bytes(pickle.dumps((sys.path, function, argument)))
        command = [sys.executable, "-m", __name__, folder]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 # our own module
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"It took longer than {timeout} s.") from None
        finally:
            _kill(process)
        if not answer.exists():
            raise WorkerDied(f"its process ended with exit code {code}")
        done, value = pickle.loads(answer.read_bytes())
    if not done:
        raise value
    return value


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it with all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with process:  # closes its pipe, and waits
        pass


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # nobody writes there: it returns when the parent is gone
    os._exit(1)


def _main(folder: str) -> None:
    import cloudpickle

    threading.Thread(target=_end_with_parent, daemon=True).start()
    path, function, argument = pickle.loads(Path(folder, "task").read_bytes())
    sys.path[:] = path
    try:
        answer = True, pickle.loads(function)(argument)
    except Exception as problem:
        answer = False, problem
    unfinished = Path(folder, "unfinished")
    unfinished.write_bytes(cloudpickle.dumps(answer))
    unfinished.rename(Path(folder, "answer"))


if __name__ == "__main__":
    _main(sys.argv[1])
