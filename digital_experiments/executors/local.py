"""Executors in this process: one task after another, threads, an event loop."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Thread
from typing import Any

from digital_experiments.errors import TIMED_OUT
from digital_experiments.executors.base import Executor, Task, checked_workers
from digital_experiments.faults import is_timeout


class SerialExecutor(Executor):
    """One task after another, in this thread."""

    def __init__(self, workers: int | None = None) -> None:
        if workers not in (None, 1):
            raise ValueError(f"'serial' runs one after another: workers can't be {workers!r}.")

    def start(self, function: Task) -> None:
        """Take note of the function."""
        self._function = function

    def submit(self, argument: Any, timeout: float | None = None) -> Future[Any]:
        """Run it now."""
        future: Future[Any] = Future()
        try:
            future.set_result(self._function(argument))
        except Exception as problem:
            future.set_exception(problem)
        return future

    def stop(self, at_once: bool = False) -> None:
        """Nothing runs."""


class ThreadExecutor(Executor):
    """Threads of this process: for work that waits, or that lets other threads run."""

    shares_interpreter = True

    def __init__(self, workers: int | None = None) -> None:
        self.workers = checked_workers(workers)

    def start(self, function: Task) -> None:
        """Make the threads."""
        self._function = function
        self._pool = ThreadPoolExecutor(self.workers, "digital_experiments")

    def submit(self, argument: Any, timeout: float | None = None) -> Future[Any]:
        """Have a thread run it in a copy of this context."""
        return self._pool.submit(copy_context().run, self._function, argument)

    def stop(self, at_once: bool = False) -> None:
        """Wait for what has begun: a thread can't be ended from outside."""
        self._pool.shutdown(cancel_futures=at_once)


class AsyncExecutor(Executor):
    """Coroutines on an event loop of their own, in one thread."""

    awaits = True
    keeps_time = True

    def __init__(self, workers: int | None = None) -> None:
        self.workers = 100 if workers is None else checked_workers(workers)

    def start(self, function: Task) -> None:
        """Start the loop."""
        import asyncio

        self._function = function
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="digital_experiments loop")
        self._thread.start()

    def submit(self, argument: Any, timeout: float | None = None) -> Future[Any]:
        """Have the loop run it; it is cancelled when its time is over."""
        import asyncio

        return asyncio.run_coroutine_threadsafe(self._limited(argument, timeout), self._loop)

    async def _limited(self, argument: Any, timeout: float | None) -> Any:
        import asyncio

        task = asyncio.current_task()
        assert task is not None
        late = self._loop.call_later(timeout, task.cancel, TIMED_OUT) if timeout else None
        try:
            return await self._function(argument)
        except asyncio.CancelledError as problem:
            if is_timeout(problem):
                raise TimeoutError(TIMED_OUT) from None
            raise
        finally:
            if late is not None:
                late.cancel()

    def stop(self, at_once: bool = False) -> None:
        """Wait for what has begun, or cancel it; then stop the loop."""
        import asyncio

        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(at_once), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self, at_once: bool) -> None:
        import asyncio

        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks if at_once else ():
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
