"""What every regulariser of a block of LLM-scored items has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from keras_sllmr.losses.pairs import score_gaps


@dataclass(frozen=True)
class BlockGate:
    """What the gate says of one block's pairs.

    Args:
        alpha: function of score gaps `[users, C, C]` to the gate's weights, which
            broadcast to them.
        odds: function of score gaps to the log-odds that i belongs above j, with a
            reference model's word where the gate has a prior.
    """

    alpha: Callable[[Any], Any]
    odds: Callable[[Any], Any]


class Regularizer(ABC):
    """A loss of one user's LLM-scored items, as a sum of terms and their number.

    Kept apart, the two can be added over several blocks before they are divided: then
    the mean is over all terms of the batch, and λ means the same at every batch size.

    Subclasses must be registered with `keras.utils.register_keras_serializable` for a
    model that holds one to be saved.
    """

    def gaps(self, block: Mapping[str, Any]) -> Any:
        """The LLM's score gaps that the gate judges, `[users, C, C]`."""
        return score_gaps(block["score"], block["valid"])

    @abstractmethod
    def terms(
        self, logits: Any, block: Mapping[str, Any], gate: BlockGate
    ) -> tuple[Any, Any]:
        """The sum of the loss over a block's terms, and how many there are.

        Args:
            logits: float `[users, C]`. The model's scores.
            block: `score`, the LLM's scores in [0, 1], and `valid`, which exist, both
                `[users, C]`; see `training.batch`.
            gate: weighs pairs. Not every regulariser is gated.

        Returns:
            Two scalars of the dtype of `logits`.
        """

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Regularizer":
        """Rebuilds the regulariser."""
        return cls(**config)
