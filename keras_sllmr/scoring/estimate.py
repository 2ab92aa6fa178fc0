"""What a scoring job would come to: requests, tokens, money and time, nothing sent."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_sllmr.scoring.job import AskingBlocks
from keras_sllmr.scoring.llm.connect import known_price
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.request import Usage
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.llm.tokens import TokenCounter, completion_bound
from keras_sllmr.scoring.sampler import CandidateSampler
from keras_sllmr.scoring.teachers.llm import LLMTeacher
from keras_sllmr.store.draws import permutation

# Keeps this draw apart from those of the candidates.
_KEY = 110


def estimate(
    sampler: CandidateSampler,
    settings: LLMSettings,
    *,
    most: int = 2000,
    latency: float = 2.0,
    batch: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Renders the prompts of a job and counts their tokens.

    With more than `most` users a random sample of so many is counted and scaled up;
    `counted_users` says of how many the figures are. Re-asks and retries come on top.

    Args:
        sampler: of the candidates.
        settings: of the language model.
        most: int. Users whose prompts are rendered and counted.
        latency: float, seconds. Assumed for one request, for the time that
            `concurrency` allows; the rates' limits give another bound.
        batch: bool. Whether the Batch API's price holds.
        seed: int. Of the sample.
        progress: called with (users done, all users to count).

    Returns:
        Requests, prompt tokens, completion tokens as expected and at most, USD
        likewise (none without a known price), seconds, and one prompt as a sample.
    """
    n_users = sampler.split.store.n_users
    users = np.sort(1 + permutation(n_users, seed, _KEY)[:most])
    teacher = LLMTeacher(sampler.split.store.item_texts, Ledger(":memory:"), settings)
    counter = TokenCounter(settings.model)
    requests = prompt = written = most_written = 0
    sample: Any = None
    done, chunk = 0, 128
    for start in range(0, len(users), chunk):
        part = users[start : start + chunk]
        for histories, candidates in AskingBlocks(sampler, part, chunk=chunk):
            for history, wanted in zip(histories, candidates, strict=True):
                for question, places in teacher.questions(history, wanted):
                    request = question.next([])
                    if request is None:
                        continue
                    requests += 1
                    prompt += counter.count(request.body)
                    most_written += completion_bound(request.body)
                    written += counter.count_text(
                        teacher.template.answer.example(len(places))
                    )
                    sample = sample or request.body["messages"]
        done += len(part)
        if progress:
            progress(done, len(users))
    scale = n_users / max(len(users), 1)
    return {
        "users": n_users,
        "counted_users": len(users),
        **bill(
            settings,
            counter,
            requests=requests,
            prompt=prompt,
            written=written,
            most_written=most_written,
            scale=scale,
            latency=latency,
            batch=batch,
        ),
        "sample_prompt": sample,
    }


def bill(
    settings: LLMSettings,
    counter: TokenCounter,
    *,
    requests: int,
    prompt: int,
    written: int,
    most_written: int,
    scale: float = 1.0,
    latency: float = 2.0,
    batch: bool = False,
) -> dict[str, Any]:
    """What counted requests come to in tokens, money and time.

    Args:
        settings: of the language model.
        counter: that counted the tokens.
        requests: int. How many were counted.
        prompt: int. Tokens of their prompts.
        written: int. Tokens of the answers, as expected.
        most_written: int. The same at most.
        scale: float. All requests for each that was counted. Defaults to `1`.
        latency: float, seconds. See `estimate`.
        batch: bool. See `estimate`.
    """
    price = known_price(settings.model, settings.prices)

    def usd(completion: int) -> float | None:
        if price is None:
            return None
        return round(price.usd(Usage(prompt, completion), batch=batch) * scale, 4)

    transport = settings.transport
    seconds = {
        "concurrency": requests * scale * latency / transport.concurrency,
        "requests_per_minute": requests * scale * 60 / transport.requests_per_minute
        if transport.requests_per_minute
        else 0.0,
        "tokens_per_minute": (prompt + most_written)
        * scale
        * 60
        / transport.tokens_per_minute
        if transport.tokens_per_minute
        else 0.0,
    }
    slowest = max(seconds, key=lambda name: seconds[name])
    return {
        "model": settings.model,
        "requests": round(requests * scale),
        "prompt_tokens": round(prompt * scale),
        "completion_tokens": round(written * scale),
        "completion_tokens_at_most": round(most_written * scale),
        "tokens_counted_by": counter.name,
        "usd": usd(written),
        "usd_at_most": usd(most_written),
        "price": None if price is None else price.model_dump(mode="json"),
        "price_warning": (price.warning or None) if price else "no price is known",
        "seconds": None if batch else round(seconds[slowest]),
        "seconds_bound_by": "the Batch API's 24 hours" if batch else slowest,
        "latency_assumed": latency,
    }
