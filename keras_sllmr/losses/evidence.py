"""The evidential regulariser: what a model knows, and what the LLM adds to it."""

from collections.abc import Mapping
from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.losses.pairs import score_gaps
from keras_sllmr.losses.regularizer import BlockGate, Regularizer

#: a score of 0 or 1 counts as this far from it: its log-odds must be finite.
_NEAREST = 1e-3


@keras.utils.register_keras_serializable("keras_sllmr")
class Evidence(Regularizer):
    r"""Cross-entropy of each pair's order against the gate's chance of it.

    \(\mathcal L = \frac{1}{|P|}\sum_{(i,j) \in P} H\big(\sigma(\rho_{ij} c_{ij} +
    \kappa_{ij} g_{ij}),\ \sigma(s_i - s_j)\big)\) over the pairs P that the LLM orders,
    where \(g_{ij}\) is the gap of the LLM's log-odds and \(c_{ij}\) the margin of a
    reference model that never saw the LLM. A hinge asks for the LLM's order whatever
    else is known of the pair; this asks for as much more as the LLM is worth there, and
    where it is worth nothing for what the reference says. It needs a gate with a prior.

    Example:
        >>> block = {"score": tf.constant([[0.5, 0.2]]), "valid": tf.fill([1, 2], True)}
        >>> even = BlockGate(alpha=lambda gaps: gaps, odds=lambda gaps: 0 * gaps)
        >>> total, pairs = Evidence().terms(tf.zeros([1, 2]), block, even)
        >>> round(float(total / pairs), 3)
        0.693

    Reference:
        Extends the paper's section 3.2. Pooling log-odds: Genest and Zidek, "Combining
        probability distributions", Statistical Science 1986.
    """

    def gaps(self, block: Mapping[str, Any]) -> Any:
        """Gaps of the scores' log-odds, `[users, C, C]`."""
        chance = tf.clip_by_value(block["score"], _NEAREST, 1 - _NEAREST)
        return score_gaps(tf.math.log(chance / (1 - chance)), block["valid"])

    def terms(
        self, logits: Any, block: Mapping[str, Any], gate: BlockGate
    ) -> tuple[Any, Any]:
        """The sum over the block's pairs and their number, see `Regularizer.terms`."""
        gaps = self.gaps(block)
        target = tf.stop_gradient(tf.sigmoid(gate.odds(gaps)))
        margins = logits[..., :, None] - logits[..., None, :]
        loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=margins)
        pairs = tf.cast(gaps > 0, logits.dtype)
        return tf.reduce_sum(loss * pairs), tf.reduce_sum(pairs)
