"""What an experiment is asked for to be run with many configs. Imports what does it when asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from digital_experiments.observation import Observation
from digital_experiments.observations import Observations
from digital_experiments.selection import UNDONE

if TYPE_CHECKING:
    from concurrent.futures import Future


class Mapped:
    """The part of an experiment that runs many configs. Mixed into ``Experiment``."""

    def map(
        self,
        configs: Any,
        executor: Any = "serial",
        workers: int | None = None,
        retries: int = 0,
        timeout: float | None = None,
        on_error: str = "record",
        progress: bool | str | tuple[str, str] = True,
        resume: bool = False,
        retry: str | Sequence[str] = UNDONE,
    ) -> Observations:
        """Run many configs, and give their observations in the order of the configs.

        Parameters
        ----------
        configs : iterable of dict or tuple, or DataFrame
            The parameters of each run. Those of a list are all checked before the first is run;
            of what gives one after another, a few for each worker are taken ahead.
        executor : str or Executor
            Where: ``serial``, ``thread``, ``process``, ``async`` (for coroutine functions),
            ``dask``, ``ray``, ``slurm``; a Dask client or cluster; or any executor of
            :mod:`concurrent.futures`.
        workers : int, optional
            How many at once; by default as many as there are cores, of coroutines 100.
        retries : int
            How often a run that did not complete is made again; ``metadata["retry_of"]`` names
            the attempt before.
        timeout : float, optional
            Seconds after which a run is ended, with status ``timeout``.
        on_error : {"record", "raise"}
            Whether a run that does not complete is one of the observations, or is raised.
        progress : bool, str or tuple
            Whether to show how far it is, in a terminal or a notebook; a column, such as
            ``"result.accuracy"`` or ``("result.cost", "min")``, has its best so far shown too.
        resume : bool
            Whether configs that are done with the current code are not run again; nor those
            that another process or machine, which resumes on the same store, is running.
        retry : str or list of str
            Of what is resumed, the statuses that do not count as done; a text joins them by commas.

        Returns
        -------
        Observations
            One for each config: the last attempt.

        Raises
        ------
        TypeError
            For a config that does not fit the signature.
        ValueError
            For a timeout on an executor that can't keep it, and other wrong options.

        Notes
        -----
        Each run is recorded by its worker as a call is. A worker that dies costs its run, which
        is recorded as ``lost``. Ctrl-C ends all that runs, and leaves what has ended.

        Examples
        --------
        >>> from digital_experiments import experiment
        >>> @experiment
        ... def add(a, b=1):
        ...     return a + b
        >>> [o.result for o in add.map([{"a": 1}, {"a": 2, "b": 2}, (3,)])]
        [2, 4, 4]
        """
        ended = self._many(
            configs, executor, workers, retries, timeout, on_error, progress, resume, retry
        )
        if executor != "serial" or resume:  # else they come in their order
            ended = iter(sorted(ended, key=itemgetter(0)))
        return Observations(observation for _, observation in ended)

    def imap(
        self,
        configs: Any,
        executor: Any = "serial",
        workers: int | None = None,
        retries: int = 0,
        timeout: float | None = None,
        on_error: str = "record",
        progress: bool | str | tuple[str, str] = True,
        resume: bool = False,
        retry: str | Sequence[str] = UNDONE,
        ahead: int | None = None,
    ) -> Iterator[Observation]:
        """As :meth:`map`, giving each observation as its run ends.

        Parameters
        ----------
        ahead : int, optional
            How many configs are taken for each worker before it has ended the one it is at; by
            default as many as keep it busy. With 0 each config may depend on what has ended.

        Examples
        --------
        >>> from digital_experiments import experiment
        >>> @experiment
        ... def double(x):
        ...     return 2 * x
        >>> sum(o.result for o in double.imap(({"x": n} for n in range(5)), executor="thread"))
        20
        """
        ended = self._many(
            configs, executor, workers, retries, timeout, on_error, progress, resume, retry, ahead
        )
        return (observation for _, observation in ended)

    async def amap(self, configs: Any, executor: Any = "async", **how: Any) -> Observations:
        """As :meth:`map`, to be awaited: other coroutines run meanwhile.

        If it is cancelled, no further run is begun.

        Examples
        --------
        >>> import asyncio
        >>> from digital_experiments import experiment
        >>> @experiment
        ... async def double(x):
        ...     return 2 * x
        >>> [o.result for o in asyncio.run(double.amap([{"x": 1}, {"x": 2}]))]
        [2, 4]
        """
        from digital_experiments.many.awaiting import awaited
        from digital_experiments.many.driver import collected

        found = await awaited(partial(collected, self._many(configs, executor, **how)))
        return Observations(found[number] for number in sorted(found))

    def submit(self, config: Any, executor: Any = "thread", **how: Any) -> Future[Observation]:
        """Run one config beside whatever comes next.

        Parameters
        ----------
        config : dict or tuple
            The parameters of the run.
        executor : str or Executor
            Where, as for :meth:`map`.
        **how
            ``retries``, ``timeout``, ``on_error``, as for :meth:`map`.

        Returns
        -------
        concurrent.futures.Future
            Its result is the observation.

        Raises
        ------
        TypeError
            If the config does not fit the signature, at once.

        Examples
        --------
        >>> from digital_experiments import experiment
        >>> @experiment
        ... def double(x):
        ...     return 2 * x
        >>> future = double.submit({"x": 3})
        >>> future.result().result
        6
        """
        from digital_experiments.many.driver import beside

        workers = None if executor == "serial" or not isinstance(executor, str) else 1
        return beside(self._many([config], executor, workers, progress=False, **how))

    def _many(self, configs: Any, *how: Any, **named: Any) -> Iterator[tuple[int, Observation]]:
        from digital_experiments.many.driver import many

        experiment: Any = self
        return many(experiment, configs, *how, **named)
