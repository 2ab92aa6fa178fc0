"""`tf.data` pipelines: one epoch's plan of row indices, features gathered a batch."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.batch import GUIDANCE, LABELLED, PROBES
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.dealing import deal
from keras_sllmr.training.epoch_plan import EpochPlan
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.guidance import GuidanceBlocks
from keras_sllmr.training.row_inputs import RowInputs
from keras_sllmr.training.share import Share
from keras_sllmr.training.signals import SignalTables

_USERS_AT_ONCE = 64


class TrainingData:
    """Endless batches for `model.fit`, a pure function of the seed and the epoch.

    Each epoch takes every training positive once, in a new order, with a freshly drawn
    negative; a last batch that is not full is left out. With a score table each batch
    also holds blocks of LLM-scored candidates and of reliability probes.

    Args:
        split: the store's split.
        tables: gathers the features.
        scores: the LLM's score table, or `None` for plain batches.
        rows: what was made offline for every training row, or none, see `RowInputs`:
            the labelled rows then have it, and their negatives are those that it was
            made for, in turns by the epoch. Not with `scores`.
        settings: sizes. Defaults to `BatchSettings()`.
        labelled_pairs: bool. Do labelled items that have scores join the guidance: the
            other probes, and the labelled rows themselves?
        shuffled_from: int. Users with at least so many training events get their scores
            in a random order: a control. Defaults to nobody; 0 is everybody.
        seed: int. Seed of orders and negatives.

    Attributes:
        held_out: the probes that judge the gate, or `None` without scores.

    Raises:
        ConfigError: when a batch has no room for a positive and its negatives,
            `labelled_pairs` meets `shuffled_from`, or `rows` meets `scores` or another
            number of negatives than one, uniformly drawn.
        DataError: when the score table has no pair to learn from, or too few probes.
    """

    def __init__(
        self,
        split: LeaveOneOut,
        tables: FeatureTables,
        *,
        scores: ScoreTable | None = None,
        rows: RowInputs | None = None,
        settings: BatchSettings | None = None,
        labelled_pairs: bool = False,
        shuffled_from: int | None = None,
        seed: int = 0,
    ) -> None:
        self.split, self.tables, self.scores = split, tables, scores
        self.labelled_scores = labelled_pairs and scores is not None
        self.settings = settings = settings or BatchSettings()
        group = 1 + settings.negatives
        if settings.rows < group:
            raise ConfigError(
                "`rows` must hold a positive and its negatives. Received: "
                f"rows={settings.rows}, negatives={settings.negatives}"
            )
        if labelled_pairs and shuffled_from is not None:
            raise ConfigError(
                "`labelled_pairs` and `shuffled_from` exclude each other: labelled items "
                "would keep their true scores. Received: "
                f"shuffled_from={shuffled_from}, labelled_pairs=True"
            )
        if rows is not None:
            _check_rows(scores, settings)
        self.signals = SignalTables(
            split, cold_max=settings.cold_max, tail_share=settings.tail_share
        )
        self.train = split.train
        self.blocks: dict[str, tuple[GuidanceBlocks, int]] = {}
        self.held_out: GuidanceBlocks | None = None
        if scores is not None:
            dealt = deal(
                split,
                scores,
                settings=settings,
                labelled_pairs=labelled_pairs,
                shuffled_from=shuffled_from,
                seed=seed,
            )
            self.train, self.held_out = dealt.train, dealt.held_out
            for name, block, users in (
                (GUIDANCE, dealt.guidance, settings.guidance_users),
                (PROBES, dealt.probes, settings.probe_users),
            ):
                self.blocks[name] = (block, min(users, len(block)))
        self._plan = EpochPlan(
            split,
            self.train,
            settings=settings,
            rows=rows,
            blocks={
                n: (len(block), users) for n, (block, users) in self.blocks.items()
            },
            seed=seed,
        )

    def refer_to(self, logits: Callable[[dict[str, Any]], Any]) -> None:
        """Gives every block a reference model's logits.

        Args:
            logits: function of a block (see `training.batch`) to logits `[U, C]`.
        """

        def referred(block: GuidanceBlocks) -> GuidanceBlocks:
            starts = range(0, len(block), _USERS_AT_ONCE)
            rows = np.arange(len(block))

            # Traced once: eagerly each part would copy the block and the tables.
            @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
            def of_rows(rows: Any) -> Any:
                return logits(self.block_features(block, rows))

            parts = [of_rows(rows[k : k + _USERS_AT_ONCE]) for k in starts]
            return replace(block, reference=np.concatenate(parts))

        self.blocks = {n: (referred(b), users) for n, (b, users) in self.blocks.items()}
        if self.held_out is not None:
            self.held_out = referred(self.held_out)

    @property
    def positives(self) -> int:
        """Positives of a batch."""
        return self._plan.positives

    @property
    def rows(self) -> int:
        """Labelled rows of a batch."""
        return self.positives * (1 + self.settings.negatives)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return self._plan.steps

    def coverage(self, epoch: int = 0) -> float:
        """Share of an epoch's labelled rows that the score table has a score for."""
        if self.scores is None:
            return 0.0
        _, found = self._joined(self.plan(epoch))
        return float(found.mean())

    def plan(self, epoch: int) -> dict[str, np.ndarray]:
        """Row indices of an epoch's steps, each `[steps, ...]`, see `EpochPlan`."""
        plan = self._plan.of_epoch(epoch)
        if self.labelled_scores:
            plan["score"], plan["scored"] = self._joined(plan)
        return plan

    def _joined(self, plan: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the labelled rows, and which there are."""
        assert self.scores is not None
        scores, found = self.scores.lookup(plan["user"][..., np.newaxis], plan["item"])
        return np.where(found, scores, 0).astype(np.float32), found

    def dataset(
        self,
        *,
        first_epoch: int = 0,
        first_step: int = 0,
        epochs: int | None = None,
        blocks: Sequence[str] = (GUIDANCE, PROBES),
        share: Share | None = None,
        plans: Callable[[Any], dict[str, Any]] | None = None,
    ) -> Any:
        """Batches of `(features, labels)` from a step of an epoch on.

        Args:
            first_epoch: int. Epoch to start with.
            first_step: int. Step of it to start with.
            epochs: int. Epoch to stop before. Defaults to none: without end.
            blocks: names of the blocks beside the labelled rows. Defaults to all that
                there are.
            share: what some replicas take of each batch. Their parts follow each other,
                each in a group of its own: every leaf is `[1, ...]`. Defaults to whole
                batches, not in groups.
            plans: function of an epoch's number, a tensor, to its `plan` in tensors.
                Defaults to one that draws it here, in this process.

        Raises:
            ConfigError: when a batch does not divide by the share's replicas.
        """
        drawn = self._drawn_plans(first_epoch) if plans is None else plans

        def epoch_plan(epoch: Any) -> Any:
            plan = drawn(epoch)
            return tf.data.Dataset.from_tensor_slices(share.of(plan) if share else plan)

        last = np.iinfo(np.int64).max if epochs is None else epochs
        batches = tf.data.Dataset.range(first_epoch, last).flat_map(epoch_plan)
        batches = batches.skip(first_step * (share.count if share else 1))
        gather = partial(self._gather, blocks=blocks)
        batches = batches.map(gather, num_parallel_calls=1)
        return (batches.batch(1, drop_remainder=True) if share else batches).prefetch(8)

    def _drawn_plans(self, epoch: int) -> Callable[[Any], dict[str, Any]]:
        """Plans in tensors, by Python; all look like that of the given epoch."""
        like = self.plan(epoch)

        def planned(epoch: np.ndarray) -> list[np.ndarray]:
            return list(self.plan(int(epoch)).values())

        def drawn(epoch: Any) -> dict[str, Any]:
            dtypes = [values.dtype for values in like.values()]
            arrays = tf.numpy_function(planned, [epoch], dtypes, stateful=False)
            for array, values in zip(arrays, like.values(), strict=True):
                array.set_shape(values.shape)
            return dict(zip(like, arrays, strict=True))

        return drawn

    def _gather(self, step: dict[str, Any], blocks: Sequence[str]) -> Any:
        labels = np.zeros(step["item"].shape, np.float32)
        labels[:, 0] = 1
        labelled = self._features(step["user"], step["position"], step["item"])
        if "examples" in step:
            labelled["item"]["examples"] = step["examples"]
        if "teacher" in step:
            labelled["teacher"] = step["teacher"]
        if self.labelled_scores and GUIDANCE in blocks:
            labelled |= {
                "score": step["score"],
                "valid": step["scored"],
                "label": tf.constant(labels, tf.int32),
                "signals": self.signals.of(step["user"], step["item"]),
            }
        chosen = {
            name: self.block_features(block, step[name])
            for name, (block, _) in self.blocks.items()
            if name in blocks
        }
        return {LABELLED: labelled, **chosen}, tf.constant(labels)

    def _features(self, users: Any, positions: Any, items: Any) -> dict[str, Any]:
        return {
            "user": self.tables.user_features(users, positions, training=True),
            "item": self.tables.item_features(items),
        }

    def block_features(self, block: GuidanceBlocks, rows: Any) -> dict[str, Any]:
        """A batch's block: the features, scores, mask, labels and signals of rows.

        Args:
            block: candidates or probes.
            rows: int `[U]`. Which of its rows.
        """

        def chosen(values: np.ndarray) -> Any:
            return tf.gather(tf.constant(values), rows)

        users, items = chosen(block.users), chosen(block.items)
        referred = (
            {} if block.reference is None else {"reference": chosen(block.reference)}
        )
        return {
            **self._features(users, chosen(block.positions), items),
            "score": chosen(block.scores),
            "valid": items > 0,
            "label": chosen(block.labels),
            "signals": self.signals.of(users, items),
            **referred,
        }


def _check_rows(scores: ScoreTable | None, settings: BatchSettings) -> None:
    if scores is not None:
        raise ConfigError(
            "`rows` and `scores` exclude each other: a method takes one. Received: both"
        )
    if settings.negatives != 1 or settings.negative_sampling != "uniform":
        raise ConfigError(
            "What was made offline for the training rows is of one uniformly drawn "
            f"negative a positive. Received: negatives={settings.negatives}, "
            f"negative_sampling={settings.negative_sampling!r}"
        )
