import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.caps import Caps, Reservation, Spending
from keras_sllmr.scoring.llm.prices import Price
from keras_sllmr.scoring.llm.request import Usage

# A dollar a prompt token, two a completion token, half of it for cached ones.
DOLLAR = Price(prompt=1e6, completion=2e6, cached=5e5, batch=0.5)


def _reserve(spending: Spending, prompt: int, completion: int) -> Reservation:
    reservation = spending.reserve(prompt, completion)
    assert reservation is not None
    return reservation


def test_the_cap_in_usd() -> None:
    spending = Spending(Caps(max_usd=10), DOLLAR)
    first = _reserve(spending, 2, 2)
    assert first.usd == 6.0
    assert spending.reserve(2, 2) is None and not spending.exhausted(2, 2)
    assert spending.settle(first, Usage(prompt=2, completion=1, cached=2)) == 3.0
    second = _reserve(spending, 1, 3)
    assert spending.reserve(1, 0) is None
    spending.release(second)
    assert spending.exhausted(4, 2) == "max_usd" and not spending.exhausted(3, 2)
    assert spending.report()["usd"] == 3.0


def test_the_batch_api_costs_less() -> None:
    spending = Spending(Caps(max_usd=3), DOLLAR, batch=True)
    assert spending.settle(_reserve(spending, 2, 2), Usage(2, 2)) == 3.0
    assert spending.exhausted(1, 0)


def test_every_request_sent_counts() -> None:
    spending = Spending(Caps(max_requests=2))
    spending.release(_reserve(spending, 1, 1))
    _reserve(spending, 1, 1)
    assert spending.reserve(1, 1) is None
    assert spending.exhausted(1, 1) == "max_requests"


def test_a_cap_of_nothing_and_no_cap() -> None:
    assert Spending(Caps(max_tokens=0)).reserve(1, 0) is None
    assert Spending(Caps(max_requests=0)).exhausted(0, 0)
    assert Spending(Caps(max_usd=0), DOLLAR).reserve(1, 0) is None
    free = Spending(Caps(max_usd=0), Price(prompt=0, completion=0))
    assert free.reserve(10**9, 10**9) is not None
    assert Spending().reserve(10**12, 10**12) is not None


def test_an_unknown_fate_is_charged_in_full() -> None:
    spending = Spending(Caps(max_tokens=10), DOLLAR)
    assert spending.settle(_reserve(spending, 4, 2), None) == 8.0
    assert spending.exhausted(4, 1) and not spending.exhausted(4, 0)
    report = spending.report()
    assert report["unknown"] == {"requests": 1, "tokens": 6, "usd": 8.0}
    assert (report["tokens"], report["usd"]) == (6, 8.0)


def test_an_endpoint_that_reports_no_tokens_is_charged_in_full() -> None:
    spending = Spending(Caps(max_tokens=10))
    spending.settle(_reserve(spending, 4, 2), Usage())
    assert spending.report()["unknown"]["tokens"] == 6
    assert spending.exhausted(4, 1) == "max_tokens"


def test_earlier_runs_count() -> None:
    caps = Caps(max_usd=10, max_requests=5, max_tokens=100)
    assert Spending(caps, DOLLAR, usd=9.5).exhausted(1, 0)
    assert Spending(caps, DOLLAR, requests=5).exhausted(1, 0)
    assert Spending(caps, DOLLAR, tokens=99).exhausted(1, 1)
    spending = Spending(caps, DOLLAR, usd=1.5, requests=2, tokens=20)
    spending.settle(_reserve(spending, 3, 1), Usage(3, 1))
    report = spending.report()
    assert (report["requests"], report["tokens"], report["usd"]) == (3, 24, 6.5)
    assert report["this_run"] == {
        "requests": 1,
        "prompt_tokens": 3,
        "cached_tokens": 0,
        "completion_tokens": 1,
        "usd": 5.0,
    }


