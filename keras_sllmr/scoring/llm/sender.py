"""One request from first try to answer: limits, caps, breaker, retries, ledger."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import CLOSED, HALF_OPENED, OpenedState
from purgatory.service._async.circuitbreaker import AsyncCircuitBreaker

from keras_sllmr.errors import EndpointError
from keras_sllmr.scoring.llm.caps import Reservation, Spending
from keras_sllmr.scoring.llm.client import Client, Unanswered
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.limits import RateLimits
from keras_sllmr.scoring.llm.request import Answer, Request
from keras_sllmr.scoring.llm.retries import require_use, retrying
from keras_sllmr.scoring.llm.tally import Tally
from keras_sllmr.scoring.llm.tokens import TokenCounter, completion_bound
from keras_sllmr.scoring.llm.transport import TransportSettings

# So many bad requests in a row, and not one answer: the job is set up wrongly.
_HOPELESS = 20


class CapReached(Exception):
    """Nothing more may be spent; names the cap."""


class Sender:
    """Answers requests from the ledger, or else from the endpoint.

    Args:
        client: of the endpoint.
        ledger: where every sending and every answer is kept.
        spending: what may be spent.
        counter: counts a request's tokens before it is sent.
        settings: see `TransportSettings`.
        tally: counts what happens.
    """

    def __init__(
        self,
        client: Client,
        ledger: Ledger,
        *,
        spending: Spending,
        counter: TokenCounter,
        settings: TransportSettings,
        tally: Tally,
    ) -> None:
        self.client, self.ledger = client, ledger
        self.spending, self.counter = spending, counter
        self.settings, self.tally = settings, tally
        self._limits = RateLimits(
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
        )
        self._settled = asyncio.Condition()
        self._alive = time.monotonic()
        self._bad_in_a_row = 0
        self._breaker: AsyncCircuitBreaker | None = None
        self._on_trial = False
        self._under_way: dict[str, asyncio.Event] = {}

    async def answer(self, request: Request) -> Answer:
        """The answer to a request; one with a `reason` when it is given up.

        Raises:
            CapReached: when a cap does not allow it to be sent.
            EndpointError: when there is no use in asking on.
        """
        while (other := self._under_way.get(request.key)) is not None:
            await other.wait()
        known = self.ledger.get(request.key)
        if known is not None:
            self.tally.reused += 1
            return known
        self._under_way[request.key] = ended = asyncio.Event()
        try:
            return await self._ask(request)
        finally:
            del self._under_way[request.key]
            ended.set()

    async def _ask(self, request: Request) -> Answer:
        """Tries until there is an answer, or gives up."""
        try:
            answer: Answer = await retrying(self.settings)(self._try, request)
        except Unanswered as error:
            self.tally.failed[error.reason] += 1
            self.ledger.give_up(request.key, error.reason)
            self._require_hope(error)
            return Answer(reason=error.reason)
        self._bad_in_a_row = 0
        return answer

    async def _try(self, request: Request) -> Answer:
        completion = completion_bound(request.body)
        prompt = self.counter.bound(request.body)
        reservation = await self._reserve(prompt, completion)
        try:
            return await self._send(request, reservation)
        finally:
            async with self._settled:
                self._settled.notify_all()

    async def _send(self, request: Request, reservation: Reservation) -> Answer:
        """Sends once, and settles the reservation however that ends."""
        sent = None
        try:
            async with self._admitted(request):
                sent = self.ledger.begin(
                    request.key,
                    prompt=reservation.prompt,
                    completion=reservation.completion,
                    usd=reservation.usd,
                )
                self.tally.sent += 1
                answer = await self.client.send(request)
        except BaseException as error:
            # Interrupted: the endpoint may still answer, and bill.
            reason, billed = "interrupted", True
            if isinstance(error, Unanswered):
                reason, billed = error.reason, error.billed
            if sent is not None and billed:
                self.spending.settle(reservation, None)
            else:
                self.spending.release(reservation)
            if sent is not None:
                self.ledger.unanswered(sent, reason, billed=billed)
            if isinstance(error, Unanswered):
                self._heed(error)
            raise
        self._alive = time.monotonic()
        usd = self.spending.settle(reservation, answer.usage)
        self.ledger.answer(sent, request.key, answer, usd=usd)
        self.tally.answered += 1
        return answer

    async def _reserve(self, prompt: int, completion: int) -> Reservation:
        """Waits for what is under way to settle before it calls a cap reached."""
        while True:
            reservation = self.spending.reserve(prompt, completion)
            if reservation is not None:
                return reservation
            if reached := self.spending.exhausted(prompt, completion):
                raise CapReached(reached)
            async with self._settled:
                await self._settled.wait()

    @contextlib.asynccontextmanager
    async def _admitted(self, request: Request) -> AsyncIterator[None]:
        """Holds the request back until it may be sent, and tells the breaker its end."""
        tokens = self.counter.count(request.body) + completion_bound(request.body)
        while True:
            breaker = await self._closed_breaker()
            # Last, as what waits with its allowance in hand adds to a later minute.
            await self._limits.acquire(tokens)
            state = breaker.context.state
            if state == CLOSED or (state == HALF_OPENED and not self._on_trial):
                break
        # One request alone finds out whether an endpoint is up again.
        trial = state == HALF_OPENED
        self._on_trial = self._on_trial or trial
        try:
            async with breaker:
                yield
        finally:
            if trial:
                self._on_trial = False

    async def _closed_breaker(self) -> AsyncCircuitBreaker:
        """The circuit breaker, once it lets requests through."""
        if self._breaker is None:
            factory = AsyncCircuitBreakerFactory(
                self.settings.breaker_failures,
                self.settings.breaker_seconds,
                # An endpoint that answers, if only to refuse, is not down.
                exclude=[(Unanswered, lambda error: not error.down)],
            )
            self._breaker = await factory.get_breaker("endpoint")
        while True:
            try:
                # Asks without entering: that is left to the caller, at once.
                self._breaker.context.handle_new_request()
                if not self._on_trial:
                    return self._breaker
            except OpenedState:
                down = time.monotonic() - self._alive
                if down > self.settings.down_after:
                    raise EndpointError(
                        f"The endpoint has been down for {down:.0f} s. Every answer so "
                        "far is kept; run this again when it is up."
                    ) from None
            await asyncio.sleep(self.settings.breaker_seconds)

    def _heed(self, error: Unanswered) -> None:
        """Draws the consequences of a failure for the requests to come."""
        if not error.down:
            self._alive = time.monotonic()
        require_use(error, self.settings)
        if error.retry_after is not None:
            self._limits.pause(error.retry_after)

    def _require_hope(self, error: Unanswered) -> None:
        self._bad_in_a_row = 0 if error.retry else self._bad_in_a_row + 1
        if self._bad_in_a_row >= _HOPELESS and not self.tally.answered:
            raise EndpointError(
                f"The endpoint refused the first {_HOPELESS} requests: {error.reason}. "
                f"{error.message} Does it know the parameters that are sent? "
                "`structured: none` sends no JSON schema."
            ) from error
