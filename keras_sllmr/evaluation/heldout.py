"""The test split's rows: the same for every method that is compared."""

from typing import Any

import numpy as np
from pydantic import Field

from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.compare import CompareSettings
from keras_sllmr.evaluation.slices import Empty, Slices, tail_rows
from keras_sllmr.evaluation.slicing import SliceSettings, slice_masks
from keras_sllmr.io.hashing import fingerprint
from keras_sllmr.settings import Settings
from keras_sllmr.store.draws import negatives
from keras_sllmr.store.split import LeaveOneOut

_TEST = 501
#: Settings that do not change a model's values, but for `full_sample` those of a model
#: whose inputs depend on user and item together; see `EvaluationSettings.what`.
HOW = {"compare", "user_chunk", "item_block", "pairs_at_once", "full_sample"}


class EvaluationSettings(Settings):
    """What is measured, and how surely.

    Args:
        cold_max_train: int. A cold user has at most this many training events.
        tail_share: float. Share of the catalogue in the long tail.
        slices: more slices, see `SliceSettings`.
        empty: `error`, or `none` to keep a slice without rows, its figures being none.
        k: int. Cut-off of NDCG and Recall.
        full: bool. Rank against the whole catalogue too?
        full_sample: int or None. Of a model whose inputs depend on user and item
            together, which ranks a catalogue many times as slowly: rank each test row
            against this many items only, drawn uniformly from those that its user has
            not seen. `auc_full` is then an estimate without bias, and there is no NDCG
            or Recall. None ranks the whole catalogue, as every other model does.
        user_chunk: int. Users that the full ranking scores at a time, each with all
            items; see `GridScorer`, as for the next two. They bound the memory and do
            not change a score.
        item_block: int.
        pairs_at_once: int.
        seed: int. Of the sampled negatives.
        compare: see `CompareSettings`.
    """

    cold_max_train: int = Field(3, ge=0)
    tail_share: float = Field(0.2, gt=0, lt=1)
    slices: tuple[SliceSettings, ...] = ()
    empty: Empty = "error"
    k: int = Field(10, ge=1)
    full: bool = True
    full_sample: int | None = Field(100, ge=1)
    user_chunk: int | None = Field(None, ge=1)
    item_block: int = Field(1024, ge=1)
    pairs_at_once: int = Field(16_384, ge=1)
    seed: int = 0
    compare: CompareSettings = CompareSettings()

    def what(self, *, pairs: bool = False) -> dict[str, Any]:
        """The settings that decide a model's values, plain.

        Args:
            pairs: bool. Do its inputs depend on user and item together? Defaults to
                `False`.
        """
        decides = {"full_sample"} if pairs and self.full else set()
        return self.model_dump(mode="json", exclude=HOW - decides)


class TestRows:
    """The test split's rows, the same for every method.

    Args:
        split: the store's split.
        settings: defaults to `EvaluationSettings()`.

    Raises:
        ConfigError: when two slices have one name, or the store lacks a column.
        DataError: when a slice is empty and must not be.
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
        further: dict[str, np.ndarray] = {}
        for setting in self.settings.slices:
            masks = slice_masks(setting, split, self.targets)
            twice = sorted(masks.keys() & further.keys())
            if twice:
                raise ConfigError(
                    f"Slices need different names. Received: {', '.join(twice)} twice"
                )
            further |= masks
        self.slices = Slices(
            users=self.targets.users,
            positives=self.targets.items,
            user_train_counts=split.train_lengths,
            item_train_counts=split.train_counts,
            cold_max_train=self.settings.cold_max_train,
            tail_share=self.settings.tail_share,
            further=further,
            empty=self.settings.empty,
        )
        items = np.concatenate([self.targets.items, self.negatives])
        #: slices of the sampled rows alone.
        self.pools = {
            "tail_rows": tail_rows(
                items, self.slices.tail_items, empty=self.settings.empty
            )
        }
        #: what results must share to be compared.
        self.fingerprint = fingerprint(
            [
                split.store.fingerprint,
                self.settings.model_dump(
                    mode="json",
                    include={"cold_max_train", "tail_share", "slices", "k", "seed"},
                ),
            ]
        )
