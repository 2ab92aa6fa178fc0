"""Pairs of one user's items: which the LLM orders, and which of them are kept."""

from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.losses.replicas import sum_over_replicas


def score_gaps(scores: Any, valid: Any) -> Any:
    """How much higher the LLM scores i than j: `[..., C, C]`, 0 where no pair is.

    Pairs are only ever of one user's items: each row of scores makes its own.

    Args:
        scores: float `[..., C]`. LLM scores of one user's items.
        valid: bool `[..., C]`. Which scores exist.

    Example:
        >>> score_gaps(tf.constant([0.75, 0.25]), tf.constant([True, True])).numpy()
        array([[0. , 0.5],
               [0. , 0. ]], dtype=float32)

    Reference:
        The paper's section 3.2, "user-consistent pair construction".
    """
    gaps = scores[..., :, None] - scores[..., None, :]
    both = valid[..., :, None] & valid[..., None, :]
    return tf.where(both, tf.nn.relu(gaps), tf.zeros_like(gaps))


def select_pairs(gaps: Any, max_pairs: int) -> Any:
    r"""Keeps each user's most confident pairs, as many as the batch has room for.

    The budget of K pairs is shared evenly by the U users of the batch who have a pair:
    a user with n pairs keeps the \(\min(n, \tilde K)\) with the largest gaps,

    \(\tilde K = \max(1, \lfloor K / U \rfloor)\),

    so that every user with a pair keeps at least one, nobody crowds the others out, and
    at most \(\max(K, U)\) pairs are left. Of equal gaps the pair that comes first, by i
    and then by j, is kept.

    Args:
        gaps: float `[..., C, C]`. From `score_gaps`; the leading axes are users.
        max_pairs: int ≥ 1. K, the most pairs a batch should hold.

    Returns:
        `gaps` with 0 in place of the pairs that are dropped.

    Example:
        >>> gaps = score_gaps(tf.constant([0.9, 0.5, 0.4]), tf.fill([3], True))
        >>> tf.where(select_pairs(gaps, 2) > 0).numpy().tolist()
        [[0, 1], [0, 2]]

    Reference:
        The paper's section 3.2, "adaptive pair selection"; it leaves the dependence of
        K̃ on the batch open.
    """
    shape = tf.shape(gaps)
    flat = tf.reshape(gaps, [-1, shape[-1] * shape[-2]])
    users = sum_over_replicas(
        tf.reduce_sum(tf.cast(tf.reduce_any(flat > 0, axis=-1), tf.int32))
    )
    quota = tf.maximum(1, max_pairs // tf.maximum(1, users))
    most = tf.minimum(max_pairs, tf.shape(flat)[-1])
    largest, place = tf.math.top_k(flat, most)
    # A user with fewer pairs has zeros here, which stay zeros.
    kept = tf.where(tf.range(most) < quota, largest, tf.zeros_like(largest))
    row = tf.broadcast_to(tf.range(tf.shape(flat)[0])[:, None], tf.shape(place))
    selected = tf.scatter_nd(tf.stack([row, place], axis=-1), kept, tf.shape(flat))
    return tf.reshape(selected, shape)
