"""What an export should answer, from the Keras model's logits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from keras_sllmr.serving.requests import RANKINGS

_PADDING = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Expected:
    r"""The right outputs of every signature, to compare those of an export with.

    Args:
        rows: float `[rows]`. The Keras model's logits of the rows.
        grid: float `[users, C]`. Its logits of each user's candidates.
        candidates: int `[users, C]`. Their indices, 0 for padding.
        item_ids: str `[n_items + 1]`. Ids by index.

    Example:
        >>> expected = Expected(np.zeros(2), np.zeros((2, 0)), np.zeros((2, 0)), ())
        >>> expected.differences("regress", {"outputs": np.full((2, 1), 0.75)})
        {'outputs': 0.25}
    """

    rows: np.ndarray
    grid: np.ndarray
    candidates: np.ndarray
    item_ids: np.ndarray

    def differences(
        self, signature: str, found: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        r"""The largest difference of each output, NaN when it is no number.

        \(|x - y| / \max(1, |y|)\): a float32 cannot tell large logits apart by less.
        Of the names of top items it is that of their logits from the best ones'.

        Args:
            signature: see `RawIdScorer.signatures`.
            found: the export's outputs.
        """
        if signature in RANKINGS:
            expected, found = self._ranking(found)
        else:
            expected = self._of_rows()
        return {name: _largest(x, expected[name]) for name, x in found.items()}

    def _of_rows(self) -> dict[str, np.ndarray]:
        scores = expit(self.rows)
        return {
            "logit": self.rows,
            "score": scores,
            "outputs": scores[:, np.newaxis],
            "scores": np.stack([1 - scores, scores], axis=1),
            "classes": np.tile([0.0, 1.0], (len(scores), 1)),
        }

    def _ranking(
        self, found: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        logits = np.where(self.candidates == 0, _PADDING, self.grid)
        top = -np.sort(-logits, axis=1)[:, : found["top_logit"].shape[1]]
        expected = {
            "logit": logits,
            "score": expit(logits),
            "top_logit": top,
            "top_score": expit(top),
            "top_item_id": top,
            "top_item": top,
        }
        found = dict(found)
        for name in {"top_item_id", "top_item"} & set(found):
            ids = self.candidates
            if name == "top_item_id":
                utf8 = [str(item).encode("utf-8") for item in self.item_ids]
                ids = np.array(utf8, object)[self.candidates]
            same = found[name][:, :, np.newaxis] == ids[:, np.newaxis, :]
            named = np.take_along_axis(logits, same.argmax(axis=2), axis=1)
            found[name] = np.where(same.any(axis=2), named, np.nan)
        return expected, found


def _largest(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:
        return float("nan")
    found = found.astype(np.float64)
    scale = np.maximum(1, np.abs(expected))
    return float(np.max(np.abs(found - expected) / scale, initial=0.0))
