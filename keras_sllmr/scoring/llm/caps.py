"""Hard caps on what a job may cost, checked before every request."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.prices import Price
from keras_sllmr.scoring.llm.request import Usage
from keras_sllmr.settings import Settings


class Caps(Settings):
    """The most that a job may cost, over all its runs; none is no cap.

    Args:
        max_usd: float ≥ 0, USD.
        max_requests: int ≥ 0. Every request sent counts, retries included.
        max_tokens: int ≥ 0. Prompt and completion tokens together.
    """

    max_usd: float | None = Field(None, ge=0, allow_inf_nan=False)
    max_requests: int | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=0)


@dataclass(frozen=True, eq=False)
class Reservation:
    """What a request under way may cost at most.

    Args:
        prompt: int. Tokens.
        completion: int. Tokens.
        usd: float, USD; 0 without a price.
    """

    prompt: int
    completion: int
    usd: float = 0.0


class Spending:
    """Money spent and reserved, against caps.

    A request is reserved at its bound before it is sent, so that whatever is under way
    can not exceed a cap: a request fits if `spent + reserved + its bound <= cap`. Money
    is reckoned from whole tokens; sums do not drift.

    Args:
        caps: the caps.
        price: the model's; none where nothing is said in USD.
        batch: bool. Whether requests go through the batch API.
        requests: int. Sent by earlier runs of the job.
        tokens: int. Charged to them.
        usd: float, USD. Charged to them.

    Raises:
        ConfigError: on a cap in USD without a price.

    Example:
        >>> spending = Spending(Caps(max_tokens=100))
        >>> first = spending.reserve(40, 20)
        >>> spending.reserve(40, 20), spending.exhausted(40, 20)
        (None, '')
        >>> spending.settle(first, Usage(prompt=35, completion=5))
        0.0
        >>> spending.reserve(40, 20)
        Reservation(prompt=40, completion=20, usd=0.0)
        >>> spending.exhausted(40, 21)
        'max_tokens'
    """

    def __init__(
        self,
        caps: Caps | None = None,
        price: Price | None = None,
        *,
        batch: bool = False,
        requests: int = 0,
        tokens: int = 0,
        usd: float = 0.0,
    ) -> None:
        self.caps, self.price, self.batch = caps or Caps(), price, batch
        if self.caps.max_usd is not None and price is None:
            raise ConfigError(
                "A cap in USD needs the model's price. Received: max_usd="
                f"{self.caps.max_usd} and no price"
            )
        self._earlier = {"requests": requests, "tokens": tokens, "usd": usd}
        self._requests = self._unknown_requests = self._beyond = 0
        self._spent, self._reserved, self._unknown = Usage(), Usage(), Usage()
        # Sums; what is resumed may have been left by earlier runs.
        self._left, self._resumed = Usage(), Usage()
        self._open: set[Reservation] = set()

    def reserve(self, prompt: int, completion: int) -> Reservation | None:
        """Sets a request's bound aside, and counts it as sent.

        Args:
            prompt: int. Prompt tokens at most.
            completion: int. Completion tokens at most.

        Returns:
            What to settle or release when the request ends; none when it could exceed a
            cap, and must not be sent.
        """
        bound = Usage(prompt, completion)
        if self._reached(_plus(self._reserved, bound)):
            return None
        self._requests += 1
        self._reserved = _plus(self._reserved, bound)
        reservation = Reservation(prompt, completion, self._usd(bound))
        self._open.add(reservation)
        return reservation

    def exhausted(self, prompt: int, completion: int) -> str:
        """The cap that stops a request even if all under way cost nothing, or ""."""
        return self._reached(Usage(prompt, completion))

    def settle(self, reservation: Reservation, usage: Usage | None) -> float:
        """Charges a request that ended.

        Args:
            reservation: from `reserve`.
            usage: tokens, as the endpoint counts them, charged even where they exceed
                the reservation; none when the request may have been billed but nobody
                knows (a timeout, a lost connection): all of the reservation is charged,
                as it is when an endpoint reports no tokens at all.

        Returns:
            What was charged, USD; 0 without a price.
        """
        bound = self._close(reservation)
        if usage is None or usage == Usage():
            charged = bound
            self._unknown_requests += 1
            self._unknown = _plus(self._unknown, bound)
        else:
            charged = _plus(Usage(), usage)
            beyond = usage.prompt > bound.prompt or usage.completion > bound.completion
            self._beyond += int(beyond)
        self._spent = _plus(self._spent, charged)
        return self._usd(charged)

    def release(self, reservation: Reservation) -> None:
        """Frees the money of a request that is certainly not billed, e.g. a 429.

        It still counts as sent.
        """
        self._close(reservation)

    def leave(self, reservation: Reservation) -> None:
        """Sets a reservation aside for `resume`, in this run or another.

        It stays reserved; the ledger knows it.
        """
        self._left = _plus(self._left, self._close(reservation))

    def resume(self, prompt: int, completion: int) -> Reservation:
        """Takes up what was left under way: it can be settled or released again.

        Args:
            prompt: int. As reserved.
            completion: int. As reserved.
        """
        bound = Usage(prompt, completion)
        self._resumed = _plus(self._resumed, bound)
        self._reserved = _plus(self._reserved, bound)
        reservation = Reservation(prompt, completion, self._usd(bound))
        self._open.add(reservation)
        return reservation

    def withdraw(self, prompt: int, completion: int) -> None:
        """Frees what was left under way and turns out never to have been sent."""
        self._resumed = _plus(self._resumed, Usage(prompt, completion))
        self._earlier["requests"] -= 1

    def report(self) -> dict[str, Any]:
        """Totals over all runs, this run's tokens, and what is of unknown fate.

        USD figures are none without a price.
        """
        tokens = self._spent.prompt + self._spent.completion
        unknown = self._unknown.prompt + self._unknown.completion
        priced = self.price is not None
        return {
            "requests": self._earlier["requests"] + self._requests,
            "tokens": self._earlier["tokens"] + self._left_tokens + tokens,
            "usd": (
                self._earlier["usd"] + self._left_usd + self._usd(self._spent)
                if priced
                else None
            ),
            "this_run": {
                "requests": self._requests,
                "prompt_tokens": self._spent.prompt,
                "cached_tokens": self._spent.cached,
                "completion_tokens": self._spent.completion,
                "usd": self._usd(self._spent) if priced else None,
            },
            "unknown": {
                "requests": self._unknown_requests,
                "tokens": unknown,
                "usd": self._usd(self._unknown) if priced else None,
            },
            "beyond_bound": self._beyond,
            "under_way": len(self._open),
            "caps": self.caps.model_dump(exclude_none=True),
        }

    def _reached(self, more: Usage) -> str:
        """The cap that one more request breaks, if it and others cost `more`."""
        total, caps, earlier = _plus(self._spent, more), self.caps, self._earlier
        amounts = (
            (
                "max_usd",
                caps.max_usd,
                earlier["usd"] + self._left_usd + self._usd(total),
            ),
            (
                "max_requests",
                caps.max_requests,
                earlier["requests"] + self._requests + 1,
            ),
            (
                "max_tokens",
                caps.max_tokens,
                earlier["tokens"] + self._left_tokens + total.prompt + total.completion,
            ),
        )
        broken = (
            name for name, cap, amount in amounts if cap is not None and amount > cap
        )
        return next(broken, "")

    @property
    def _left_tokens(self) -> int:
        """Net of what was taken over from earlier runs, so it may be negative."""
        left, resumed = self._left, self._resumed
        return left.prompt + left.completion - resumed.prompt - resumed.completion

    @property
    def _left_usd(self) -> float:
        return self._usd(self._left) - self._usd(self._resumed)

    def _close(self, reservation: Reservation) -> Usage:
        if reservation not in self._open:
            raise ConfigError(
                "A reservation can be settled or released once. Received again: "
                f"{reservation}"
            )
        self._open.remove(reservation)
        bound = Usage(reservation.prompt, reservation.completion)
        self._reserved = _plus(self._reserved, bound, -1)
        return bound

    def _usd(self, usage: Usage) -> float:
        return self.price.usd(usage, batch=self.batch) if self.price else 0.0


def _plus(usage: Usage, other: Usage, sign: int = 1) -> Usage:
    return Usage(
        usage.prompt + sign * other.prompt,
        usage.completion + sign * other.completion,
        usage.cached + sign * min(other.cached, other.prompt),
    )
