"""Drives a generator as one run, from its first item to its end. Knows runs only.

The run is current only while the generator's own code works, never in its consumer's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

from digital_experiments.run import Run
from digital_experiments.values import encode


def drive(run: Run, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Hand on what a generator yields, and record it when it is exhausted or closed.

    The result is the list of what was yielded, each item as it was when it was yielded.
    """
    _begin(run)
    advance, value = generator.send, None
    try:
        while True:
            with run.active():
                item = advance(value)
            _keep(run, item)
            try:
                value, advance = (yield item), generator.send
            except GeneratorExit:
                with run.active():
                    generator.close()
                raise
            except BaseException as thrown:
                value, advance = thrown, generator.throw
    except (StopIteration, GeneratorExit) as stop:
        _finish(run, None)
        if isinstance(stop, GeneratorExit):
            raise
        return stop.value
    except BaseException as error:
        _finish(run, error)
        raise


async def drive_async(run: Run, generator: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    """As :func:`drive`, for an asynchronous generator."""
    _begin(run)
    advance, value = generator.asend, None
    try:
        while True:
            with run.active():
                item = await advance(value)
            _keep(run, item)
            try:
                value, advance = (yield item), generator.asend
            except GeneratorExit:
                with run.active():
                    await generator.aclose()
                raise
            except BaseException as thrown:
                value, advance = thrown, generator.athrow
    except (StopAsyncIteration, GeneratorExit) as stop:
        _finish(run, None)
        if isinstance(stop, GeneratorExit):
            raise
    except BaseException as error:
        _finish(run, error)
        raise


def _begin(run: Run) -> None:
    run.plain_result = []
    with run.active():
        run.begin()


def _keep(run: Run, item: object) -> None:
    assert run.plain_result is not None
    run.plain_result.append(encode(item, run.lost))


def _finish(run: Run, error: BaseException | None) -> None:
    with run.active():
        run.finish(error)
