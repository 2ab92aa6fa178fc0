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
    r"""One-layer gate on signals \(z_i = [Cold(u), Tail(i), q_{u,i}]\) and on pairs'.

    - `"agreement"` (default): the gate learns from pairs whose right order is known,
      a hidden training positive and a sampled negative, how far the LLM's score gap is
      evidence there: \(p_{ij} = \sigma(\kappa_{ij} g_{ij})\) is the chance that the LLM
      orders the pair rightly, with its score gap g and \(\kappa_{ij} =
      \mathrm{softplus}(\frac12 w^\top (z_i + z_j) + v^\top r_{ij} + b)\); it minimises
      the cross-entropy of p, and \(\alpha_{ij} = 2 p_{ij} - 1\), the advantage over a
      coin, weighs the hinge without a gradient from it. An LLM no better than chance
      gets α = 0.
    - `"joint"`: the paper's \(\alpha_{ij} = \frac12(\sigma(w^\top z_i + b) +
      \sigma(w^\top z_j + b))\), with \(v^\top r_{ij}\) added to both logits, trained
      through the hinge. As the hinge is never negative, every gradient closes this
      gate: it collapses within an epoch or two.
    - `"fixed"`: α ≡ 1, the global ablation.

    Signals r of a pair, such as the model's margin, have weights v of their own; the
    paper has none.

    With `prior=True`, for `"agreement"` and `"fixed"`, the gate weighs a second witness
    beside the LLM: a reference model's margin \(c_{ij}\) on the pair. Then
    \(p_{ij} = \sigma(\kappa_{ij} g_{ij} + \rho_{ij} c_{ij})\) with
    \(\rho_{ij} = \mathrm{softplus}(\frac12 u^\top (z_i + z_j) + a)\), so that κ is what the
    LLM adds to what the model knows; α is \(2\sigma(\kappa_{ij} g_{ij}) - 1\) as before.

    Args:
        signals: names of the items' signals, in the order of the last axis of `z`.
        pair_signals: names of the pairs' signals, in the order of the last axis of `r`.
            Defaults to none.
        objective: str. See above. Defaults to `"agreement"`.
        initial_slope: float > 0. κ before training, in log-odds for a gap of 1, unless
            the objective is `"joint"`. Defaults to `3.0`.
        prior: bool. See above. Defaults to `False`.

    Raises:
        ConfigError: on an unknown objective, no signals, a name given twice, a slope
            that is not positive and finite or a joint gate with a prior; when called without the pairs' signals
            that the gate has.

    Example:
        >>> gate = Gate(("cold",), initial_slope=2.0)
        >>> alpha = gate(tf.ones([2, 1]), tf.constant([[0.0, 1.0], [0.0, 0.0]]))
        >>> round(float(alpha[0, 1]), 3)
        0.762

    Reference:
        The paper's section 3.3.
    """

    def __init__(
        self,
        signals: Sequence[str] = SIGNALS,
        *,
        pair_signals: Sequence[str] = (),
        objective: str = "agreement",
        initial_slope: float = 3.0,
        prior: bool = False,
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
        names = (*signals, *pair_signals)
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                "`signals` and `pair_signals` must name at least one signal, each "
                f"once. Received: {', '.join(names) or 'none'}"
            )
        if not 0 < initial_slope < np.inf:
            raise ConfigError(
                "`initial_slope` must be positive and finite. "
                f"Received: initial_slope={initial_slope}"
            )
        if prior and objective == "joint":
            raise ConfigError(
                "A gate with a `prior` must have the objective 'agreement' or 'fixed'. "
                "Received: objective='joint'"
            )
        self.prior = prior
        self.signals, self.pair_signals = tuple(signals), tuple(pair_signals)
        self.objective = objective
        self.initial_slope = float(initial_slope)
        if objective == "fixed":
            self.trainable = False

    def build(self, input_shape: Any) -> None:
        """Makes w and v (zeros) and b."""
        joint = self.objective == "joint"
        bias = 0.0 if joint else _inverse_softplus(self.initial_slope)
        self.weight = self.add_weight(
            name="weight", shape=(len(self.signals),), initializer="zeros"
        )
        self.bias = self.add_weight(
            name="bias", shape=(), initializer=keras.initializers.Constant(bias)
        )
        if self.pair_signals:
            self.pair_weight = self.add_weight(
                name="pair_weight",
                shape=(len(self.pair_signals),),
                initializer="zeros",
            )
        if self.prior:
            self.prior_weight = self.add_weight(
                name="prior_weight", shape=(len(self.signals),), initializer="zeros"
            )
            self.prior_bias = self.add_weight(
                name="prior_bias",
                shape=(),
                initializer=keras.initializers.Constant(_inverse_softplus(1.0)),
            )
        super().build(input_shape)

    def call(self, z: Any, gaps: Any, r: Any = None) -> Any:
        """α of every pair.

        Args:
            z: float `[..., C, S]`. Signals of each item.
            gaps: float `[..., C, C]`. The LLM's score gaps, see `score_gaps`.
            r: float `[..., C, C, R]`. Signals of each pair, if the gate has any.

        Returns:
            float `[..., C, C]` in [0, 1]; without a gradient for `"agreement"`.
        """
        if self.objective == "fixed":
            return tf.ones_like(gaps)
        if self.objective == "joint":
            of_first, of_second = self._logits(z, r)
            return 0.5 * (tf.sigmoid(of_first) + tf.sigmoid(of_second))
        return tf.stop_gradient(tf.tanh(0.5 * self.evidence(z, gaps, r)))

    def evidence(self, z: Any, gaps: Any, r: Any = None) -> Any:
        r"""Log-odds \(\kappa_{ij} g_{ij}\) that the LLM orders the pair rightly."""
        of_first, of_second = self._logits(z, r)
        return tf.nn.softplus(0.5 * (of_first + of_second)) * gaps

    def odds(self, z: Any, gaps: Any, r: Any = None, margins: Any = None) -> Any:
        r"""Log-odds \(\kappa_{ij} g_{ij} + \rho_{ij} c_{ij}\) that i belongs above j.

        Args:
            z: as for a call.
            gaps: as for a call.
            r: as for a call.
            margins: float `[..., C, C]`. c, for a gate with a prior.
        """
        evidence = self.evidence(z, gaps, r)
        if not self.prior:
            return evidence
        z = tf.cast(z, self.prior_weight.dtype)
        item = tf.linalg.matvec(z, self.prior_weight) + self.prior_bias
        slope = tf.nn.softplus(0.5 * (item[..., :, None] + item[..., None, :]))
        return evidence + slope * margins

    def belief(self, z: Any, gaps: Any, r: Any = None, margins: Any = None) -> Any:
        """The gate's chance that i belongs above j; α where it is no such chance."""
        if self.objective == "agreement" or self.prior:
            return tf.sigmoid(self.odds(z, gaps, r, margins))
        return self(z, gaps, r)

    def _logits(self, z: Any, r: Any) -> tuple[Any, Any]:
        """Logits of each pair's first and second item; broadcast to `[..., C, C]`."""
        item = tf.linalg.matvec(tf.cast(z, self.weight.dtype), self.weight) + self.bias
        of_first, of_second = item[..., :, None], item[..., None, :]
        if not self.pair_signals:
            return of_first, of_second
        if r is None:
            raise ConfigError(
                "A gate with pair signals must be called with them, as `r`. "
                f"Received: r=None for {', '.join(self.pair_signals)}"
            )
        pair = tf.linalg.matvec(tf.cast(r, self.weight.dtype), self.pair_weight)
        return of_first + pair, of_second + pair

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "signals": self.signals,
            "pair_signals": self.pair_signals,
            "objective": self.objective,
            "initial_slope": self.initial_slope,
            "prior": self.prior,
        }


def _inverse_softplus(value: float) -> float:
    # In a form that does not overflow.
    return value + float(np.log(-np.expm1(-value)))
