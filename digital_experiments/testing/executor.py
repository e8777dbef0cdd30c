"""The contract of :class:`~digital_experiments.executors.Executor`, as tests."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from digital_experiments.executors import Executor


class ExecutorSuite:
    """Subclass it, override :meth:`make`, and let pytest run it."""

    tasks = 200
    """How many to hand over at once: fewer where each takes long to start."""

    def make(self) -> Executor:
        """Return the executor to test, with at least one worker."""
        raise NotImplementedError("override make() to return the executor to test")

    def started(self) -> Executor:
        """The executor, ready to run what the tests hand it."""
        executor = self.make()
        executor.start(_awaited if executor.awaits else _done)
        return executor

    def test_each_argument_gets_its_value(self) -> None:
        """However many there are, and in whatever order they end."""
        with self.started() as executor:
            futures = [executor.submit(("double", n)) for n in range(self.tasks)]
            values = [future.result(60) for future in futures]
            assert values == [2 * n for n in range(self.tasks)]

    def test_an_exception_is_that_of_its_own_task(self) -> None:
        """The tasks beside it are not harmed."""
        with self.started() as executor:
            one, bad, other = (
                executor.submit(task) for task in (("double", 1), ("fail", 2), ("double", 3))
            )
            with pytest.raises(ZeroDivisionError):
                bad.result(60)
            assert (one.result(60), other.result(60)) == (2, 6)

    def test_stopping_waits_for_what_has_begun(self) -> None:
        """And may be done twice."""
        executor = self.started()
        futures = [executor.submit(("sleep", 0.05)) for _ in range(5)]
        executor.stop()
        assert all(future.done() for future in futures)
        executor.stop()

    def test_a_timeout_ends_a_task_where_it_is_kept(self) -> None:
        """The worker takes the next one."""
        if not self.make().keeps_time:
            pytest.skip("this executor keeps no time")
        with self.started() as executor:
            begun = time.monotonic()
            late = executor.submit(("sleep", 60.0), timeout=0.5)
            with pytest.raises(TimeoutError):
                late.result(30)
            assert time.monotonic() - begun < 20
            assert executor.submit(("double", 4), timeout=20).result(30) == 8

    def test_stopping_at_once_ends_what_can_be_ended(self) -> None:
        """What has not begun is not begun."""
        executor = self.started()
        futures = [executor.submit(("sleep", 0.2)) for _ in range(20)]
        begun = time.monotonic()
        executor.stop(at_once=True)
        assert time.monotonic() - begun < 20
        assert all(future.done() for future in futures)


def _done(task: tuple[str, Any]) -> Any:
    kind, value = task
    if kind == "fail":
        return value / 0
    if kind == "sleep":
        time.sleep(value)
    return 2 * value


async def _awaited(task: tuple[str, Any]) -> Any:
    kind, value = task
    if kind == "sleep":
        await asyncio.sleep(value)
        return None
    return _done(task)
