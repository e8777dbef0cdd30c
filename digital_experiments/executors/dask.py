"""Workers of a Dask cluster."""

from __future__ import annotations

import os
import pickle
import signal
import time
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import cache, partial
from typing import Any

import distributed
from distributed import Client, LocalCluster, WorkerPlugin

from digital_experiments.executors.apart import run_apart
from digital_experiments.executors.base import (
    Executor,
    Task,
    WorkerDied,
    checked_workers,
    give_up,
    in_worker,
    refuse_in_worker,
    settle,
)
from digital_experiments.ids import new_id

_FRESH = 1.0  # seconds for which a count of workers is believed
_sent: dict[str, bytes] = {}  # the functions that this process has been sent


class DaskExecutor(Executor):
    """Workers of a Dask cluster.

    The function is sent to each worker once. A worker that dies costs the task that it was at;
    others do what it had not begun. With a timeout a task runs in a process of its own.

    Parameters
    ----------
    cluster : distributed.Client, cluster or str, optional
        A client, a cluster, or the address of a scheduler; by default a cluster on this machine,
        which is closed at the end.
    workers : int, optional
        How many processes the cluster on this machine has; by default one for each core.
    **options
        For ``Client.submit``, such as ``resources={"GPU": 1}`` or ``priority=1``.
    """

    keeps_time = True
    draws_too = True
    travels = True
    restarts = True
    portion = 0.1

    def __init__(self, cluster: Any = None, workers: int | None = None, **options: Any) -> None:
        if cluster is not None and workers is not None:
            raise ValueError("workers= is for a cluster on this machine; yours has its own.")
        self._cluster = cluster
        self._asked = checked_workers(workers)
        self._options = options
        self.leaves = cluster is not None
        self._client: Client | None = None
        self._counted, self._count = 0.0, 1
        self._given: dict[Future[Any], distributed.Future[Any]] = {}

    @property
    def workers(self) -> int:  # type: ignore[override] # it changes as the cluster does
        """How many tasks the cluster's workers can run at once, as of a second ago."""
        if self._client is not None and time.monotonic() - self._counted > _FRESH:
            self._count = max(1, sum(self._client.nthreads().values()))
            self._counted = time.monotonic()
        return self._count

    def start(self, function: Task) -> None:
        """Send the function to all workers, those to come included.

        Raises
        ------
        RuntimeError
            In a worker: it can have none of its own.
        """
        import cloudpickle

        refuse_in_worker("dask")
        self._own = _local_cluster(self._asked) if self._cluster is None else None
        given = self._cluster or self._own
        self._client = given if isinstance(given, Client) else Client(given)
        self._token = new_id()
        function_sent = _Sent(self._token, cloudpickle.dumps(function))
        self._client.register_plugin(function_sent, name=self._token)

    def submit(self, argument: Any, timeout: float | None = None) -> Future[Any]:
        """Have a worker run it; its process is killed when its time is over."""
        assert self._client is not None
        future: Future[Any] = Future()
        inner = self._client.submit(
            _work, self._token, argument, timeout, key=new_id(), pure=False, **self._options
        )
        self._given[future] = inner  # Dask forgets what nobody holds
        inner.add_done_callback(partial(self._hand_on, future))
        return future

    def _hand_on(self, future: Future[Any], inner: distributed.Future[Any]) -> None:
        value = problem = None
        try:
            value, problem = inner.result()
        except (distributed.KilledWorker, distributed.CancelledError) as gone:
            problem = WorkerDied(str(gone))
        except BaseException as raised:  # whatever the function raised there
            problem = raised
        del self._given[future]
        settle(future, value, problem)

    def stop(self, at_once: bool = False) -> None:
        """Wait for what has begun; at once, what has begun on a cluster of yours goes on."""
        if self._client is None:
            return
        client, self._client = self._client, None
        if at_once:
            given = dict(self._given)
            client.cancel(list(given.values()))
            for future in given:
                give_up(future)
        else:
            wait(list(self._given))
        if self._own is not None:
            self._close(client, self._own, at_once)
            return
        client.unregister_worker_plugin(self._token)
        if client is not self._cluster:
            client.close()

    def _close(self, client: Client, cluster: LocalCluster, at_once: bool) -> None:
        for nanny in list(cluster.workers.values()) if at_once else ():
            nanny.auto_restart = False
            with suppress(ProcessLookupError, TypeError):
                os.kill(nanny.pid, signal.SIGKILL)
        client.close()
        cluster.close()


def _local_cluster(workers: int) -> LocalCluster:
    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            memory_limit=0,
        )
    except RuntimeError as problem:
        raise RuntimeError(
            "Dask's workers did not start. In a script, what starts them has to stand below "
            "`if __name__ == '__main__':`, as they import the script again."
        ) from problem


class _Sent(WorkerPlugin):
    """A function on its way to each worker."""

    def __init__(self, token: str, function: bytes) -> None:
        self.token = token
        self.function = function

    def setup(self, worker: Any) -> None:
        """It has arrived."""
        _sent[self.token] = self.function

    def teardown(self, worker: Any) -> None:
        """It is needed no more."""
        _sent.pop(self.token, None)
        _loaded.cache_clear()


@cache
def _loaded(token: str) -> Task:
    loaded: Task = pickle.loads(_sent[token])
    return loaded


def _work(token: str, argument: Any, timeout: float | None) -> tuple[Any, Exception | None]:
    """The value and None, or None and what was raised, of which Dask would make noise."""
    in_worker.set("dask")
    try:
        if timeout is not None:
            return run_apart(_sent[token], argument, timeout), None
        return _loaded(token)(argument), None
    except Exception as problem:
        return None, problem
