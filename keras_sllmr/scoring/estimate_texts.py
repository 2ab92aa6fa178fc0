"""What written texts would come to: requests, tokens and money, nothing sent."""

from typing import Any

import numpy as np

from keras_sllmr.scoring.estimate import bill
from keras_sllmr.scoring.llm.tokens import TokenCounter, completion_bound
from keras_sllmr.scoring.llm.writer import TextWriter
from keras_sllmr.scoring.written_texts import (
    Prompts,
    chain_prompts,
    item_prompts,
    judge_prompts,
    user_prompts,
)
from keras_sllmr.store.draws import permutation
from keras_sllmr.store.split import LeaveOneOut

# Tokens of an English word, about.
_PER_WORD = 4 / 3
# Keeps this draw apart from the others.
_KEY = 111


def estimate_knowledge(
    split: LeaveOneOut,
    users: TextWriter,
    items: TextWriter,
    *,
    length: int = 20,
    **options: Any,
) -> dict[str, Any]:
    """What `written_knowledge` would come to.

    Args:
        split: as there.
        users: as there; needs no engine.
        items: likewise.
        length: as there.
        options: see `estimate_writing`.

    Returns:
        The `estimate_writing` of `users` and of `items`.
    """
    return {
        "users": estimate_writing(users, user_prompts(split, users, length), **options),
        "items": estimate_writing(items, item_prompts(split, items), **options),
    }


def estimate_chains(
    split: LeaveOneOut,
    users: np.ndarray,
    positions: np.ndarray,
    items: np.ndarray,
    labels: np.ndarray,
    *,
    writer: TextWriter,
    judge: TextWriter,
    samples: int = 3,
    length: int = 10,
    **options: Any,
) -> dict[str, Any]:
    """What `written_chains` would come to, if all of a row's chains differ.

    Args:
        split: as there, like all that is not told here.
        users: as there.
        positions: as there.
        items: as there.
        labels: as there.
        writer: as there; needs no engine.
        judge: likewise.
        samples: as there.
        length: as there.
        options: see `estimate_writing`.

    Returns:
        The `estimate_writing` of `chains` and of `ratings`.
    """
    prompts = chain_prompts(
        split, writer, users, positions, items, labels, length=length
    )
    # In place of the chains, as long as they are asked to be.
    words = "word " * writer.template.settings.words
    rated = range(samples) if samples > 1 else range(0)
    chains = [
        (row, f"{number} {words}")
        for number in rated
        for row, prompt in enumerate(prompts)
        if prompt is not None
    ]
    return {
        "chains": estimate_writing(writer, prompts, samples=samples, **options),
        "ratings": estimate_writing(judge, judge_prompts(prompts, chains), **options),
    }


def estimate_writing(
    writer: TextWriter,
    prompts: Prompts,
    *,
    samples: int = 1,
    most: int = 2000,
    latency: float = 2.0,
    batch: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Renders the prompts of texts and counts their tokens.

    Of more than `most` requests, a random sample of so many is counted and scaled up;
    `counted_requests` says how many. Re-asks and retries come on top; what a ledger
    holds already comes off.

    Args:
        writer: of the texts; needs no engine.
        prompts: as for `TextWriter.write`.
        samples: int. Likewise.
        most: int. Requests that are rendered and counted. Defaults to `2000`.
        latency: float, seconds. See `scoring.estimate.estimate`.
        batch: bool. Likewise.
        seed: int. Of the sample.

    Returns:
        Requests, prompt tokens, completion tokens as expected and at most, USD likewise
        (none without a known price), seconds, and one prompt as a sample.
    """
    questions = list(writer.questions(prompts, samples=samples).values())
    counter = TokenCounter(writer.settings.model)
    ratings, words = writer.template.settings.ratings, writer.template.settings.words
    expected = (
        counter.count_text(ratings.example) if ratings else round(_PER_WORD * words)
    )
    counted = [
        request
        for place in np.sort(permutation(len(questions), seed, _KEY)[:most])
        if (request := questions[place].next([])) is not None
    ]
    return {
        "counted_requests": len(counted),
        **bill(
            writer.settings,
            counter,
            requests=len(counted),
            prompt=sum(counter.count(each.body) for each in counted),
            written=expected * len(counted),
            most_written=sum(completion_bound(each.body) for each in counted),
            scale=len(questions) / max(len(counted), 1),
            latency=latency,
            batch=batch,
        ),
        "sample_prompt": counted[0].body["messages"] if counted else None,
    }
