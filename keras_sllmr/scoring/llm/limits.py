"""How fast an endpoint may be asked: requests and tokens a minute, and pauses."""

import asyncio
import math

from aiolimiter import AsyncLimiter

from keras_sllmr.errors import ConfigError

# Share of a minute's allowance that may go out at once; the rest drips.
_BURST = 0.05


class RateLimits:
    """Keeps every minute, wherever it begins, within an endpoint's limits.

    A minute's tokens may be above the limit by a single request, if that request alone
    has more than a twentieth of the limit or had to wait for its turn.

    Args:
        requests_per_minute: int. Defaults to no limit.
        tokens_per_minute: int. Prompt and most completion tokens. Defaults to no limit.

    Raises:
        ConfigError: when a limit is not positive.
    """

    def __init__(
        self,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> None:
        self._requests = _limiter("requests_per_minute", requests_per_minute)
        self._tokens = _limiter("tokens_per_minute", tokens_per_minute)
        self._paused_until = -math.inf
        # One at a time: many that each hold a part of what they need would go at once.
        self._turn = asyncio.Lock()

    async def acquire(self, tokens: int) -> None:
        """Waits until a request of so many tokens may be sent, which is then."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            while True:
                while (wait := self._paused_until - loop.time()) > 0:
                    await asyncio.sleep(wait)
                await self._allowance(tokens)
                # Else what was allowed before a pause would add to what is after it.
                if self._paused_until <= loop.time():
                    return

    async def _allowance(self, tokens: int) -> None:
        if self._tokens is not None:
            # Larger than the bucket: in bucketfuls, so that the rate still holds.
            while tokens > 0:
                portion = min(tokens, self._tokens.max_rate)
                await self._tokens.acquire(portion)
                tokens -= int(portion)
        if self._requests is not None:
            await self._requests.acquire()

    def pause(self, seconds: float) -> None:
        """Holds every request back for some time, as the endpoint asked."""
        until = asyncio.get_running_loop().time() + seconds
        self._paused_until = max(self._paused_until, until)


def _limiter(name: str, rate: int | None) -> AsyncLimiter | None:
    if rate is None:
        return None
    if not rate > 0:
        raise ConfigError(f"`{name}` must be positive. Received: {name}={rate}")
    burst = max(1, int(rate * _BURST))
    # A minute sees the burst and what drips in it: together the rate, if it allows.
    drip = max(rate - burst, rate * (1 - _BURST))
    return AsyncLimiter(burst, 60 * burst / drip)
