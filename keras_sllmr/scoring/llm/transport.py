"""How an endpoint is asked: concurrency, limits, retries, patience."""

from pydantic import Field

from keras_sllmr.settings import Settings


class TransportSettings(Settings):
    """How an endpoint is asked.

    Args:
        concurrency: int. Requests under way at a time.
        requests_per_minute: int. Defaults to no limit.
        tokens_per_minute: int. Prompt and most completion tokens. Defaults to no limit.
        timeout: float, seconds. For one request.
        tries: int. Sendings of one request before it is given up.
        backoff: float, seconds. Longest first wait before another try; it doubles with
            each, jittered. An endpoint's Retry-After comes before it.
        longest_wait: float, seconds. Longest wait; an endpoint that asks for more ends
            the job, to be run again later.
        breaker_failures: int. Failures in a row after which the endpoint counts as down.
        breaker_seconds: float. Pause before a down endpoint is tried again.
        down_after: float, seconds. A job ends when it has been down for so long.
    """

    concurrency: int = Field(32, ge=1, le=4096)
    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)
    timeout: float = Field(120.0, gt=0)
    tries: int = Field(6, ge=1)
    backoff: float = Field(1.0, gt=0)
    longest_wait: float = Field(300.0, gt=0)
    breaker_failures: int = Field(12, ge=1)
    breaker_seconds: float = Field(10.0, gt=0)
    down_after: float = Field(300.0, gt=0)
