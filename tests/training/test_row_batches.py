from typing import Any

import numpy as np

from keras_sllmr.training.row_batches import row_batches


def test_row_batches_keep_the_order(world: Any) -> None:
    targets = world.split.validation
    batches = list(row_batches(world.tables, targets, targets.items, batch=16))
    assert [len(batch["item"]) for batch in batches] == [16, 16, 8]
    expected = world.tables.features(targets.users, targets.positions, targets.items)
    for name, values in expected.items():
        parts = np.concatenate([batch[name] for batch in batches])
        np.testing.assert_array_equal(parts, values)
