"""A bucket at work in a process of its own, for children of processes that have used obstore.

Its threads do not survive a fork, so a forked worker asks a fresh interpreter.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from digital_experiments.errors import BucketUnreachable
from digital_experiments.remote.buckets import Bucket, Call, Found
from digital_experiments.remote.places import Place

_CODE = (
    "import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from digital_experiments.remote.agent import serve; serve()"
)


class AgentBucket(Bucket):
    """Hands each call to another process.

    Parameters
    ----------
    place : Place
        Where the bucket is.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._uri = place.uri
        self._lock = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603 # our own module
            [sys.executable, "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the worker, which may still have to record
        )
        self._say(sys.path)
        self._say(place)

    def many(
        self, calls: Sequence[Call], advance: Callable[[int], None] | None = None
    ) -> list[Any]:
        """Many calls at a time: what each gives, or the exception that it raised."""
        try:
            with self._lock:
                self._say(list(calls))
                assert self._process.stdout is not None
                answers: list[Any] = pickle.load(self._process.stdout)
        except (OSError, EOFError) as problem:
            raise BucketUnreachable(f"What asks {self._uri} has ended: {problem!r}.") from problem
        return answers

    def _say(self, what: Any) -> None:
        assert self._process.stdin is not None
        pickle.dump(what, self._process.stdin)
        self._process.stdin.flush()

    def _asked(self, *call: Any) -> Any:
        (answer,) = self.each([call])
        return answer

    def here(self, folder: str) -> tuple[dict[str, Found], list[str]]:  # noqa: D102
        found: tuple[dict[str, Found], list[str]] = self._asked("here", folder)
        return found

    def stamps(self, endings: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:  # noqa: D102
        found: tuple[dict[str, str], list[str]] = self._asked("stamps", endings)
        return found

    def below(self, folder: str) -> dict[str, Found]:  # noqa: D102
        found: dict[str, Found] = self._asked("below", folder)
        return found

    def size(self, name: str) -> int:  # noqa: D102
        return int(self._asked("size", name))

    def read(self, name: str) -> bytes:  # noqa: D102
        data: bytes = self._asked("read", name)
        return data

    def write(self, name: str, data: bytes, new: bool) -> None:  # noqa: D102
        self._asked("write", name, data, new)

    def upload(self, name: str, path: str) -> None:  # noqa: D102
        self._asked("upload", name, path)

    def download(self, name: str, path: str) -> None:  # noqa: D102
        self._asked("download", name, path)

    def copy(self, name: str, target: str) -> None:  # noqa: D102
        self._asked("copy", name, target)

    def remove(self, name: str) -> None:  # noqa: D102
        self._asked("remove", name)


def serve() -> None:
    """Answer calls until nobody asks any more."""
    from digital_experiments.remote.objects import ObjectBucket

    ask, answer = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever prints must not stand among the answers
    bucket = ObjectBucket(pickle.load(ask))
    while True:
        try:
            calls = pickle.load(ask)
        except EOFError:
            return
        pickle.dump(bucket.many(calls), answer)
        answer.flush()
