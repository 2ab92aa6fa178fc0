import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.estimate import estimate
from keras_sllmr.scoring.job import AskingBlocks
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.sampler import CandidateSampler
from keras_sllmr.scoring.teachers.llm import LLMTeacher
from keras_sllmr.store.split import LeaveOneOut

CANDIDATES = CandidateSettings(near=0, tail_near=0, popular_pool=20, history=5)


@pytest.fixture(scope="module")
def sampler(shop: LeaveOneOut) -> CandidateSampler:
    return CandidateSampler(shop, CANDIDATES)


@pytest.fixture
def prices(tmp_path: Path) -> str:
    path = tmp_path / "prices.yaml"
    entry = {"prompt": 10.0, "completion": 100.0, "batch": 0.5}
    path.write_text(json.dumps({"models": {"local": entry}}))
    return str(path)


def test_it_is_what_the_job_then_sends(
    shop: LeaveOneOut,
    sampler: CandidateSampler,
    endpoint: Callable[..., Any],
    tmp_path: Path,
    prices: str,
) -> None:
    served = endpoint()
    settings = LLMSettings(
        model="local", base_url=served.base_url, per_request=7, prices=prices
    )
    said = estimate(sampler, settings)
    assert not served.bodies
    teacher = LLMTeacher.open(shop.store.item_texts, tmp_path / "ledger", settings)
    tally = teacher.ask(AskingBlocks(sampler, np.arange(1, shop.store.n_users + 1)))
    assert said["requests"] == tally["requests_sent"] == len(served.bodies)
    bodies = [json.loads(body) for body in served.bodies]
    most = sum(body["max_tokens"] for body in bodies)
    assert said["completion_tokens_at_most"] == most > said["completion_tokens"]
    # The endpoint reserves no more than what is said to be the most.
    written = teacher.ledger.totals().completion_tokens
    assert written <= said["completion_tokens"] * 1.3
    assert said["users"] == said["counted_users"] == 40
    assert said["sample_prompt"] in [body["messages"] for body in bodies]
    usd = (said["prompt_tokens"] * 10 + said["completion_tokens"] * 100) / 1e6
    assert said["usd"] == pytest.approx(usd, abs=1e-4)
    assert said["usd_at_most"] > said["usd"]
    teacher.ledger.close()


def test_a_sample_is_scaled_up(sampler: CandidateSampler) -> None:
    settings = LLMSettings(model="local", base_url="http://localhost/v1")
    every, some = estimate(sampler, settings), estimate(sampler, settings, most=20)
    assert (some["users"], some["counted_users"]) == (40, 20)
    for name in ("requests", "prompt_tokens", "completion_tokens"):
        assert some[name] == pytest.approx(every[name], rel=0.15)
    assert some == estimate(sampler, settings, most=20)
    assert some != estimate(sampler, settings, most=20, seed=1)


def test_without_a_price(sampler: CandidateSampler) -> None:
    settings = LLMSettings(model="local", base_url="http://localhost/v1")
    said = estimate(sampler, settings)
    assert said["usd"] is said["usd_at_most"] is said["price"] is None
    assert said["price_warning"] == "no price is known"
    assert said["tokens_counted_by"] == "estimate: bytes / 4"


def test_a_batch_costs_less(sampler: CandidateSampler, prices: str) -> None:
    settings = LLMSettings(model="local", base_url="http://localhost/v1", prices=prices)
    single, batch = estimate(sampler, settings), estimate(sampler, settings, batch=True)
    assert batch["usd"] == pytest.approx(single["usd"] / 2, abs=1e-4)
    assert batch["seconds"] is None and "24 hours" in batch["seconds_bound_by"]


@pytest.mark.parametrize(
    ("transport", "bound"),
    [
        ({"concurrency": 2}, "concurrency"),
        ({"requests_per_minute": 3}, "requests_per_minute"),
        ({"tokens_per_minute": 500}, "tokens_per_minute"),
    ],
)
def test_time(sampler: CandidateSampler, transport: dict[str, int], bound: str) -> None:
    settings = LLMSettings(
        model="local", base_url="http://localhost/v1", transport=transport
    )
    said = estimate(sampler, settings, latency=1.5)
    (limit,) = transport.values()
    tokens = said["prompt_tokens"] + said["completion_tokens_at_most"]
    amount = {
        "concurrency": said["requests"] * 1.5,
        "requests_per_minute": said["requests"] * 60,
        "tokens_per_minute": tokens * 60,
    }
    assert said["seconds"] == pytest.approx(amount[bound] / limit, abs=1)
    assert said["seconds_bound_by"] == bound


def test_progress(sampler: CandidateSampler) -> None:
    seen: list[tuple[int, int]] = []
    settings = LLMSettings(model="local", base_url="http://localhost/v1")
    estimate(sampler, settings, most=30, progress=lambda *at: seen.append(at))
    assert seen == [(30, 30)]
