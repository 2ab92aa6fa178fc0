"""When a request is sent again, after what wait, and when there is no use in it."""

import tenacity
from tenacity.stop import stop_base

from keras_sllmr.errors import EndpointError
from keras_sllmr.scoring.llm.client import Unanswered
from keras_sllmr.scoring.llm.transport import TransportSettings


def retrying(
    settings: TransportSettings, *, stop: stop_base | None = None
) -> tenacity.AsyncRetrying:
    """Tries again what may pass, at growing and jittered intervals.

    Args:
        settings: see `TransportSettings`.
        stop: when to give up. Defaults to after `settings.tries`.
    """
    exponential = tenacity.wait_random_exponential(
        multiplier=settings.backoff, max=settings.longest_wait
    )

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        jittered = exponential(state)
        if isinstance(error, Unanswered) and error.retry_after is not None:
            # The jitter keeps those who were told the same from coming back as one.
            return error.retry_after + min(jittered, settings.backoff)
        return jittered

    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_may_retry),
        stop=stop or tenacity.stop_after_attempt(settings.tries),
        wait=wait,
        reraise=True,
    )


def require_use(error: Unanswered, settings: TransportSettings) -> None:
    """Ends the job when an error says that there is no use in asking on.

    Raises:
        EndpointError: when every request must fail, or the endpoint asks for too long
            a wait.
    """
    if error.final:
        raise EndpointError(
            f"The endpoint refuses: {error.reason}. {error.message} Check the key, "
            "the model's name and `base_url`. Every answer so far is kept."
        ) from error
    if error.retry_after is not None and error.retry_after > settings.longest_wait:
        raise EndpointError(
            f"The endpoint asks to wait {error.retry_after:.0f} s ({error.reason}). "
            "Run this again then, or raise `longest_wait`. Every answer so far is "
            "kept."
        ) from error


def _may_retry(error: BaseException) -> bool:
    return isinstance(error, Unanswered) and error.retry
