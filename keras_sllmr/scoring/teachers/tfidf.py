"""TF-IDF as teacher: words that a candidate shares with the history."""

from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from keras_sllmr.errors import DataError
from keras_sllmr.io.hashing import fingerprint

_BLOCK = 200_000


class TfidfTeacher:
    r"""Largest TF-IDF cosine between a candidate and the history.

    \(s_{u,i} = \max_{h \in H} \cos(t_h, t_i)\)

    Args:
        texts: str `[n_items + 1]`. Item texts; an empty text is "no text".
        name: str. Defaults to `"tfidf"`.

    Raises:
        DataError: when no text has a word.
    """

    def __init__(self, texts: np.ndarray, *, name: str = "tfidf") -> None:
        self.name = name
        self.text_hash = fingerprint(list(texts))
        vectorizer = TfidfVectorizer(
            token_pattern=r"(?u)\b\w+\b", sublinear_tf=True, dtype=np.float32
        )
        try:
            self.vectors = vectorizer.fit_transform(texts)
        except ValueError as error:
            raise DataError(
                f"TF-IDF needs item texts with words. Received: {len(texts)} texts, "
                "all of them without. Import the items with their texts."
            ) from error
        self.known = np.diff(self.vectors.indptr) > 0

    def describe(self) -> dict[str, Any]:
        """Text hash and parameters."""
        return {
            "name": self.name,
            "model": "tfidf",
            "prompt_hash": self.text_hash,
            "pooling": "max",
        }

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """See `Teacher.score`."""
        users, length = histories.shape
        width = candidates.shape[1]
        left = np.repeat(histories, width, axis=1).ravel()
        right = np.tile(candidates, (1, length)).ravel()
        # Only pairs of two texts can be similar; the others cost nothing.
        useful = np.flatnonzero(self.known[left] & self.known[right])
        cosine = np.zeros(len(left), np.float32)
        for start in range(0, len(useful), _BLOCK):
            rows = useful[start : start + _BLOCK]
            product = self.vectors[left[rows]].multiply(self.vectors[right[rows]])
            cosine[rows] = np.asarray(product.sum(1)).ravel()
        best = cosine.reshape(users, length, width).max(1)
        answered = self.known[candidates] & self.known[histories].any(1)[:, None]
        return np.where(answered, best, np.nan).astype(np.float32)
