"""The selective gate: how far the LLM's ordering of a pair is trusted."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError

OBJECTIVES = ("agreement", "joint", "fixed")
SIGNALS = ("cold", "tail", "uncertainty")


@keras.utils.register_keras_serializable("keras_sllmr")
class Gate(keras.layers.Layer):
    r"""One-layer gate on the signals \(z = [Cold(u), Tail(i), q_{u,i}]\).

    - `"agreement"` (default): the gate learns from pairs whose right order is known,
      a hidden training positive and a sampled negative, how far the LLM's score gap is
      evidence there: \(p_{ij} = \sigma(\kappa_{ij} g_{ij})\) is the chance that the LLM
      orders the pair rightly, with its score gap g and
      \(\kappa = \mathrm{softplus}(w^\top \bar z + b)\); it minimises the cross-entropy
      of p, and \(\alpha_{ij} = 2 p_{ij} - 1\), the advantage over a coin, weighs the
      hinge without a gradient from it. An LLM no better than chance gets α = 0.
    - `"joint"`: the paper's \(\alpha_{ij} = \frac12(\sigma(w^\top z_i + b) +
      \sigma(w^\top z_j + b))\), trained through the hinge. As the hinge is never
      negative, every gradient closes this gate: it collapses within an epoch or two.
    - `"fixed"`: α ≡ 1, the global ablation.

    Args:
        signals: names of the signals, in the order of the last axis of `z`.
        objective: str. See above. Defaults to `"agreement"`.
        initial_slope: float > 0. κ before training, in log-odds for a gap of 1, when
            the objective is `"agreement"`. Defaults to `3.0`.

    Raises:
        ConfigError: on an unknown objective, no signals or a slope that is not positive
            and finite.

    Reference:
        The paper's section 3.3.
    """

    def __init__(
        self,
        signals: Sequence[str] = SIGNALS,
        *,
        objective: str = "agreement",
        initial_slope: float = 3.0,
        **kwargs: Any,
    ) -> None:
        # A handful of weights whose small steps half precision would lose.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if objective not in OBJECTIVES:
            raise ConfigError(
                f"`objective` must be one of {', '.join(OBJECTIVES)}. "
                f"Received: objective={objective!r}"
            )
        if not signals:
            raise ConfigError("`signals` must name at least one. Received: signals=()")
        if not 0 < initial_slope < np.inf:
            raise ConfigError(
                "`initial_slope` must be positive and finite. "
                f"Received: initial_slope={initial_slope}"
            )
        self.signals = tuple(signals)
        self.objective = objective
        self.initial_slope = float(initial_slope)
        if objective == "fixed":
            self.trainable = False

    def build(self, input_shape: Any) -> None:
        """Makes w (zeros) and b."""
        bias = 0.0
        if self.objective == "agreement":
            # The inverse of softplus, in a form that does not overflow.
            slope = self.initial_slope
            bias = slope + float(np.log(-np.expm1(-slope)))
        self.weight = self.add_weight(
            name="weight", shape=(len(self.signals),), initializer="zeros"
        )
        self.bias = self.add_weight(
            name="bias", shape=(), initializer=keras.initializers.Constant(bias)
        )
        super().build(input_shape)

    def call(self, z: Any, gaps: Any) -> Any:
        """α of every pair.

        Args:
            z: float `[..., C, S]`. Signals of each item.
            gaps: float `[..., C, C]`. The LLM's score gaps, see `score_gaps`.

        Returns:
            float `[..., C, C]` in [0, 1]; without a gradient for `"agreement"`.
        """
        if self.objective == "fixed":
            return tf.ones_like(gaps)
        if self.objective == "joint":
            item = tf.sigmoid(self._logit(z))
            return 0.5 * (item[..., :, None] + item[..., None, :])
        return tf.stop_gradient(tf.tanh(0.5 * self.evidence(z, gaps)))

    def evidence(self, z: Any, gaps: Any) -> Any:
        r"""Log-odds \(\kappa_{ij} g_{ij}\) that the LLM orders the pair rightly."""
        logit = self._logit(z)
        pair = 0.5 * (logit[..., :, None] + logit[..., None, :])
        return tf.nn.softplus(pair) * gaps

    def _logit(self, z: Any) -> Any:
        return tf.linalg.matvec(tf.cast(z, self.weight.dtype), self.weight) + self.bias

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "signals": self.signals,
            "objective": self.objective,
            "initial_slope": self.initial_slope,
        }
