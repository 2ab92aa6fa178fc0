from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.scoring.encoders.base import unit_rows
from keras_sllmr.scoring.retrieval import ExampleRetrieval, principal_axes
from keras_sllmr.store.examples import ExamplePool


def pool_of(rows: list[tuple[int, int, int, int]]) -> ExamplePool:
    """Of (user, position, item, label)."""
    return ExamplePool(*np.array([(0, 0, 0, 0), *rows]).T)


def by_hand(
    pool: ExamplePool,
    histories: np.ndarray,
    vectors: np.ndarray,
    row: tuple[Any, int],
    who: tuple[int, int] | None,
    k: int,
) -> list[int]:
    """The same by loops over examples, a row at a time."""

    def query(history: Any, item: int) -> np.ndarray:
        known = [vectors[i] for i in history if vectors[i].any()]
        mean = np.mean(known, axis=0) if known else np.zeros(vectors.shape[1])
        return unit_rows((0.5 * mean + 0.5 * vectors[item])[None])[0]

    q, found = query(*row), []
    for label in (1, 0):
        near = []
        for at in range(1, len(pool) + 1):
            other = query(histories[at], pool.items[at])
            own = who and pool.users[at] == who[0] and pool.positions[at] >= who[1]
            if pool.labels[at] == label and not own and q.any() and other.any():
                near.append((-round(float(q @ other), 5), at))
        best = [at for _, at in sorted(near)][: k // 2]
        found += best + [0] * (k // 2 - len(best))
    return sorted(found)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 4, 6]), st.integers(0, 30))
