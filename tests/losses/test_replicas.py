from typing import Any

import pytest

from keras_sllmr.compat import tf
from keras_sllmr.losses.replicas import (
    mean_over_replicas,
    replicas,
    sum_over_replicas,
)


def test_one_replica_keeps_its_own() -> None:
    total = tf.constant(3.0)
    assert replicas() == 1 and sum_over_replicas(total) is total
    assert float(mean_over_replicas(total, tf.constant(2.0))) == 1.5
    assert float(mean_over_replicas(total * 0, tf.constant(0.0))) == 0


class _Replica:
    """One of two; the other has 3 terms."""

    num_replicas_in_sync = 2

    def all_reduce(self, how: Any, value: Any) -> Any:
        return value + 3.0


def test_a_mean_over_replicas_of_different_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tf.distribute, "get_replica_context", _Replica)
    # 1 term of 5 here, 3 of 15 there: the parts' mean is 20 / 4.
    mine = mean_over_replicas(tf.constant(5.0), tf.constant(1.0))
    assert float(mine) == 2.5
    assert (float(mine) + 2 * 15 / 4) / 2 == 20 / 4
    with tf.GradientTape() as tape:
        count = tf.constant(1.0)
        tape.watch(count)
        summed = sum_over_replicas(count)
    assert float(summed) == 4
