"""The test split's rows: the same for every method that is compared."""

import numpy as np
from pydantic import Field

from keras_sllmr.evaluation.slices import Slices, tail_rows
from keras_sllmr.settings import Settings
from keras_sllmr.store.draws import negatives
from keras_sllmr.store.split import LeaveOneOut

_TEST = 501


class EvaluationSettings(Settings):
    """What is measured, and how surely.

    Args:
        cold_max_train: int. A cold user has at most this many training events.
        tail_share: float. Share of the catalogue in the long tail.
        k: int. Cut-off of NDCG and Recall.
        level: float. Of the confidence intervals.
        replicates: int. Bootstrap replicates.
        full: bool. Rank against the whole catalogue too?
        seed: int. Of the sampled negatives and the bootstrap.
    """

    cold_max_train: int = Field(3, ge=0)
    tail_share: float = Field(0.2, gt=0, lt=1)
    k: int = Field(10, ge=1)
    level: float = Field(0.95, gt=0, lt=1)
    replicates: int = Field(1000, ge=1)
    full: bool = True
    seed: int = 0


class TestRows:
    """The test split's rows, the same for every method.

    Args:
        split: the store's split.
        settings: defaults to `EvaluationSettings()`.

    Raises:
        DataError: when a slice is empty.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    def __init__(
        self, split: LeaveOneOut, settings: EvaluationSettings | None = None
    ) -> None:
        self.split = split
        self.settings = settings or EvaluationSettings()
        self.targets = split.test
        self.negatives = negatives(
            self.targets.users,
            split.seen,
            self.settings.seed,
            _TEST,
            self.targets.users,
        )
        self.slices = Slices(
            users=self.targets.users,
            positives=self.targets.items,
            user_train_counts=split.train_lengths,
            item_train_counts=split.train_counts,
            cold_max_train=self.settings.cold_max_train,
            tail_share=self.settings.tail_share,
        )
        #: one entry a sampled row: the positives, then their negatives.
        self.users = np.tile(self.targets.users, 2)
        self.items = np.concatenate([self.targets.items, self.negatives])
        self.labels = np.repeat([1, 0], len(self.targets))

    def pools(self) -> dict[str, np.ndarray]:
        """The slices as masks over the sampled rows, and `tail_rows`."""
        pools = {name: np.tile(mask, 2) for name, mask in self.slices.items()}
        pools["tail_rows"] = tail_rows(self.items, self.slices.tail_items)
        return pools

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows and users of each slice."""
        test = {name: self.targets.users[mask] for name, mask in self.slices.items()}
        users = {**test, "tail_rows": self.users[self.pools()["tail_rows"]]}
        return {
            name: {"rows": len(rows), "users": len(np.unique(rows))}
            for name, rows in users.items()
        }
