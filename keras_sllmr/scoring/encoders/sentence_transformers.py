"""Any `sentence-transformers` model, where that package is installed."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.errors import EnvironmentProblem
from keras_sllmr.scoring.encoders.base import by_length, unit_rows

# Texts between two calls of `progress`.
_CHUNK = 1024


class SentenceTransformerEncoder:
    """A `sentence-transformers` model.

    Args:
        model: str. Name on the model hub, or folder.
        batch_size: int. Texts a run. Defaults to `32`.
        device: str. E.g. `"cpu"` or `"cuda"`; none lets the package choose.
        prefix: str. Put before each text, for models that were trained with one, e.g.
            `"passage: "`. Defaults to none.

    Raises:
        EnvironmentProblem: when `sentence-transformers` is not installed, or, on
            first use, when the model can not be loaded.

    Example:
        >>> encoder = SentenceTransformerEncoder("BAAI/bge-small-en-v1.5")
        ... # doctest: +SKIP

    Reference:
        Reimers and Gurevych, "Sentence-BERT: Sentence embeddings using siamese
        BERT-networks", EMNLP 2019.
    """

    def __init__(
        self,
        model: str,
        *,
        batch_size: int = 32,
        device: str | None = None,
        prefix: str = "",
    ) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise EnvironmentProblem(
                "A sentence-transformers encoder needs that package. Install it with: "
                "pip install sentence-transformers"
            ) from error
        self._load = SentenceTransformer
        self.model, self.batch_size, self.device = model, batch_size, device
        self.prefix = prefix
        # A folder's place on this machine says nothing of the model.
        name = Path(model).resolve().name if Path(model).is_dir() else model
        self.name = f"{name}, prefix {prefix!r}" if prefix else name

    @cached_property
    def _model(self) -> Any:
        try:
            return self._load(self.model, device=self.device)
        except (OSError, ValueError, RuntimeError) as error:
            raise EnvironmentProblem(
                f"The encoder {self.model!r} can not be loaded: {error}. Give the name "
                "of a sentence-transformers model that is reachable from here, or a "
                "folder that holds one."
            ) from error

    @cached_property
    def dimension(self) -> int:
        """Components of a vector."""
        return int(self._encode(["text"]).shape[1])

    def encode(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Unit vectors of texts; see `TextEncoder.encode`."""
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        rows = by_length(texts)
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            vectors[chunk] = unit_rows(
                self._encode([self.prefix + texts[row] for row in chunk])
            )
            if progress:
                progress(start + len(chunk), len(rows))
        return vectors

    def _encode(self, texts: list[str]) -> np.ndarray:
        return np.asarray(
            self._model.encode(
                texts,
                batch_size=self.batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        )
