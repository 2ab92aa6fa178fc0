"""A sentence encoder as teacher: how near a candidate's text is to the history's."""

from typing import Any

import numpy as np

from keras_sllmr.errors import ConfigError


class EncoderTeacher:
    r"""Soft maximum of the cosine between candidate and history texts.

    \(s_{u,i} = \tau \log \frac{1}{|H|} \sum_{h \in H} e^{\cos(v_h, v_i)/\tau}\)

    Args:
        vectors: float32 `[n_items + 1, d]`. Unit text vectors; a zero row is "no text".
        model: str. The encoder's name.
        text_hash: str. Hash of the texts and of how they were rendered.
        temperature: float > 0. τ. Defaults to `0.1`.
        name: str. Defaults to `"encoder"`.

    Raises:
        ConfigError: if `temperature` is not positive.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        *,
        model: str,
        text_hash: str,
        temperature: float = 0.1,
        name: str = "encoder",
    ) -> None:
        if not temperature > 0:
            raise ConfigError(
                f"`temperature` must be positive. Received: temperature={temperature}"
            )
        self.vectors = np.asarray(vectors, np.float32)
        self.known = np.abs(self.vectors).sum(1) > 0
        self.model, self.text_hash = model, text_hash
        self.temperature, self.name = temperature, name

    def describe(self) -> dict[str, Any]:
        """Model, text hash and parameters."""
        return {
            "name": self.name,
            "model": self.model,
            "prompt_hash": self.text_hash,
            "temperature": self.temperature,
            "pooling": "logmeanexp",
        }

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """See `Teacher.score`."""
        cosine = np.einsum(
            "uld,ucd->ulc",
            self.vectors[histories],
            self.vectors[candidates],
            optimize=True,
        )
        shown = self.known[histories][:, :, None]
        count = shown.sum(1)
        # Less the highest: at a low temperature exp would overflow or vanish.
        peak = cosine.max(axis=1, where=shown, initial=-1.0, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            weights = np.where(shown, np.exp((cosine - peak) / self.temperature), 0)
            mean = weights.sum(1) / count
            scores = peak[:, 0] + self.temperature * np.log(mean)
        answered = self.known[candidates] & (count > 0)
        return np.where(answered, scores, np.nan).astype(np.float32)
