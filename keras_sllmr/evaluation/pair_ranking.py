"""Rankings by models whose inputs depend on user and item together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_sllmr.compat import tf
from keras_sllmr.errors import DataError
from keras_sllmr.evaluation.full_ranking import FullRanking
from keras_sllmr.store.draws import SeenItems, negatives
from keras_sllmr.store.split import Targets
from keras_sllmr.training.feature_tables import FeatureTables

_DRAWN = 502
#: A retrieval compares each row with every example, which takes the memory.
_PAIRS_AT_ONCE = 1024


class PairScorer:
    """Scores users with items a pair at a time: nothing is computed once a user.

    It is a scorer for `full_ranking`, where a model's inputs cannot be told apart into
    those of users and of items as `GridScorer` needs it.

    Args:
        backbone: the model, from features to logits.
        tables: gathers the features.
        n_items: int. Size of the catalogue.
    """

    user_chunk = 1

    def __init__(self, backbone: Any, tables: FeatureTables, n_items: int) -> None:
        self.n_items = n_items
        row = tf.TensorSpec([None], tf.int64)

        @tf.function(input_signature=[row, row, row])
        def logits(users: Any, positions: Any, items: Any) -> Any:
            features = tables.features(users, positions, items)
            return tf.reshape(backbone(features, training=False), [-1])

        self._logits = logits

    def score(self, features: Mapping[str, Any]) -> np.ndarray:
        """Logits `[users, n_items]` of all items.

        Args:
            features: `users` and `positions`, int `[users]` each.
        """
        users, positions = features["users"], features["positions"]
        items = np.arange(1, self.n_items + 1)
        return self.logits(users, positions, np.tile(items, [len(users), 1]))

    def logits(
        self, users: np.ndarray, positions: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        """Logits `[rows, n]` of some items of each row.

        Args:
            users: int `[rows]`.
            positions: int `[rows]`. Place of the row in the user's events.
            items: int `[rows, n]`.
        """
        width = items.shape[1]
        pairs = (np.repeat(users, width), np.repeat(positions, width), items.ravel())
        found = [
            self._logits(*(part[start : start + _PAIRS_AT_ONCE] for part in pairs))
            for start in range(0, items.size, _PAIRS_AT_ONCE)
        ]
        return np.concatenate(found).reshape(items.shape)


def sampled_ranking(
    scorer: PairScorer,
    targets: Targets,
    seen: SeenItems,
    *,
    sample: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> FullRanking:
    """Counts, for every test row, the drawn items that score above its positive.

    Each item is drawn uniformly from those that the row's user never interacted with,
    whatever was drawn before, so that the share of them below the positive estimates
    that of the whole catalogue without bias.

    Args:
        scorer: scores the pairs.
        targets: the test rows.
        seen: what the users have interacted with.
        sample: int ≥ 1. Items a row.
        seed: int. The draws are a pure function of it and the row's user.
        progress: called with (rows done, rows in all).

    Raises:
        DataError: when a score is not finite, or a user has seen nearly everything.
    """
    rows, draws = len(targets), np.arange(sample)
    counts = np.zeros((2, rows), np.int64)
    step = max(1, _PAIRS_AT_ONCE // (1 + sample))
    for start in range(0, rows, step):
        here = slice(start, min(start + step, rows))
        users = targets.users[here]
        each = np.repeat(users, sample)
        drawn = negatives(each, seen, seed, _DRAWN, each, np.tile(draws, len(users)))
        items = np.column_stack([targets.items[here], drawn.reshape(-1, sample)])
        # The positive with the others: by itself its last digits could differ.
        logits = scorer.logits(users, targets.positions[here], items)
        if not np.isfinite(logits).all():
            raise DataError(
                "Scores must be finite. Received: "
                f"{np.count_nonzero(~np.isfinite(logits))} that are not; a model that "
                "gives NaN has usually diverged"
            )
        own, others = logits[:, :1], logits[:, 1:]
        counts[:, here] = [(others > own).sum(axis=1), (others == own).sum(axis=1)]
        if progress is not None:
            progress(here.stop, rows)
    above, ties = counts
    return FullRanking(above, ties, candidates=np.full(rows, sample))
