"""Who makes which run, among all who share a bucket. The contract is that of the claims on a disk.

A claim is an object that only one can create, ``claims/held/<key>``; it names its owner, and once
the run has ended it tells what came of it. Each owner shows that it lives by writing
``claims/<owner>.log`` again and again. What has ended stays told until the last owner goes.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from digital_experiments.errors import BucketUnreachable, OfflineWarning
from digital_experiments.faults import warn_user
from digital_experiments.ids import new_id, started
from digital_experiments.remote.buckets import Bucket, Found
from digital_experiments.store.claims import Ended, Sweeper
from digital_experiments.store.flight import SILENT, own_heartbeat, process_lives
from digital_experiments.store.layout import CLAIMS

_LOG = ".log"
_GRAVE = ".grave"
_HELD = f"{CLAIMS}/held"
_SIGN = 15.0  # seconds between two signs of life
_OUTAGE = 300.0  # seconds for which a bucket that does not answer is asked again
_PAUSE = 1.0  # seconds between two looks at what others do


class RemoteClaims:
    """The claims of this process on a store in a bucket, and what the others have done since.

    Parameters
    ----------
    bucket : Bucket
        Where the store is.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket: Any = _Patient(bucket)
        self._looks: dict[str, tuple[Found, float]] = {}
        self._looked_at = 0.0
        self._me = new_id()
        self._own: dict[str, bool] = {}
        self._heard: dict[str, Ended] = {}
        self._others: set[str] = set()
        self._has_buried = False
        self._looked = 0.0
        self._ahead = 0.0  # seconds by which the server's clock is ahead of ours
        self._closed = threading.Event()
        self._sign()
        logs = self._logs()
        self._ahead = logs[self._me].modified - time.time() if self._me in logs else 0.0
        self._remove_dead(logs)
        self._others = set(self._living(self._logs()))
        threading.Thread(target=self._show, name="digital_experiments claims", daemon=True).start()

    def take(self, key: str) -> bool:
        """Claim a config by its key; False if another process has it, and lives."""
        for _ in range(2):
            if key in self._own:
                return False
            if self._creates(f"{_HELD}/{key}"):
                self._own[key] = False
                return True
            if not self._is_free(key):
                return False
        return False

    def _creates(self, name: str) -> bool:
        """Create an object that names its owner; so it is where only the answer was lost."""
        with suppress(FileExistsError):
            self._bucket.write(name, self._me.encode(), new=True)
            return True
        try:
            return bool(self._bucket.read(name) == self._me.encode())
        except FileNotFoundError:
            return False

    def _is_free(self, key: str) -> bool:
        """Whether a claim that is held may be tried for again."""
        try:
            told = self._bucket.read(f"{_HELD}/{key}").decode(errors="replace").split(" ")
        except FileNotFoundError:  # it was given back
            return True
        if len(told) == 3:
            self._heard[key] = Ended(told[1], told[2])
            return False
        return told[0] not in self._living(self._logs()) and self._bury(key, told[0])

    def release(self, key: str, id: str, status: str) -> None:
        """Tell the others what came of a run."""
        self._bucket.write(f"{_HELD}/{key}", f"{self._me} {id} {status}".encode(), new=False)
        self._own[key] = True

    def give_back(self, key: str) -> None:
        """Let others have a config that was not run."""
        self._own.pop(key, None)
        self._bucket.remove(f"{_HELD}/{key}")

    def news(self) -> tuple[bool, dict[str, Ended]]:
        """Whether the store is to be looked at again, and what has ended elsewhere, by its key.

        It is to be looked at again when somebody has come, gone or died.
        """
        changed, self._has_buried = self._has_buried, False
        if time.monotonic() - self._looked > _PAUSE:
            self._looked = time.monotonic()
            others = set(self._living(self._logs()))
            changed = changed or others != self._others
            self._others = others
        heard, self._heard = self._heard, {}
        return changed, heard

    def close(self) -> None:
        """Give back what was not run; the last to go takes along what was told."""
        self._closed.set()
        left = [key for key, has_ended in self._own.items() if not has_ended]
        self._bucket.each([("remove", f"{_HELD}/{key}") for key in left])
        self._bucket.remove(f"{CLAIMS}/{self._me}{_LOG}")
        if not self._living(self._logs()):
            held, _ = self._bucket.here(_HELD)
            self._bucket.each([("remove", name) for name in held])

    def _show(self) -> None:
        while not self._closed.wait(_SIGN):
            with suppress(OSError):
                self._sign()

    def _sign(self) -> None:
        ended = sum(self._own.values())
        told = {**own_heartbeat(os.getpid()), "ended": ended, "held": len(self._own) - ended}
        self._bucket.write(f"{CLAIMS}/{self._me}{_LOG}", json.dumps(told).encode(), new=False)

    def _logs(self) -> dict[str, Found]:
        return logs_in(self._bucket)

    def _living(self, logs: dict[str, Found]) -> dict[str, Found]:
        """Those who have shown a sign lately, and do not belong to a process that has ended.

        A sign may be old because the bucket was out of reach: whoever seems silent is looked at
        for a while before that is believed.
        """
        now = time.monotonic()
        was_away = now - self._looked_at > 2 * _SIGN
        self._looked_at = now
        for name, found in logs.items():
            known = self._looks.get(name)
            if was_away or known is None or known[0] != found:
                self._looks[name] = (found, now)
        awake = {name: it for name, it in logs.items() if not self._is_silent(name, it)}
        return {name: it for name, it in awake.items() if not self._has_ended(name)}

    def _is_silent(self, name: str, found: Found) -> bool:
        age = time.time() + self._ahead - found.modified
        return age > SILENT and time.monotonic() - self._looks[name][1] > 2 * _SIGN

    def _has_ended(self, name: str) -> bool:
        return name != self._me and not _lives(self._bucket, name)

    def _bury(self, key: str, owner: str) -> bool:
        """Remove the claim of a dead owner; of several who would, one does."""
        grave = f"{_HELD}/{key}{_GRAVE}"
        if not self._creates(grave):
            return False
        try:
            if self._bucket.read(f"{_HELD}/{key}").decode(errors="replace") != owner:
                return False
            self._bucket.remove(f"{_HELD}/{key}")
            self._has_buried = True
            return True
        except FileNotFoundError:
            return False
        finally:
            self._bucket.remove(grave)

    def _remove_dead(self, logs: dict[str, Found]) -> None:
        """Remove what processes have left that were killed, where nobody else needs it."""
        living = self._living(logs)
        dead = [f"{CLAIMS}/{name}{_LOG}" for name in logs.keys() - living.keys()]
        if living.keys() == {self._me}:
            dead += self._bucket.here(_HELD)[0]
        self._bucket.each([("remove", name) for name in dead])


