"""A question for the vectors of a few texts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sllmr.scoring.encoders.base import unit_rows
from keras_sllmr.scoring.llm.request import EMBEDDINGS, Answer, Request


@dataclass(frozen=True)
class EmbeddingQuestion:
    """Asks for the vectors of texts, and again for those that came out unusable.

    Blank texts are not asked about: they have no vector.

    Args:
        texts: the texts of one request.
        model: str. The embedding model.
        dimensions: int. Components to ask for; none for the model's own number.
        reasks: int ≥ 0. Most requests after the first. Defaults to `2`.
        endpoint: str. What stands for the endpoint in the requests' keys.

    Example:
        >>> question = EmbeddingQuestion(("a lipstick", ""), "text-embedding-3-small")
        >>> question.next([]).body["input"]
        ['a lipstick']
    """

    texts: tuple[str, ...]
    model: str
    dimensions: int | None = None
    reasks: int = 2
    endpoint: str = ""

    def next(self, answers: Sequence[Answer]) -> Request | None:
        """The request to send after these answers, or none when all is done."""
        _, missing, _ = self._read(answers)
        failed = any(answer.reason for answer in answers)
        if failed or not missing or len(answers) > self.reasks:
            return None
        body: dict[str, Any] = {
            "model": self.model,
            "input": [self.texts[row] for row in missing],
            "encoding_format": "float",
        }
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        return Request(EMBEDDINGS, body, attempt=len(answers), endpoint=self.endpoint)

    def vectors(self, answers: Sequence[Answer]) -> tuple[np.ndarray, Counter[str]]:
        """What these answers, in their order, say.

        Returns:
            float32 `[texts, d]`, unit rows; zero where there is none. `d` is 0 when no
            vector came and `dimensions` is not set. And how often each kind of bad
            answer came, `"missing"` being texts that are left without a vector.
        """
        found, missing, problems = self._read(answers)
        width = len(next(iter(found.values()))) if found else self.dimensions or 0
        rows = np.zeros((len(self.texts), width), np.float32)
        if found:
            rows[list(found)] = unit_rows(np.stack(list(found.values())))
        if missing:
            problems["missing"] = len(missing)
        return rows, problems

    def _read(
        self, answers: Sequence[Answer]
    ) -> tuple[dict[int, np.ndarray], list[int], Counter[str]]:
        """Vectors by row, the rows still missing, and the problems met."""
        found: dict[int, np.ndarray] = {}
        missing = [row for row, text in enumerate(self.texts) if text.strip()]
        problems: Counter[str] = Counter()
        width = self.dimensions
        for answer in answers:
            if answer.reason:
                problems[answer.reason] += 1
                break
            vectors = answer.vectors
            if vectors is None or vectors.ndim != 2 or len(vectors) != len(missing):
                problems["wrong number of vectors"] += 1
                continue
            # All of a question's vectors have the width of the first.
            width = width or vectors.shape[1]
            if vectors.shape[1] != width or not width:
                problems["wrong dimension"] += 1
                continue
            finite = np.isfinite(vectors).all(1)
            usable = finite & np.where(finite, (vectors != 0).any(1), False)
            problems["not finite"] += int((~finite).sum())
            problems["zero vector"] += int((finite & ~usable).sum())
            found |= {
                row: vectors[place]
                for place, row in enumerate(missing)
                if usable[place]
            }
            missing = [row for row in missing if row not in found]
        return found, missing, +problems
