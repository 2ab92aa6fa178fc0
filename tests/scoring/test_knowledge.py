from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import DataError
from keras_sllmr.scoring.descriptions import first_events, user_texts
from keras_sllmr.scoring.knowledge import make_knowledge
from keras_sllmr.store.split import LeaveOneOut

Encoder = Any


def test_describes_users_and_items_by_default(
    shop: LeaveOneOut, letters: Encoder, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    made = make_knowledge(
        shop,
        letters,
        tmp_path / "known",
        progress=lambda done, total: told.append((done, total)),
    )
    half = first_events(shop, 0.5)
    assert made.user_texts == user_texts(shop, ends=half)
    assert made.positions.tolist() == half.tolist()
    assert made.item_texts == shop.store.item_texts.tolist()
    np.testing.assert_array_equal(made.users, letters.encode(made.user_texts))
    np.testing.assert_array_equal(made.items, letters.encode(made.item_texts))
    blank = np.array([not text for text in made.item_texts])
    np.testing.assert_array_equal(~made.items.any(axis=1), blank)
    assert blank.sum() == 7  # row 0 and every tenth item
    assert (made.encoder, made.source) == ("letters", "description")
    assert told == [(102, 102)]


def test_given_texts(shop: LeaveOneOut, letters: Encoder, tmp_path: Path) -> None:
    users = ["nobody", *(f"likes {n}" for n in range(40))]
    items = ["", *(f"is {n}" for n in range(60))]
    made = make_knowledge(
        shop,
        letters,
        tmp_path / "known",
        user_texts=users,
        item_texts=items,
        source="llm",
        teacher={"model": "m"},
        cost={"usd": 3.0},
    )
    assert made.user_texts == ["", *users[1:]] and made.item_texts == items
    assert not made.users[0].any() and made.users[1:].any(axis=1).all()
    assert made.source == "llm" and made.manifest["teacher"] == {"model": "m"}
    assert made.manifest["cost"] == {"usd": 3.0}


def test_as_published(shop: LeaveOneOut, letters: Encoder, tmp_path: Path) -> None:
    made = make_knowledge(shop, letters, tmp_path / "known", share=1)
    assert made.user_texts == user_texts(shop)
    assert not made.positions.any()


def test_too_few_texts_are_not_encoded(shop: LeaveOneOut, tmp_path: Path) -> None:
    class Never:
        name = "never"

        def encode(
            self, texts: Sequence[str], *, progress: Callable[..., None] | None = None
        ) -> np.ndarray:
            raise AssertionError

    with pytest.raises(DataError, match="a text a user .*41 in all. Received: 1"):
        make_knowledge(shop, Never(), tmp_path / "known", user_texts=["a"])
    assert list(tmp_path.iterdir()) == []
