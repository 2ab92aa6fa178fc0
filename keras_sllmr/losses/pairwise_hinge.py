"""The pairwise regulariser: order a user's items as the LLM does."""

from collections.abc import Callable, Mapping
from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.losses.pairs import select_pairs
from keras_sllmr.losses.regularizer import BlockGate, Regularizer
from keras_sllmr.losses.replicas import mean_over_replicas

FORMS: dict[str, Callable[[Any], Any]] = {
    "hinge": tf.nn.relu,
    "logistic": tf.nn.softplus,
}


@keras.utils.register_keras_serializable("keras_sllmr")
class PairwiseHinge(Regularizer):
    r"""Gated hinge over the pairs that the LLM orders, averaged over them.

    \(\mathcal L = \frac{1}{|P|}\sum_{(i,j) \in P} \alpha_{ij}
    \,\phi(m - (s_i - s_j))\) with \(P = \{(i,j): s^{LLM}_i > s^{LLM}_j\}\) and

    - \(\phi(x) = \max(0, x)\) for the form `"hinge"`, the paper's;
    - \(\phi(x) = \log(1 + e^x)\) for `"logistic"`, the same hinge made soft: it goes on
      widening the lead of a pair that already has its margin.

    The mean is over the pairs of the batch whatever their α, so that λ means the same
    at every batch size; a batch without a pair costs 0.

    Args:
        margin: float > 0. m, on the scale of the logits. Defaults to `0.5`.
        form: str. `"hinge"` or `"logistic"`. Defaults to `"hinge"`.
        max_pairs: int ≥ 1 or None. Keeps the pairs that the LLM is most confident of,
            about this many a block, see `select_pairs`. Defaults to `None`: all.

    Raises:
        ConfigError: if `margin` is not positive, `form` is unknown or `max_pairs` is
            not a positive integer.

    Example:
        >>> gaps = score_gaps(tf.constant([[0.9, 0.1]]), tf.constant([[True, True]]))
        >>> float(PairwiseHinge(margin=1.0)(tf.constant([[0.2, 0.0]]), gaps, 1.0))
        0.800000011920929

    Reference:
        The paper's section 3.2.
    """

    def __init__(
        self,
        margin: float = 0.5,
        form: str = "hinge",
        max_pairs: int | None = None,
    ) -> None:
        if not margin > 0:
            raise ConfigError(f"`margin` must be positive. Received: margin={margin}")
        if form not in FORMS:
            raise ConfigError(
                f"`form` must be one of {', '.join(FORMS)}. Received: form={form!r}"
            )
        if max_pairs is not None and (not isinstance(max_pairs, int) or max_pairs < 1):
            raise ConfigError(
                "`max_pairs` must be a positive integer, or None for all pairs. "
                f"Received: max_pairs={max_pairs!r}"
            )
        self.margin, self.form, self.max_pairs = float(margin), form, max_pairs

    def __call__(self, logits: Any, gaps: Any, alpha: Any) -> Any:
        """Loss of a block of users.

        Args:
            logits: float `[users, C]`. The model's scores.
            gaps: float `[users, C, C]`. From `score_gaps`.
            alpha: float, broadcasts to `gaps`. Gate of each pair.

        Returns:
            Scalar.
        """
        return mean_over_replicas(*self._terms(logits, self._chosen(gaps), alpha))

    def terms(
        self, logits: Any, block: Mapping[str, Any], gate: BlockGate
    ) -> tuple[Any, Any]:
        """The sum over the block's pairs and their number, see `Regularizer.terms`."""
        gaps = self._chosen(self.gaps(block))
        return self._terms(logits, gaps, gate.alpha(gaps))

    def _chosen(self, gaps: Any) -> Any:
        return gaps if self.max_pairs is None else select_pairs(gaps, self.max_pairs)

    def _terms(self, logits: Any, gaps: Any, alpha: Any) -> tuple[Any, Any]:
        margins = logits[..., :, None] - logits[..., None, :]
        pairs = tf.cast(gaps > 0, logits.dtype)
        loss = pairs * alpha * FORMS[self.form](self.margin - margins)
        return tf.reduce_sum(loss), tf.reduce_sum(pairs)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"margin": self.margin, "form": self.form, "max_pairs": self.max_pairs}