class _Patient:
    """Asks a bucket again, for longer than others do: without claims a sweep runs configs twice."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._has_told = False

    def _tell(self, problem: BucketUnreachable) -> None:
        if not self._has_told:
            self._has_told = True
            warn_user(f"{problem} The sweep waits up to five minutes for it.", OfflineWarning)

    def __getattr__(self, name: str) -> Any:
        ask = getattr(self._bucket, name)

        def asked(*args: Any, **kwargs: Any) -> Any:
            until = time.monotonic() + _OUTAGE
            while True:
                try:
                    return ask(*args, **kwargs)
                except BucketUnreachable as problem:
                    if time.monotonic() > until:
                        raise
                    self._tell(problem)

        return asked


def logs_in(bucket: Bucket) -> dict[str, Found]:
    """The signs of life in a bucket, by the names of their owners."""
    files, _ = bucket.here(CLAIMS)
    return {
        name.rpartition("/")[2].removesuffix(_LOG): it
        for name, it in files.items()
        if name.endswith(_LOG)
    }


def sweepers(bucket: Bucket) -> Iterator[Sweeper]:
    """Who resumes sweeps on a bucket, the oldest first."""
    logs = logs_in(bucket)
    held, _ = bucket.here(_HELD)
    texts = bucket.many([("read", name) for name in held])
    claims = [text.decode(errors="replace").split(" ") for text in texts if type(text) is bytes]
    for name, found in sorted(logs.items()):
        with suppress(FileNotFoundError, ValueError, LookupError, TypeError):
            owner = json.loads(bucket.read(f"{CLAIMS}/{name}{_LOG}"))
            own = [claim for claim in claims if claim[0] == name]
            ended = Counter(claim[2] for claim in own if len(claim) == 3)
            lives = time.time() - found.modified < SILENT and process_lives(owner)
            count = len(own) - ended.total()
            yield Sweeper(owner["host"], owner["pid"], started(name), lives, dict(ended), count)


def _lives(bucket: Bucket, name: str) -> bool:
    """Whether the process of an owner still runs, as far as can be seen from here."""
    try:
        owner = json.loads(bucket.read(f"{CLAIMS}/{name}{_LOG}"))
        return bool(owner["host"] != own_heartbeat(os.getpid())["host"] or process_lives(owner))
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return False
