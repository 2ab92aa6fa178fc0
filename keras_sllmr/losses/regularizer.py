"""What every regulariser of a block of LLM-scored items has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any


class Regularizer(ABC):
    """A loss of one user's LLM-scored items, as a sum of terms and their number.

    Kept apart, the two can be added over several blocks before they are divided: then
    the mean is over all terms of the batch, and λ means the same at every batch size.

    Subclasses must be registered with `keras.utils.register_keras_serializable` for a
    model that holds one to be saved.
    """

    @abstractmethod
    def terms(
        self, logits: Any, scores: Any, valid: Any, alpha: Callable[[Any], Any]
    ) -> tuple[Any, Any]:
        """The sum of the loss over a block's terms, and how many there are.

        Args:
            logits: float `[users, C]`. The model's scores.
            scores: float `[users, C]`. The LLM's scores in [0, 1].
            valid: bool `[users, C]`. Which scores exist.
            alpha: function of score gaps `[users, C, C]` to the gate's weights, which
                broadcast to them. Not every regulariser is gated.

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
