from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.scoring import embedded
from keras_sllmr.scoring.embedded import embedded_teacher
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors


def _with(split: LeaveOneOut, **changes: Any) -> LeaveOneOut:
    """The same split over an in-memory store with changed tables."""
    store = split.store
    tables = {
        "events": store.events,
        "item_texts": store.item_texts,
        "n_users": store.n_users,
        "n_items": store.n_items,
    }
    changed: Any = SimpleNamespace(**{**tables, **changes})
    return LeaveOneOut(changed)


def test_is_the_mean_of_its_standardised_parts(
    shop: LeaveOneOut, vectors: TextVectors
) -> None:
    teacher = embedded_teacher(shop, vectors, history=4, weights=(3.0, 1.0))
    assert teacher.name == "encoder+tfidf"
    assert [part["model"] for part in teacher.describe()["teachers"]] == [
        "random",
        "tfidf",
    ]
    histories, candidates = shop.train_events.padded(4), np.tile([1, 2, 10, 0], (41, 1))
    minilm, tfidf = (part.score(histories, candidates) for part in teacher.teachers)
    scores = teacher.score(histories, candidates)
    np.testing.assert_allclose(scores, (3 * minilm + tfidf) / 4, rtol=1e-4, atol=1e-6)
    # Item 10 has no text, and place 0 is padding.
    assert np.isnan(scores[:, 2:]).all() and not np.isnan(scores[1:, :2]).all()


def test_random_items_have_mean_zero_and_deviation_one(
    shop: LeaveOneOut, vectors: TextVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_SAMPLE_ITEMS", 200)
    teacher = embedded_teacher(shop, vectors)
    rng = np.random.default_rng(0)
    histories = np.repeat(shop.train_events.padded(10)[1:], 10, axis=0)
    items = rng.integers(1, 61, (len(histories), 30))
    for part in teacher.teachers:
        scores = part.score(histories, items)
        assert abs(np.nanmean(scores)) < 0.1
        assert abs(np.nanstd(scores) - 1) < 0.1


def test_the_scale_is_a_function_of_the_seed(
    shop: LeaveOneOut, vectors: TextVectors
) -> None:
    one, same, other = (
        embedded_teacher(shop, vectors, seed=seed) for seed in (1, 1, 2)
    )
    assert one.describe() == same.describe() != other.describe()


def test_held_out_events_do_not_shape_the_scale(
    shop: LeaveOneOut, vectors: TextVectors
) -> None:
    rows = [row.copy() for row in map(shop.store.events.row, range(41))]
    for row in rows[1:]:
        row[-2:] = [1, 2]
    changed = _with(shop, events=Ragged.from_rows(rows))
    assert (
        embedded_teacher(changed, vectors).describe()
        == embedded_teacher(shop, vectors).describe()
    )


def test_no_item_has_a_text(shop: LeaveOneOut, vectors: TextVectors) -> None:
    blank = _with(shop, item_texts=np.full(61, "", object))
    with pytest.raises(DataError, match="texts"):
        embedded_teacher(blank, vectors)


def test_a_weight_of_zero_leaves_a_part_out(
    shop: LeaveOneOut, vectors: TextVectors
) -> None:
    assert embedded_teacher(shop, vectors, weights=(1.0, 0.0)).name == "encoder"
    assert embedded_teacher(shop, None, weights=(0.0, 2.0)).name == "tfidf"
    with pytest.raises(ConfigError, match="vectors=None"):
        embedded_teacher(shop, None)
    with pytest.raises(ConfigError, match="positive"):
        embedded_teacher(shop, None, weights=(0.0, 0.0))
