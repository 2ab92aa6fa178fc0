"""Means over the whole batch where each replica of a strategy holds a part of it."""

from typing import Any

from keras_sllmr.compat import tf


def replicas() -> int:
    """How many replicas share a batch; 1 without a strategy."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def sum_over_replicas(value: Any) -> Any:
    """A count's sum over all replicas, without a gradient; the value itself for one."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(value))


def mean_over_replicas(total: Any, count: Any) -> Any:
    r"""A replica's part of the mean over the terms of all, 0 where there are none.

    \(\ell_r = R \, T_r \,/ \sum_s N_s\) for the sum \(T_r\) of its \(N_r\) terms: the
    mean of the parts over the R replicas is the mean over the batch's terms, however
    they are dealt out. The mean of the replicas' own means would not be.

    Args:
        total: float scalar. Sum of this replica's terms.
        count: float scalar. How many there are.

    Returns:
        Scalar, `total / count` outside of a strategy.

    Example:
        >>> float(mean_over_replicas(tf.constant(3.0), tf.constant(2.0)))
        1.5
    """
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        total *= tf.cast(context.num_replicas_in_sync, total.dtype)
    return tf.math.divide_no_nan(total, sum_over_replicas(count))
