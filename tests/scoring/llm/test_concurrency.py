import asyncio
import itertools
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from keras_sllmr.scoring.llm.concurrency import ahead, feed_and_work, run


def test_parts_are_drawn_in_order_and_in_another_thread() -> None:
    threads: set[int] = set()

    def numbers() -> Iterator[int]:
        for number in range(7):
            threads.add(threading.get_ident())
            yield number

    async def main() -> None:
        parts = [part async for part in ahead(numbers(), size=3)]
        assert parts == [[0, 1, 2], [3, 4, 5], [6]]

    run(main())
    assert threading.get_ident() not in threads


def test_an_endless_source_is_drawn_as_far_as_needed() -> None:
    drawn = itertools.count()

    async def main() -> None:
        async for part in ahead(drawn, size=5):
            if part[0] == 10:
                break

    run(main())
    assert next(drawn) <= 25


def test_an_error_of_the_source_is_raised() -> None:
    def numbers() -> Iterator[int]:
        yield from range(4)
        raise LookupError("the fifth")

    async def main() -> None:
        async for part in ahead(numbers(), size=3):
            assert part == [0, 1, 2]

    with pytest.raises(LookupError, match="the fifth"):
        run(main())


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _ended(ended: list[str], name: str) -> None:
    try:
        await _for_ever()
    finally:
        ended.append(name)


async def _raise(error: Exception) -> None:
    await asyncio.sleep(0)
    raise error


def test_workers_that_end_drop_the_feeder() -> None:
    ended: list[str] = []
    run(feed_and_work(_ended(ended, "feeder"), [asyncio.sleep(0), asyncio.sleep(0)]))
    assert ended == ["feeder"]


def test_the_first_error_ends_all() -> None:
    ended: list[str] = []
    with pytest.raises(LookupError):
        run(
            feed_and_work(
                _ended(ended, "feeder"),
                [_raise(LookupError()), _ended(ended, "worker")],
            )
        )
    assert sorted(ended) == ["feeder", "worker"]
    with pytest.raises(LookupError):
        run(feed_and_work(_raise(LookupError()), [_ended(ended, "another")]))
    assert "another" in ended


def test_a_swallowed_cancelling_is_repeated() -> None:
    ended: list[str] = []

    async def swallow() -> None:
        try:
            await _for_ever()
        except asyncio.CancelledError:
            await _ended(ended, "at the second time")

    with pytest.raises(LookupError):
        run(feed_and_work(_raise(LookupError()), [swallow()]))
    assert ended == ["at the second time"]


def test_workers_go_on_when_the_feeder_is_through() -> None:
    done: list[int] = []

    async def work() -> None:
        await asyncio.sleep(0.01)
        done.append(1)

    run(feed_and_work(asyncio.sleep(0), [work(), work()]))
    assert done == [1, 1]


def test_within_a_running_loop() -> None:
    seen: list[Any] = []

    async def main() -> None:
        seen.append(asyncio.get_running_loop())

    async def notebook() -> None:
        run(main())
        assert seen and seen[0] is not asyncio.get_running_loop()
        with pytest.raises(LookupError):
            run(_raise(LookupError()))

    asyncio.run(notebook())


def test_ctrl_c_within_a_running_loop_ends_what_runs() -> None:
    ended: list[str] = []

    def interrupt() -> None:
        # As in a notebook, whose own loop is what the signal meets.
        time.sleep(0.2)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    timer = threading.Thread(target=interrupt)

    async def notebook() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            run(_ended(ended, "asking"))
        assert ended == ["asking"]

    before = signal.getsignal(signal.SIGINT)
    try:
        asyncio.run(notebook())
    finally:
        signal.signal(signal.SIGINT, before)
        timer.join()
