"""Groups of a positive and its negatives: what ranking losses compare."""

from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError


def positive_of_group(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """The positive's logit and where the negatives are, group by group.

    Args:
        y_true: `[P, 1 + K]`. 1 in the column of the positive, 0 in the others; exactly
            one 1 a row.
        y_pred: float `[P, 1 + K]`. Logits.

    Returns:
        Logits of the positives `[P, 1]` and the bool mask of the negatives
        `[P, 1 + K]`.

    Raises:
        ConfigError: when the shapes differ or hold no negative, while tracing.

    Example:
        >>> y_true, y_pred = tf.constant([[0, 1]]), tf.constant([[0.5, 2.0]])
        >>> positive, negatives = positive_of_group(y_true, y_pred)
        >>> positive.numpy().tolist(), negatives.numpy().tolist()
        ([[2.0]], [[True, False]])
    """
    y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
    shapes = y_true.shape, y_pred.shape
    ranked = all(shape.rank == 2 and shape[-1] != 1 for shape in shapes)
    if not (ranked and shapes[0].is_compatible_with(shapes[1])):
        raise ConfigError(
            "A ranking loss needs groups of a positive and its K ≥ 1 negatives: "
            "`y_true` and `y_pred` of shape [groups, 1 + K]. Received: "
            f"y_true {_text(shapes[0])} and y_pred {_text(shapes[1])}. Draw negatives "
            "for each positive, or use the loss 'bce'."
        )
    negatives = tf.not_equal(y_true, tf.ones_like(y_true))
    positive = tf.where(negatives, tf.zeros_like(y_pred), y_pred)
    return tf.reduce_sum(positive, axis=-1, keepdims=True), negatives


def _text(shape: Any) -> str:
    return str(shape.as_list()) if shape.rank is not None else "of unknown rank"