def test_as_by_hand(seed: int, k: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit_rows(rng.normal(size=(13, 5)))
    vectors[[0, 7]] = 0
    pool = pool_of(
        [
            (u, p, i, y)
            for u, p, i, y in zip(
                rng.integers(1, 4, size),
                rng.integers(1, 5, size),
                rng.integers(1, 13, size),
                rng.integers(0, 2, size),
                strict=True,
            )
        ]
    )
    histories = rng.integers(0, 13, (size + 1, 3))
    retrieval = ExampleRetrieval(pool, histories, vectors, k=k)
    shown, items = rng.integers(0, 13, (6, 3)), rng.integers(0, 13, 6)
    shown[0], items[0] = 0, 7  # nothing known
    users, positions = rng.integers(0, 4, 6), rng.integers(0, 5, 6)
    for who in (None, (users, positions)):
        found = retrieval(shown, items, *(who or ())).numpy()
        assert found.dtype == np.int32 and found.shape == (6, k)
        for row in range(6):
            mine = None if who is None else (users[row], positions[row])
            expected = by_hand(
                pool, histories, vectors, (shown[row], items[row]), mine, k
            )
            assert sorted(found[row].tolist()) == expected
            missing = (found[row] == 0).tolist()
            assert missing == sorted(missing)  # none comes last
    assert not retrieval(shown, items).numpy()[0].any()


# Items 1 and 2 are at right angles, 3 is between, 4 is unknown.
AXES = np.array([[0, 0], [1, 0], [0, 1], [0.6, 0.8], [0, 0]], np.float32)
NO_HISTORY = np.zeros((7, 1), int)


def test_a_worked_example() -> None:
    pool = pool_of([(1, 1, 1, 1), (1, 1, 2, 0), (2, 3, 3, 1), (2, 3, 1, 0)])
    retrieval = ExampleRetrieval(pool, NO_HISTORY[:5], AXES, k=2)
    # Nearest to item 1 are examples 1 (label 1) and 4 (label 0).
    assert set(retrieval([[0]], [1]).numpy()[0].tolist()) == {1, 4}
    # With 2 in the history, ½·[0, 1] + ½·[1, 0], 3 of [.6, .8] is nearer than 1.
    assert 3 in retrieval([[2]], [1]).numpy() and 1 not in retrieval([[2]], [1]).numpy()
    # An unknown item of the history does not count in the mean.
    known = retrieval([[3, 4, 0]], [1]).numpy()
    np.testing.assert_array_equal(retrieval([[3]], [1]).numpy(), known)


def test_own_examples_from_the_position_on_are_left_out() -> None:
    pool = pool_of([(1, p, 1, y) for p in (1, 2, 3) for y in (1, 0)])
    retrieval = ExampleRetrieval(pool, NO_HISTORY, AXES, k=4)

    def shown(user: int, position: int) -> set[int]:
        return set(retrieval([[0]], [1], [user], [position]).numpy()[0].tolist())

    assert shown(1, 1) == {0}
    assert shown(1, 2) == {0, 1, 2}  # position 1's, and twice too few
    assert shown(1, 3) == {1, 2, 3, 4}
    assert shown(1, 9) == shown(2, 1) == shown(0, 0) == {1, 2, 3, 4}


def test_ties_go_to_the_earlier_example() -> None:
    pool = pool_of([(1, 1, i, y) for i in (2, 1, 1) for y in (1, 0)])
    found = ExampleRetrieval(pool, NO_HISTORY, AXES, k=2)([[0]], [1])
    assert set(found.numpy()[0].tolist()) == {3, 4}


def test_the_order_says_nothing_of_the_label() -> None:
    pool = pool_of([(1, 1, 1, y) for y in (1, 0)] * 500)
    vectors = unit_rows(np.random.default_rng(0).normal(size=(500, 9)))
    items = np.concatenate([[0], np.repeat(np.arange(1, 501), 2)])
    pool = ExamplePool(pool.users, pool.positions, items, pool.labels)
    vectors = np.concatenate([np.zeros((1, 9), np.float32), vectors])
    retrieval = ExampleRetrieval(pool, np.zeros((1001, 1), int), vectors, k=2)
    found = retrieval(np.zeros((500, 1), int), np.arange(1, 501)).numpy()
    assert 0.45 < pool.labels[found[:, 0]].mean() < 0.55


def test_leading_axes_broadcast() -> None:
    rng = np.random.default_rng(1)
    vectors = unit_rows(rng.normal(size=(9, 4)))
    pool = pool_of([(1 + n % 3, n % 4, 1 + n % 8, n % 2) for n in range(20)])
    retrieval = ExampleRetrieval(pool, rng.integers(1, 9, (21, 2)), vectors)
    shown, items = rng.integers(0, 9, (3, 2)), rng.integers(1, 9, (3, 5))
    users, positions = np.array([1, 2, 3]), np.array([2, 0, 9])
    at_once = retrieval(
        shown[:, None], items, users[:, None], positions[:, None]
    ).numpy()
    assert at_once.shape == (3, 5, 4)
    for column in range(5):
        one = retrieval(shown, items[:, column], users, positions)
        np.testing.assert_array_equal(at_once[:, column], one)


def test_an_export_finds_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pool = pool_of([(1 + n % 3, n % 4, 1 + n % 8, n % 2) for n in range(20)])
    vectors = unit_rows(rng.normal(size=(9, 6)))
    retrieval = ExampleRetrieval(
        pool, rng.integers(0, 9, (21, 2)), vectors, dimensions=3
    )
    shape = tf.TensorSpec([None, 2], tf.int64), tf.TensorSpec([None], tf.int64)
    served = tf.function(retrieval, input_signature=shape)
    module = tf.Module()
    module.retrieval, module.find = retrieval, served
    tf.saved_model.save(module, str(tmp_path / "export"))
    shown, items = rng.integers(0, 9, (7, 2)), rng.integers(0, 9, 7)
    loaded = tf.saved_model.load(str(tmp_path / "export"))
    found = loaded.find(tf.constant(shown), tf.constant(items))
    np.testing.assert_array_equal(found, retrieval(shown, items))


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    pool = pool_of([(1 + n % 3, n % 4, 1 + n % 8, n % 2) for n in range(20)])
    vectors = unit_rows(rng.normal(size=(9, 6)))
    made = ExampleRetrieval(
        pool, rng.integers(0, 9, (21, 2)), vectors, k=2, dimensions=3
    )
    path = tmp_path / "retrieval.npz"
    made.save(path)
    shown, items = rng.integers(0, 9, (7, 2)), rng.integers(0, 9, 7)
    loaded, who = ExampleRetrieval.load(path), (np.full(7, 2), np.full(7, 1))
    for known in ((), who):
        expected = made(shown, items, *known)
        np.testing.assert_array_equal(loaded(shown, items, *known), expected)
    assert loaded.k == 2
    content = path.read_bytes()
    loaded.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == content
    for damaged in (content[:-30], content[:10], b""):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="retrieval.npz does not hold examples"):
            ExampleRetrieval.load(path)
    with pytest.raises(StoreError, match="nowhere"):
        ExampleRetrieval.load(tmp_path / "nowhere")
    assert {file.name for file in tmp_path.iterdir()} == {"retrieval.npz", "again.npz"}


def test_principal_axes_keep_the_longest_directions() -> None:
    rng = np.random.default_rng(3)
    plane = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 7))
    axes = principal_axes(plane, 2)
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=1e-6)
    reduced = plane @ axes
    np.testing.assert_allclose(reduced @ reduced.T, plane @ plane.T, atol=1e-4)
    assert (axes[np.abs(axes).argmax(axis=0), [0, 1]] > 0).all()
    np.testing.assert_array_equal(principal_axes(plane, None), np.eye(7))
    np.testing.assert_array_equal(principal_axes(plane, 9), np.eye(7))
    with pytest.raises(ConfigError, match="must be positive. Received: dimensions=0"):
        principal_axes(plane, 0)


def test_wrong_arguments() -> None:
    pool = pool_of([(1, 1, 1, 1)])
    for k in (0, 3, -2):
        with pytest.raises(ConfigError, match=f"positive and even.*Received: k={k}"):
            ExampleRetrieval(pool, NO_HISTORY[:2], AXES, k=k)
    for wrong in (NO_HISTORY[:1], NO_HISTORY[:2, 0]):
        with pytest.raises(DataError, match=r"shape \[2, H\]"):
            ExampleRetrieval(pool, wrong, AXES)
    retrieval = ExampleRetrieval(pool, NO_HISTORY[:2], AXES)
    with pytest.raises(ConfigError, match="given together. Received: users alone"):
        retrieval([[0]], [1], users=[1])