def test_more_than_reserved_is_told_and_counted() -> None:
    spending = Spending(Caps(max_tokens=10))
    spending.settle(_reserve(spending, 5, 5), Usage(8, 9))
    report = spending.report()
    assert (report["tokens"], report["beyond_bound"], report["usd"]) == (17, 1, None)
    assert spending.exhausted(0, 0)


def test_a_reservation_ends_once() -> None:
    spending = Spending()
    reservation = _reserve(spending, 1, 1)
    spending.release(reservation)
    with pytest.raises(ConfigError, match="settled or released once"):
        spending.settle(reservation, None)


def test_caps_that_can_not_be_kept() -> None:
    with pytest.raises(ConfigError, match="needs the model's price"):
        Spending(Caps(max_usd=1))
    for wrong in ({"max_usd": -1}, {"max_requests": -1}, {"max_usd": float("nan")}):
        with pytest.raises(ValidationError):
            Caps(**wrong)


_TOKENS = st.integers(0, 50)
_CAP = st.none() | st.integers(0, 400)


@given(
    _CAP,
    _CAP,
    _CAP,
    st.lists(
        st.tuples(
            st.sampled_from(["reserve", "settle", "release", "lost"]),
            _TOKENS,
            _TOKENS,
            st.floats(0, 1),
        ),
        max_size=60,
    ),
)
def test_no_cap_is_ever_exceeded(
    usd: int | None,
    requests: int | None,
    tokens: int | None,
    steps: list[tuple[str, int, int, float]],
) -> None:
    caps = Caps(max_usd=usd, max_requests=requests, max_tokens=tokens)
    price = Price(prompt=0.3e6, completion=1.7e6, cached=0.1e6)
    spending = Spending(caps, price)
    under_way: list[Reservation] = []
    spent = 0.0
    for step, prompt, completion, part in steps:
        if step == "reserve":
            reservation = spending.reserve(prompt, completion)
            if reservation is not None:
                under_way.append(reservation)
            elif not under_way:
                assert spending.exhausted(prompt, completion)
        elif under_way:
            reservation = under_way.pop(int(part * (len(under_way) - 1)))
            if step == "release":
                spending.release(reservation)
            else:
                used = Usage(
                    int(part * reservation.prompt),
                    int(part * reservation.completion),
                    int(part * reservation.prompt / 2),
                )
                spent += spending.settle(
                    reservation, used if step == "settle" else None
                )
        report = spending.report()
        assert usd is None or report["usd"] <= usd + 1e-9
        assert requests is None or report["requests"] <= requests
        assert tokens is None or report["tokens"] <= tokens
        assert report["usd"] == pytest.approx(spent)
        assert report["under_way"] == len(under_way)


def test_what_one_run_leaves_another_takes_up():
    price = Price(prompt=1.0, completion=2.0, batch=0.5)
    caps = Caps(max_tokens=200, max_requests=2)
    first = Spending(caps, price, batch=True)
    reservation = first.reserve(100, 50)
    first.leave(reservation)
    # As much as if it were still reserved.
    assert first.reserve(40, 11) is None
    assert first.exhausted(40, 11) == "max_tokens"
    report = first.report()
    assert (report["tokens"], report["under_way"]) == (150, 0)
    usd = reservation.usd

    second = Spending(caps, price, batch=True, requests=1, tokens=150, usd=usd)
    resumed = second.resume(100, 50)
    assert resumed.usd == usd == pytest.approx((100 * 1.0 + 50 * 2.0) * 0.5 / 1e6)
    second.settle(resumed, Usage(prompt=90, completion=10))
    report = second.report()
    assert (report["requests"], report["tokens"]) == (1, 100)
    assert report["usd"] == pytest.approx((90 * 1.0 + 10 * 2.0) * 0.5 / 1e6)
    assert second.reserve(90, 11) is None
    assert second.reserve(90, 10) is not None


def test_what_was_never_sent_is_withdrawn():
    spending = Spending(Caps(max_requests=1))
    spending.leave(spending.reserve(10, 5))
    assert spending.reserve(1, 1) is None
    spending.withdraw(10, 5)
    assert spending.report()["tokens"] == 0
    assert spending.reserve(1, 1) is not None
