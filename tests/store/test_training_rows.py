import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.store.row_scores import RowScores
from keras_sllmr.store.training_rows import TrainingRows


def test_positives_in_the_splits_order_then_unseen_items(split):
    rows = TrainingRows(split, sets=3, seed=5)
    np.testing.assert_array_equal(rows.users, split.train.users)
    np.testing.assert_array_equal(rows.positions, split.train.positions)
    np.testing.assert_array_equal(rows.items[:, 0], split.train.items)
    assert rows.items.shape == (len(rows), 4) and rows.items.dtype == np.int64
    assert rows.items.min() >= 1 and rows.items.max() <= split.store.n_items
    # Held-out events are seen too: no negative is a validation or test positive.
    assert not split.seen(np.repeat(rows.users, 3), rows.items[:, 1:].ravel()).any()


def test_a_function_of_the_seed_and_more_sets_only_add(split):
    rows = TrainingRows(split, sets=2, seed=1)
    assert rows.describe() == {"sets": 2, "seed": 1}
    again, other = TrainingRows(split, sets=2, seed=1), TrainingRows(split, sets=2)
    assert rows.fingerprint == again.fingerprint != other.fingerprint
    more = TrainingRows(split, sets=4, seed=1).items
    np.testing.assert_array_equal(more[:, :3], rows.items)
    assert (more[:, 1] != more[:, 2]).any()


@pytest.mark.parametrize("sets", [0, -1])
def test_no_set(split, sets):
    with pytest.raises(ConfigError, match=f"at least 1. Received: sets={sets}"):
        TrainingRows(split, sets=sets)


def test_a_table_gives_its_own_rows_again(split, tmp_path):
    rows = TrainingRows(split, sets=2, seed=7)
    made = RowScores.create(
        tmp_path / "rows",
        rows,
        np.full(rows.items.shape, 0.5),
        teacher={},
        settings={},
        cost={},
    )
    assert (made.sets, made.seed) == (2, 7)
    np.testing.assert_array_equal(made.rows(split).items, rows.items)
    made.manifest["settings"]["rows"]["seed"] = 8
    with pytest.raises(StoreError, match="made for other training rows .*score-rows"):
        made.rows(split)
