"""Bayesian personalised ranking: the positive above each of its negatives."""

from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.losses.groups import positive_of_group


@keras.utils.register_keras_serializable("keras_sllmr")
class BPR(keras.losses.Loss):
    r"""Logistic loss of the positive's lead over its negatives, averaged over them.

    \(\ell = -\frac1K \sum_{k=1}^K \log \sigma(s^+ - s^-_k)\)

    Args:
        reduction: as every `keras.losses.Loss` takes it. Defaults to the mean over the
            groups.
        name: str. Defaults to `"bpr"`.

    Call arguments:
        y_true: `[P, 1 + K]`. 1 in the column of the positive, 0 in the others; exactly
            one 1 a row.
        y_pred: float `[P, 1 + K]`. Logits.
        sample_weight: float `[P]`, optional. Weight of each group.

    Raises:
        ConfigError: when called on rows that are not groups, e.g. `[rows, 1]`.

    Example:
        >>> loss = BPR()(tf.constant([[1.0, 0.0]]), tf.constant([[2.0, 2.0]]))
        >>> round(float(loss), 4)
        0.6931

    Reference:
        Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI
        2009; a base loss of the paper's Algorithm 1.
    """

    def __init__(
        self,
        reduction: Any = keras.losses.Reduction.AUTO,
        name: str | None = "bpr",
    ) -> None:
        super().__init__(reduction=reduction, name=name)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each group, `[P]`."""
        positive, negatives = positive_of_group(y_true, y_pred)
        losses = tf.nn.softplus(y_pred - positive)
        counted = tf.cast(negatives, losses.dtype)
        return tf.math.divide_no_nan(
            tf.reduce_sum(losses * counted, axis=-1), tf.reduce_sum(counted, axis=-1)
        )
