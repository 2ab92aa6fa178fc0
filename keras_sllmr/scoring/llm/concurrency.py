"""Running many tasks together: ahead of their use, to the first error, anywhere."""

import asyncio
import itertools
import queue
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Value = TypeVar("Value")


async def ahead(iterator: Iterator[Value], *, size: int) -> AsyncIterator[list[Value]]:
    """The iterator's values in parts, each drawn in a thread while the last is used."""

    def draw() -> list[Value]:
        return list(itertools.islice(iterator, size))

    upcoming = asyncio.create_task(asyncio.to_thread(draw))
    try:
        while part := await upcoming:
            upcoming = asyncio.create_task(asyncio.to_thread(draw))
            yield part
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)


async def feed_and_work(
    feed: Coroutine[Any, Any, None], work: Sequence[Coroutine[Any, Any, None]]
) -> None:
    """Runs a feeder and its workers until the workers end.

    The first error ends them all, and is raised; a feeder that still has something
    when its workers have ended is dropped.
    """
    feeder = asyncio.create_task(feed)
    workers = [asyncio.create_task(each) for each in work]
    together = asyncio.gather(*workers)
    try:
        both: set[asyncio.Future[Any]] = {feeder, together}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if feeder.done():
            feeder.result()
        await together
    finally:
        left: set[asyncio.Task[None]] = {feeder, *workers}
        while left:
            for task in left:
                task.cancel()
            # Before Python 3.12 `asyncio.wait_for` swallows a cancelling that comes as
            # its result does: such a task goes on, and is told again.
            _, left = await asyncio.wait(left, timeout=0.05)
        # All of them, or asyncio logs the errors that nobody asked for.
        await asyncio.gather(feeder, *workers, together, return_exceptions=True)


def run(main: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run`, also from within a running loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(main)
        return
    begun: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    async def cancellable() -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        begun.put(lambda: loop.call_soon_threadsafe(task.cancel))
        await main

    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(asyncio.run, cancellable())
        try:
            ending.result()
        except BaseException:
            # Ctrl-C reaches the main thread alone; nothing may be sent after it.
            if not ending.done():
                begun.get()()
            raise
