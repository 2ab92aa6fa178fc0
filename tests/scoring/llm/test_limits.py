import asyncio
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.limits import RateLimits


class VirtualClock(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to whatever comes next."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def skip(timeout: float | None) -> Any:
            # Some time must always pass, or what rounding leaves is waited for in vain.
            self.now += max(timeout or 0.0, 1e-6)
            return select(0)

        self._selector.select = skip  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now


def run(main: Coroutine[Any, Any, None]) -> None:
    loop = VirtualClock()
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


def admitted(
    limits: RateLimits, sizes: list[int], *, at_once: int = 50, pauses: Any = ()
) -> tuple[np.ndarray, np.ndarray]:
    """When requests of these sizes were let through, and their sizes then."""
    seen: list[tuple[float, int]] = []
    rest = iter(sizes)

    async def work() -> None:
        for size in rest:
            await limits.acquire(size)
            seen.append((asyncio.get_running_loop().time(), size))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for start, seconds in pauses:
            loop.call_at(start, limits.pause, seconds)
        await asyncio.gather(*(work() for _ in range(at_once)))

    run(main())
    times, amounts = zip(*seen, strict=True)
    return np.array(times), np.array(amounts)


def most_in_a_minute(times: np.ndarray, amounts: np.ndarray) -> float:
    """The largest sum over the minutes that begin with a request."""
    return max(
        amounts[(times >= start) & (times < start + 60 - 1e-6)].sum() for start in times
    )


@pytest.mark.parametrize("rate", [1, 2, 7, 19, 20, 30, 200, 999])
def test_no_minute_has_more_requests(rate: int) -> None:
    times, amounts = admitted(
        RateLimits(requests_per_minute=rate), [1] * (3 * rate + 3)
    )
    assert most_in_a_minute(times, np.ones_like(amounts)) <= rate
    # Nor much fewer than allowed.
    assert times[-1] <= 60 * (3 * rate + 3) / (0.9 * rate)


@pytest.mark.parametrize("rate", [30, 1000, 4321])
def test_no_minute_has_more_tokens(rate: int) -> None:
    burst = max(1, rate // 20)
    sizes = np.random.default_rng(rate).integers(1, burst + 1, 400).tolist()
    times, amounts = admitted(RateLimits(tokens_per_minute=rate), sizes)
    assert most_in_a_minute(times, amounts) <= rate
    assert times[-1] <= 60 * sum(sizes) / (0.9 * rate) + 1


def test_large_requests_are_above_it_by_one_at_most() -> None:
    sizes = [400, 10, 900, 3000, 10] * 8
    times, amounts = admitted(RateLimits(tokens_per_minute=1000), sizes)
    assert most_in_a_minute(times, amounts) <= 1000 + 3000
    assert times[-1] <= 60 * sum(sizes) / 900
    small = amounts <= 900
    assert most_in_a_minute(times[small], amounts[small]) <= 1000 + 900
    # In their turn: a large one does not wait for all the small ones.
    assert amounts.tolist() == sizes


def test_both_limits() -> None:
    sizes = [50, 1, 1, 1, 1, 1, 1, 1] * 30
    limits = RateLimits(requests_per_minute=40, tokens_per_minute=1000)
    times, amounts = admitted(limits, sizes)
    assert most_in_a_minute(times, np.ones_like(amounts)) <= 40
    assert most_in_a_minute(times, amounts) <= 1000 + 50


def test_a_pause_holds_everybody_and_is_not_made_up_for() -> None:
    times, amounts = admitted(
        RateLimits(requests_per_minute=60), [1] * 200, pauses=[(20, 100), (30, 5)]
    )
    assert not ((times > 20) & (times < 120)).any()
    assert (times >= 120).any()
    assert most_in_a_minute(times, amounts) <= 60


def test_a_pause_alone() -> None:
    async def main() -> None:
        limits = RateLimits()
        limits.pause(30)
        limits.pause(10)
        await limits.acquire(10**9)
        assert asyncio.get_running_loop().time() == pytest.approx(30)

    run(main())


def test_no_limit_does_not_wait() -> None:
    times, _ = admitted(RateLimits(), [10**9] * 1000)
    assert times[-1] < 0.1


@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute"])
def test_limits_must_be_positive(name: str) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` must be positive"):
        RateLimits(**{name: 0})
