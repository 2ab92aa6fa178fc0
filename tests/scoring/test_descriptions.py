from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.descriptions import chain_texts, first_events, user_texts
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.split import LeaveOneOut


def make(*histories: list[int]) -> LeaveOneOut:
    """A split over items named by letters; "d" has no text."""
    names = np.array(["", "a\npen", "b", "c", "", "e", "f"], object)
    store: Any = SimpleNamespace(
        events=Ragged.from_rows([[], *histories]),
        item_texts=names,
        n_users=len(histories),
        n_items=6,
    )
    return LeaveOneOut(store)


def test_users_by_their_training_events_latest_first() -> None:
    split = make([1, 4, 2, 3, 5], [4, 2, 3, 5], [2, 4, 3], [4, 5, 6])
    assert user_texts(split) == [
        "",
        "The user chose, latest first: b; a pen.",
        "The user chose, latest first: b.",
        "The user chose, latest first: b.",
        "",  # one training event, without a text
    ]
    assert user_texts(split, length=1)[1:3] == [
        "The user chose, latest first: b.",
        "The user chose, latest first: b.",
    ]


def test_held_out_events_change_no_user_text(shop: LeaveOneOut) -> None:
    events = [row.copy() for row in map(shop.store.events.row, range(41))]
    for row in events[1:]:
        row[-2:] = [1, 2]
    store: Any = SimpleNamespace(
        events=Ragged.from_rows(events),
        item_texts=shop.store.item_texts,
        n_users=shop.store.n_users,
        n_items=shop.store.n_items,
    )
    texts = user_texts(LeaveOneOut(store))
    assert texts == user_texts(shop) and len(texts) == 41 and any(texts)


def test_rows_in_words() -> None:
    split = make([1, 4, 2, 3, 5, 6])
    users, positions = np.array([0, 1, 1, 1, 1]), np.array([0, 1, 3, 3, 0])
    items, labels = np.array([0, 4, 3, 6, 5]), np.array([0, 1, 1, 0, 1])
    assert chain_texts(split, users, positions, items, labels) == [
        "",
        "an item without a text: chosen. Before, latest first: a pen.",
        "c: chosen. Before, latest first: b; a pen.",
        "f: not chosen. Before, latest first: b; a pen.",
        "e: chosen. Before, latest first: nothing known.",
    ]
    (short,) = chain_texts(split, users[2:3], [3], items[2:3], [1], length=1)
    assert short == "c: chosen. Before, latest first: b."


def test_a_chains_history_ends_before_the_target() -> None:
    # From position p on other events; every name shown is of an earlier one.
    for position in range(1, 5):
        earlier, later = [1, 2, 3, 5][:position], [6] * (6 - position)
        split = make(earlier + later)
        (text,) = chain_texts(
            split, np.array([1]), np.array([position]), np.array([2]), np.array([0])
        )
        history = text.partition("Before, latest first: ")[2]
        assert "f" not in history and history.count(";") == position - 1


def test_the_first_events(shop: LeaveOneOut) -> None:
    lengths = shop.train_lengths
    assert first_events(shop).tolist() == lengths.tolist()
    half = first_events(shop, 0.5)
    assert half.tolist() == [-(-int(n) // 2) for n in lengths]
    texts = user_texts(shop, ends=half)
    user = int(np.argmax(lengths))
    events = shop.store.events.row(user)
    names = [str(text) for text in shop.store.item_texts]
    later = {names[item] for item in events[half[user] :]} - {
        names[item] for item in events[: half[user]]
    }
    assert later and not any(name and name in texts[user] for name in later)
    for share in (0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match=f"Received: share={share}"):
            first_events(shop, share)
