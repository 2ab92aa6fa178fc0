"""Knowledge distillation: the teacher's probabilities as soft labels."""

from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.losses.replicas import mean_over_replicas

#: a score of 0 or 1 counts as this far from it: its log-odds must be finite. That far
#: from 1 is exact in single precision.
_NEAREST = 2.0**-20


def soft_targets(scores: Any, temperature: float = 1.0, twice: bool = False) -> Any:
    r"""The teacher's probability of "yes", made softer by a temperature.

    With the log-odds \(\mathrm{logit}(s) = z_{yes} - z_{no}\) of a teacher's score,

    \(t = \sigma(\mathrm{logit}(s) / T)\),

    so at T = 1 the score itself. Public code instead takes the probabilities of a
    softmax for logits, twice: the scorer normalises those of "yes" and "no" by a second
    softmax, the distillation by a third. With `twice`, for s and 1 − s,

    \(t = \sigma\big((2s' - 1)/T\big)\) with \(s' = \sigma(2s - 1)\);

    T applies to the last softmax alone, and at T = 1 no target leaves .386 to .614.

    Args:
        scores: float `[...]` in [0, 1]. NaN stays NaN.
        temperature: float > 0. T: the larger, the closer the targets are to ½. Defaults
            to `1.0`.
        twice: bool. Replicate the public code? Defaults to `False`.

    Returns:
        float32 `[...]` in (0, 1).

    Raises:
        ConfigError: if `temperature` is not positive and finite.

    Example:
        >>> soft_targets([0.5, 0.9], temperature=2.0).numpy().round(2).tolist()
        [0.5, 0.75]

    Reference:
        Hinton et al., "Distilling the knowledge in a neural network", 2015; the paper's
        section 4.1, "KD Distillation Baseline".
    """
    _require_temperature(temperature)
    scores = tf.cast(scores, tf.float32)
    if twice:
        # 2 σ(x) − 1 = tanh(x / 2)
        return tf.sigmoid(tf.tanh(scores - 0.5) / temperature)
    chance = tf.clip_by_value(scores, _NEAREST, 1 - _NEAREST)
    return tf.sigmoid(tf.math.log(chance / (1 - chance)) / temperature)


@keras.utils.register_keras_serializable("keras_sllmr")
class Distillation:
    r"""Cross-entropy of the model's probability against the teacher's.

    \(\mathcal L = -\frac{1}{|V|} \sum_{i \in V} t_i \log \sigma(s_i) +
    (1 - t_i) \log(1 - \sigma(s_i))\) over the rows V that have a score, with t from
    `soft_targets`. It is added to the base loss by a weight, .1 in public code.

    Args:
        temperature: float > 0. T, see `soft_targets`. Defaults to `1.0`.
        twice: bool. See `soft_targets`. Defaults to `False`.

    Raises:
        ConfigError: if `temperature` is not positive and finite.

    Example:
        >>> loss = Distillation()
        >>> logits, scores = tf.constant([0.0, 3.0]), tf.constant([0.9, float("nan")])
        >>> round(float(loss(logits, scores, tf.constant([True, False]))), 4)
        0.6931

    Reference:
        Hinton et al., "Distilling the knowledge in a neural network", 2015; the paper's
        section 4.1, "KD Distillation Baseline".
    """

    def __init__(self, temperature: float = 1.0, twice: bool = False) -> None:
        _require_temperature(temperature)
        self.temperature, self.twice = float(temperature), bool(twice)

    def __call__(self, logits: Any, scores: Any, valid: Any) -> Any:
        """Loss of a batch.

        Args:
            logits: float `[...]`. The model's scores.
            scores: float, of the same shape. The teacher's, in [0, 1]; of any value
                where not valid.
            valid: bool, of the same shape. Which scores exist.

        Returns:
            float32 scalar; 0 where there is no score.

        Raises:
            ConfigError: when the shapes differ, while tracing.
        """
        logits = tf.cast(logits, tf.float32)
        scores, valid = tf.convert_to_tensor(scores), tf.convert_to_tensor(valid)
        shapes = logits.shape, scores.shape, valid.shape
        if not all(shape.is_compatible_with(shapes[0]) for shape in shapes):
            raise ConfigError(
                "`logits`, `scores` and `valid` must have one shape. Received: "
                f"{', '.join(str(shape) for shape in shapes)}"
            )
        # Not products with the mask: what is missing may be NaN.
        targets = soft_targets(
            tf.where(valid, scores, 0.5), self.temperature, self.twice
        )
        losses = tf.nn.sigmoid_cross_entropy_with_logits(
            labels=tf.stop_gradient(targets), logits=tf.where(valid, logits, 0.0)
        )
        counted = tf.cast(valid, losses.dtype)
        return mean_over_replicas(
            tf.reduce_sum(losses * counted), tf.reduce_sum(counted)
        )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"temperature": self.temperature, "twice": self.twice}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Distillation":
        """Rebuilds the loss."""
        return cls(**config)


def _require_temperature(temperature: float) -> None:
    if not 0 < temperature < float("inf"):
        raise ConfigError(
            "`temperature` must be positive and finite. "
            f"Received: temperature={temperature}"
        )
