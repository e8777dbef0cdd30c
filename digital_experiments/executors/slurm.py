"""Jobs of a Slurm cluster."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError
from submitit.slurm.slurm import SlurmInfoWatcher

from digital_experiments.executors.apart import run_apart
from digital_experiments.executors.base import (
    Executor,
    Task,
    WorkerDied,
    checked_workers,
    give_up,
    settle,
)
from digital_experiments.ids import new_id

_LOOK = 0.5  # seconds between two looks at the jobs
_GRACE = 5.0  # seconds that an answer may take from the node to here
_PATIENCE = 20.0  # seconds that Slurm has to end what is cancelled
_WORKERS = 16
_OPTIONS: dict[str, Any] = {
    "job_name": "digital_experiments",
    "time": None,  # the partition's own
    "additional_parameters": {"no-requeue": True},  # a job that is lost is made anew, as another
}
_SAID = 2_000  # characters of what a job has said that are passed on when it dies


class SlurmExecutor(Executor):
    """Jobs of a Slurm cluster, a portion of short runs or one long run each.

    The commands ``sbatch``, ``scancel`` and ``sacct`` must work here, and this machine and the
    nodes must share the store and the folder. A job that is killed, cancelled or evicted costs
    the run that it was at.

    Parameters
    ----------
    workers : int, optional
        How many jobs are to run at once, by default 16; some more wait in Slurm's queue.
    folder : path, optional
        Where jobs get their tasks and put their answers and logs; by default one in the user's
        cache folder, which is removed at the end.
    **options
        For ``submitit.SlurmExecutor.update_parameters``: ``partition="gpu"``,
        ``cpus_per_task=4``, ``mem="8GB"``, ``time=60`` (minutes; by default as the partition
        has it), ``gpus_per_node=1``, ``setup=["module load cuda"]``...
    """

    keeps_time = True
    travels = True
    portion = 30.0

    def __init__(
        self, workers: int | None = None, folder: str | Path | None = None, **options: Any
    ) -> None:
        self.workers = _WORKERS if workers is None else checked_workers(workers)
        self._folder = folder
        self._options = options
        self._given: dict[Future[Any], submitit.Job[Any]] = {}
        self._silent: dict[str, float] = {}  # since when a job is known to have ended
        self._stopped = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self, function: Task) -> None:
        """Write the function down for the jobs.

        Raises
        ------
        RuntimeError
            If Slurm's commands are not there.
        """
        import cloudpickle

        if shutil.which("sbatch") is None:
            raise RuntimeError("executor='slurm' needs Slurm's commands: there is no sbatch here.")
        self._place = Path(self._folder or _own_folder()).expanduser().absolute()
        self._place.mkdir(parents=True, exist_ok=True)
        self._function = self._place / f"{new_id()}.function"
        self._function.write_bytes(cloudpickle.dumps(function))
        self._function.write_bytes(pickle.dumps((sys.path, cloudpickle.dumps(function))))
        self._jobs = submitit.SlurmExecutor(self._place)
        self._jobs.job_class = _Job
        self._jobs.update_parameters(**{**_OPTIONS, **self._options})
        self._stopped.clear()
        self._watcher = threading.Thread(target=self._watch, name="digital_experiments Slurm")
        self._watcher.start()

    def submit(self, argument: Any, timeout: float | None = None) -> Future[Any]:
        """Have a job run it; its process is killed when its time is over.

        Raises
        ------
        RuntimeError
            If Slurm refuses the job.
        """
        future: Future[Any] = Future()
        try:
            self._given[future] = self._jobs.submit(_work, self._function, argument, timeout)
        except FailedJobError as problem:
            raise RuntimeError(f"Slurm refuses the job: {problem}") from problem
        return future

    def _watch(self) -> None:
        """See which jobs have ended, until all have and no more will come."""
        while not (self._stopped.wait(_LOOK) and not self._given):
            for future, job in list(self._given.items()):
                if self._has_ended(job):
                    settle(future, *_outcome(job))
                    self._given.pop(future, None)

    def _has_ended(self, job: submitit.Job[Any]) -> bool:
        """Whether a job has answered, or won't."""
        if not job.done():
            return False
        since = self._silent.setdefault(job.job_id, time.monotonic())
        return job.paths.result_pickle.exists() or time.monotonic() - since > _GRACE

    def stop(self, at_once: bool = False) -> None:
        """Wait for the jobs, or cancel them."""
        watcher, self._watcher = self._watcher, None
        if watcher is None:
            return
        if at_once:
            given = dict(self._given)
            self._given.clear()
            _cancel([job.job_id for job in given.values()])
            for future in given:
                give_up(future)
        self._stopped.set()
        watcher.join()
        self._function.unlink(missing_ok=True)
        if self._folder is None:
            shutil.rmtree(self._place, ignore_errors=True)


class _Job(submitit.SlurmJob[Any]):
    watcher = SlurmInfoWatcher(delay_s=60)  # after a while Slurm is asked once a minute


def _own_folder() -> Path:
    """A folder that the nodes see too, as a home mostly is; its temporary folder is not."""
    from platformdirs import user_cache_path

    return user_cache_path("digital_experiments") / "slurm" / new_id()


def _outcome(job: submitit.Job[Any]) -> tuple[Any, Exception | None]:
    if not job.paths.result_pickle.exists():
        said = (job.stderr() or "").strip()[-_SAID:]
        return None, WorkerDied(f"Slurm's job {job.job_id} is {job.state}. {said}".strip())
    try:
        value, problem = job.result()
    except Exception as raised:  # what came from the job can't be read here
        return None, raised
    return value, problem


def _cancel(ids: list[str]) -> None:
    """Take back what waits and end what runs, at once; then wait until Slurm has done so."""
    if not ids:
        return
    for how in (["--state=PENDING"], ["--signal=KILL", "--full"], []):
        _ask("scancel", *how, *ids)
    deadline = time.monotonic() + _PATIENCE
    while _ask("squeue", "-h", "-j", ",".join(ids)) and time.monotonic() < deadline:
        time.sleep(_LOOK)


def _ask(*command: str) -> bytes:
    asked = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 # Slurm's own
    return asked.stdout.strip()


@cache
def _read(path: Path) -> bytes:
    places, function = pickle.loads(path.read_bytes())
    sys.path.extend(place for place in places if place not in sys.path)
    kept: bytes = function
    return kept


def _work(function: Path, argument: Any, timeout: float | None) -> tuple[Any, Exception | None]:
    """The value and None, or None and what was raised, in a job."""
    try:
        if timeout is not None:
            return run_apart(_read(function), argument, timeout), None
        return pickle.loads(_read(function))(argument), None
    except Exception as problem:
        return None, problem
