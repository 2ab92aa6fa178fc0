"""InfoNCE: the positive found among its negatives."""

from typing import Any

import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.losses.groups import positive_of_group


@keras.utils.register_keras_serializable("keras_sllmr")
class InfoNCE(keras.losses.Loss):
    r"""Cross-entropy of a softmax over the positive and its negatives.

    \(\ell = -\log \frac{e^{s^+/\tau}}{e^{s^+/\tau} + \sum_k e^{s^-_k/\tau}}\)

    Args:
        temperature: float > 0. τ, on the scale of the logits. Defaults to `1.0`.
        reduction: as every `keras.losses.Loss` takes it. Defaults to the mean over the
            groups.
        name: str. Defaults to `"info_nce"`.

    Call arguments:
        y_true: `[P, 1 + K]`. 1 in the column of the positive, 0 in the others; exactly
            one 1 a row.
        y_pred: float `[P, 1 + K]`. Logits.
        sample_weight: float `[P]`, optional. Weight of each group.

    Raises:
        ConfigError: if `temperature` is not positive and finite, or when called on rows
            that are not groups, e.g. `[rows, 1]`.

    Example:
        >>> loss = InfoNCE()(tf.constant([[1.0, 0.0, 0.0]]), tf.zeros([1, 3]))
        >>> round(float(loss), 4)
        1.0986

    Reference:
        van den Oord et al., Representation Learning with Contrastive Predictive Coding,
        2018; a base loss of the paper's Algorithm 1.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        reduction: Any = keras.losses.Reduction.AUTO,
        name: str | None = "info_nce",
    ) -> None:
        super().__init__(reduction=reduction, name=name)
        if not 0 < temperature < np.inf:
            raise ConfigError(
                "`temperature` must be positive and finite. "
                f"Received: temperature={temperature}"
            )
        self.temperature = float(temperature)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each group, `[P]`."""
        positive, negatives = positive_of_group(y_true, y_pred)
        leads = (y_pred - positive) / self.temperature
        leads = tf.where(negatives, leads, leads.dtype.min)
        # log(1 + Σ e^lead): the 1 is the positive's own, and no digit of a small sum
        # is lost beside it.
        return tf.nn.softplus(tf.reduce_logsumexp(leads, axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "temperature": self.temperature}
