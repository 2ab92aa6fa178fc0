import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.errors import DataError
from keras_sllmr.store.history import history_before, training_mask
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.training.feature_tables import FeatureTables

N_ITEMS = 15
EVENTS = Ragged.from_rows([[], [5, 6, 7, 8], [], [9]])

HISTORIES = st.lists(
    st.lists(st.integers(1, N_ITEMS), min_size=4, max_size=8), min_size=1, max_size=4
)


def before(users, positions, **options):
    return history_before(EVENTS, np.array(users), np.array(positions), **options)


def targets(histories):
    rows = [(u, p) for u, h in enumerate(histories, start=1) for p in range(len(h))]
    users, positions = np.array(rows).T
    return users, positions


def test_by_hand():
    window = before([1, 1, 1, 1, 1, 3, 3], [0, 1, 2, 3, 4, 0, 1], length=3)
    assert window.dtype == np.int32
    assert window.tolist() == [
        [0, 0, 0],
        [0, 0, 5],
        [0, 5, 6],
        [5, 6, 7],
        [6, 7, 8],
        [0, 0, 0],
        [0, 0, 9],
    ]


def test_unknown_user_and_user_without_events():
    assert before([0, 2], [0, 0], length=2).tolist() == [[0, 0], [0, 0]]


def test_default_length():
    assert before([1], [4]).tolist() == [[0] * 16 + [5, 6, 7, 8]]


def test_no_events_at_all():
    window = history_before(
        Ragged.from_rows([[], []]), np.array([0, 1]), np.array([0, 0]), length=2
    )
    assert window.tolist() == [[0, 0], [0, 0]] and window.dtype == np.int32


@pytest.mark.parametrize(
    ("user", "position", "events"), [(1, 5, 4), (1, -1, 4), (2, 1, 0), (0, 1, 0)]
)
def test_position_that_the_user_does_not_have(user, position, events):
    # One further would be the next user's event.
    with pytest.raises(
        DataError, match=f"Received: {position} for a user with {events} events"
    ):
        before([1, user], [0, position])


@given(HISTORIES, st.integers(1, 9))
def test_is_the_end_of_what_came_before(histories, length):
    users, positions = targets(histories)
    window = history_before(
        Ragged.from_rows([[], *histories]), users, positions, length=length
    )
    for row, user, position in zip(window, users, positions, strict=True):
        past = histories[user - 1][:position][-length:]
        assert row.tolist() == [0] * (length - len(past)) + past


@st.composite
def futures(draw):
    """Histories, a position, and the same with another future from there on.

    The future changes in what happens and in how much: every later event and every
    other user's events may be others, and the history may end earlier or later.
    """
    histories = draw(HISTORIES)
    user = draw(st.integers(1, len(histories)))
    history = histories[user - 1]
    position = draw(st.integers(0, len(history) - 1))
    events = st.lists(st.integers(1, N_ITEMS), min_size=4, max_size=8)
    other = [draw(events) for _ in histories]
    other[user - 1] = history[:position] + draw(events)
    return histories, other, user, position


@given(futures(), st.integers(1, 9))
def test_history_does_not_depend_on_the_future(case, length):
    histories, other, user, position = case
    rows = np.array([user]), np.array([position])
    one, two = (
        history_before(Ragged.from_rows([[], *h]), *rows, length=length)
        for h in (histories, other)
    )
    np.testing.assert_array_equal(one, two)


@settings(max_examples=40, deadline=None)
@given(futures(), st.integers(1, N_ITEMS))
def test_training_features_do_not_depend_on_the_future(split_of, case, target):
    histories, other, user, position = case
    spec = FeatureSpec(
        n_users=len(histories),
        n_items=N_ITEMS,
        n_attributes=4,
        history_length=3,
        attribute_width=2,
        user_id=True,
    )
    rows = [np.array([value]) for value in (user, position, target)]
    one, two = (
        FeatureTables(split_of(h, N_ITEMS), spec).features(*rows)
        for h in (histories, other)
    )
    assert set(one) == {
        "user", "item", "history", "item_attributes", "history_attributes"
    }  # fmt: skip
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


@settings(max_examples=20, deadline=None)
@given(HISTORIES)
def test_training_features_hold_nothing_from_the_target_on(split_of, histories):
    """With an item a place, an item in a history tells when it happened."""
    ends = np.cumsum([len(h) for h in histories])
    places = [
        list(range(end - len(h) + 1, end + 1))
        for h, end in zip(histories, ends, strict=True)
    ]
    users, positions = targets(places)
    items = np.concatenate(places)
    split = split_of(places, int(ends[-1]))
    spec = FeatureSpec(len(places), int(ends[-1]), 4, history_length=20)
    history = FeatureTables(split, spec, ["history"]).features(users, positions, items)
    window = history["history"].numpy()
    assert (window < items[:, None]).all()
    np.testing.assert_array_equal(
        window, history_before(split.store.events, users, positions)
    )


def test_training_and_store_agree(split, random_rows):
    """The two ways to a history, in the tf.data pipeline and out of it, are one."""
    users, positions = random_rows(split)
    spec = FeatureSpec.of(split.store, history_length=6)
    tables = FeatureTables(split, spec)
    features = tables.features(users, positions, np.ones_like(users))
    expected = history_before(split.store.events, users, positions, length=6)
    np.testing.assert_array_equal(features["history"], expected)
    attributes = split.store.attributes.padded(spec.attribute_width)
    np.testing.assert_array_equal(
        features["history_attributes"], attributes[expected].reshape(len(users), -1)
    )


def test_training_mask(split):
    rows = Ragged.from_rows([[], [5, 6, 7, 8], [9], [1, 2], [3, 4, 5]])
    trained = [True, True, False, False, False, False, False, True, False, False]
    assert training_mask(rows).tolist() == trained
    assert training_mask(Ragged.from_rows([[]])).tolist() == []
    held_out = np.flatnonzero(~training_mask(split.store.events))
    of_split = [
        split.store.events.offsets[rows.users] + rows.positions
        for rows in (split.validation, split.test)
    ]
    assert held_out.tolist() == sorted(np.concatenate(of_split).tolist())
