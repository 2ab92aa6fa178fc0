"""Makes the in-context examples: a pool, its chains, and each row's nearest."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.descriptions import chain_texts
from keras_sllmr.scoring.encoders.base import TextEncoder
from keras_sllmr.scoring.progress import Progress, Told
from keras_sllmr.scoring.retrieval import ExampleRetrieval
from keras_sllmr.store.draws import integers, permutation
from keras_sllmr.store.examples import ExamplePool, Examples
from keras_sllmr.store.history import history_before
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.store_table import require_texts, with_empty_row
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.store.training_rows import TrainingRows

_POOL, _NEGATIVE = 303, 304


def example_pool(rows: TrainingRows, *, share: float = 0.1) -> ExamplePool:
    """A share of the training positives, each followed by one of its negatives.

    A pure function of the rows and their seed.

    Args:
        rows: the training rows.
        share: float in (0, 1]. Of the positives; at least one. Defaults to `0.1`.

    Raises:
        ConfigError: when the share is out of its range.
    """
    if not 0 < share <= 1:
        raise ConfigError(
            f"`share` of the positives must be in (0, 1]. Received: share={share}"
        )
    many = max(1, round(share * len(rows)))
    drawn = np.sort(permutation(len(rows), rows.seed, _POOL)[:many])
    users, positions = rows.users[drawn], rows.positions[drawn]
    negative = 1 + integers(rows.sets, rows.seed, _NEGATIVE, users, positions)
    items = np.stack([rows.items[drawn, 0], rows.items[drawn, negative]], axis=1)
    return ExamplePool(
        users=with_empty_row(np.repeat(users, 2)),
        positions=with_empty_row(np.repeat(positions, 2)),
        items=with_empty_row(items.ravel()),
        labels=with_empty_row(np.tile([1, 0], many)),
    )


def make_examples(
    split: LeaveOneOut,
    encoder: TextEncoder,
    text: TextVectors,
    path: str | os.PathLike[str],
    *,
    share: float = 0.1,
    sets: int = 4,
    seed: int = 0,
    k: int = 4,
    history: int = 20,
    dimensions: int | None = 192,
    chains: Sequence[str] | None = None,
    source: str = "description",
    teacher: dict[str, Any] | None = None,
    cost: dict[str, Any] | None = None,
    chunk: int = 128,
    progress: Progress | None = None,
) -> Examples:
    """Draws examples, encodes their chains and finds every training row's nearest.

    Args:
        split: the store's split.
        encoder: of the chains; an empty text gets a zero vector.
        text: the items' text vectors, by which examples are found.
        path: the table's folder.
        share: float. See `example_pool`. Defaults to `0.1`.
        sets: int. Sampled negatives a training positive. Defaults to `4`.
        seed: int. Of the negatives and the pool.
        k: int. Examples a row, half of each label; even. Defaults to `4`.
        history: int. Last events that examples are found by. Defaults to `20`.
        dimensions: int or none. See `ExampleRetrieval`. Defaults to `192`.
        chains: a text an example of `example_pool`, the first one no example's.
            Defaults to `descriptions.chain_texts`.
        source: str. Who wrote the chains, `"llm"` or `"description"`. Defaults to
            `"description"`.
        teacher: name, model and prompt hash of who wrote them. Defaults to none.
        cost: requests, tokens, price of the chains. Defaults to none.
        chunk: int. Training positives at a time.
        progress: called with (done, all) examples and then training positives.

    Returns:
        The table, opened.

    Raises:
        ConfigError: when a setting breaks its rule.
        DataError: on another number of chains.
    """
    rows = TrainingRows(split, sets=sets, seed=seed)
    pool = example_pool(rows, share=share)
    if chains is None:
        chains = chain_texts(split, pool.users, pool.positions, pool.items, pool.labels)
    chains = require_texts(chains, len(pool) + 1, of="an example")
    retrieval = _retrieval(
        split, pool, text, k=k, history=history, dimensions=dimensions
    )
    told = Told(progress, len(pool) + len(rows))
    vectors = encoder.encode(chains, progress=lambda done, _: told(done))
    told.base = len(pool)
    return Examples.create(
        path,
        rows,
        pool=pool,
        chains=chains,
        vectors=vectors,
        neighbours=_neighbours(retrieval, rows, history, chunk, told),
        encoder=encoder.name,
        source=source,
        settings={
            "share": share,
            "k": k,
            "history": history,
            "dimensions": dimensions,
            "text": text.encoder,
        },
        teacher=teacher,
        cost=cost,
    )


def retrieval_of(
    examples: Examples, split: LeaveOneOut, text: TextVectors
) -> ExampleRetrieval:
    """Finds examples for further rows as they were found for the training rows.

    Args:
        examples: the table.
        split: of its store.
        text: the items' text vectors that it was made with. Histories are to be as
            long as its `settings["history"]`.
    """
    settings = examples.manifest["settings"]
    return _retrieval(
        split,
        examples.pool,
        text,
        **{name: settings[name] for name in ("k", "history", "dimensions")},
    )


def _retrieval(
    split: LeaveOneOut,
    pool: ExamplePool,
    text: TextVectors,
    *,
    k: int,
    history: int,
    dimensions: int | None,
) -> ExampleRetrieval:
    shown = history_before(
        split.store.events, pool.users, pool.positions, length=history
    )
    return ExampleRetrieval(pool, shown, text.vectors, k=k, dimensions=dimensions)


def _neighbours(
    retrieval: ExampleRetrieval,
    rows: TrainingRows,
    history: int,
    chunk: int,
    told: Told,
) -> np.ndarray:
    found = np.zeros((*rows.items.shape, retrieval.k), np.int32)
    call, events = (
        tf.function(retrieval, reduce_retracing=True),
        rows.split.store.events,
    )
    for start in range(0, len(rows), chunk):
        here = slice(start, start + chunk)
        users, positions = rows.users[here], rows.positions[here]
        shown = history_before(events, users, positions, length=history)
        one_a_row = (shown, users, positions)
        histories, who, where = (tf.constant(part[:, None]) for part in one_a_row)
        items = tf.constant(rows.items[here])
        found[here] = call(histories, items, who, where).numpy()
        told(start + len(users))
    return found
