"""What a text encoder is, and what all of them share."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np


class TextEncoder(Protocol):
    """Turns texts into unit vectors, of which the cosine says how alike they are."""

    name: str

    def encode(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Unit vectors of texts; an empty text gives the zero vector.

        Args:
            texts: the texts.
            progress: called with (done, total).

        Returns:
            float32 `[len(texts), d]`.
        """
        ...


def by_length(texts: Sequence[str]) -> list[int]:
    """Rows of the texts that are not blank, the shortest first.

    Texts of like length then share a batch, so that little of it is padding.

    Example:
        >>> by_length(["a longer text", "  ", "short"])
        [2, 0]
    """
    rows = [row for row, text in enumerate(texts) if text.strip()]
    return sorted(rows, key=lambda row: (len(texts[row]), row))


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to unit length; a zero row stays zero.

    Args:
        vectors: float `[n, d]`.

    Returns:
        float32 `[n, d]`.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    # In double precision: the square of a large float32 would overflow.
    wide = np.asarray(vectors, np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(length > 0, length, 1)).astype(np.float32)
