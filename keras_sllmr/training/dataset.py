"""`tf.data` pipelines: one epoch's plan of row indices, features gathered a batch."""

from typing import Any

import numpy as np
from pydantic import Field

from keras_sllmr.compat import tf
from keras_sllmr.settings import Settings
from keras_sllmr.store.draws import negatives, permutation
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut, Targets
from keras_sllmr.training.batch import GUIDANCE, LABELLED, PROBES
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.guidance import GuidanceBlocks

_NEGATIVE, _ORDER, _BLOCKS = 301, 302, 303


class BatchSettings(Settings):
    """Sizes of a training batch.

    Args:
        rows: int. Labelled rows, half of them sampled negatives. Defaults to `128`.
        guidance_users: int. Users whose LLM-scored candidates join a batch. Twice as
            many cost a quarter more time and gained nothing on validation.
        probe_users: int. Users whose reliability probe joins a batch.
        cold_max: int. A user is cold with at most this many training events.
        tail_share: float. Share of the catalogue that counts as long tail.
    """

    rows: int = Field(128, ge=2, multiple_of=2)
    guidance_users: int = Field(2, ge=1)
    probe_users: int = Field(2, ge=1)
    cold_max: int = Field(3, ge=0)
    tail_share: float = Field(0.2, gt=0, lt=1)


class TrainingData:
    """Endless batches for `model.fit`, a pure function of the seed and the epoch.

    Each epoch takes every training positive once, in a new order, with a freshly drawn
    negative; a last batch that is not full is left out. With a score table each batch
    also holds blocks of LLM-scored candidates and of reliability probes.

    Args:
        split: the store's split.
        tables: gathers the features.
        scores: the LLM's score table, or `None` for plain batches.
        settings: sizes. Defaults to `BatchSettings()`.
        seed: int. Seed of orders and negatives.

    Raises:
        DataError: when the score table has no pair to learn from.
    """

    def __init__(
        self,
        split: LeaveOneOut,
        tables: FeatureTables,
        *,
        scores: ScoreTable | None = None,
        settings: BatchSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.split, self.tables, self.seed = split, tables, seed
        self.scores = scores
        self.settings = settings = settings or BatchSettings()
        self.positives = min(settings.rows // 2, len(split.train))
        self.blocks: dict[str, tuple[GuidanceBlocks, int]] = {}
        if scores is not None:
            for name, users in (
                (GUIDANCE, settings.guidance_users),
                (PROBES, settings.probe_users),
            ):
                block = GuidanceBlocks.of(
                    scores,
                    split,
                    probes=name == PROBES,
                    cold_max=settings.cold_max,
                    tail_share=settings.tail_share,
                )
                self.blocks[name] = (block, min(users, len(block)))

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return len(self.split.train) // self.positives

    def coverage(self, epoch: int = 0) -> float:
        """Share of an epoch's labelled rows that the score table has a score for."""
        if self.scores is None:
            return 0.0
        plan = self.plan(epoch)
        _, found = self.scores.lookup(plan["user"], plan["item"])
        return float(found.mean())

    def plan(self, epoch: int) -> dict[str, np.ndarray]:
        """Row indices of an epoch's steps, each `[steps, ...]`."""
        train, steps = self.split.train, self.steps_per_epoch
        order = permutation(len(train), self.seed, _ORDER, epoch)
        order = order[: steps * self.positives]
        users, positions = train.users[order], train.positions[order]
        drawn = negatives(
            users, self.split.seen, self.seed, _NEGATIVE, epoch, users, positions
        )
        shape = (steps, self.positives)

        def twice(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            return np.concatenate([first.reshape(shape), second.reshape(shape)], 1)

        plan = {
            "user": twice(users, users),
            "position": twice(positions, positions),
            "item": twice(train.items[order], drawn),
        }
        for key, (name, (block, users_a_step)) in enumerate(self.blocks.items()):
            rows = self._block_rows(len(block), steps * users_a_step, epoch, key)
            plan[name] = rows.reshape(steps, users_a_step)
        return {name: value.astype(np.int64) for name, value in plan.items()}

    def _block_rows(self, rows: int, wanted: int, epoch: int, key: int) -> np.ndarray:
        cycles = range(-(-wanted // rows))
        orders = [
            permutation(rows, self.seed, _BLOCKS, key, epoch, cycle) for cycle in cycles
        ]
        return np.concatenate(orders)[:wanted]

    def dataset(self, *, first_epoch: int = 0) -> Any:
        """Batches of `(features, labels)` from `first_epoch` on, without end."""
        plan = self.plan(first_epoch)
        names = list(plan)

        def planned(epoch: np.ndarray) -> list[np.ndarray]:
            return list(self.plan(int(epoch)).values())

        def epoch_plan(epoch: Any) -> Any:
            arrays = tf.numpy_function(
                planned, [epoch], [tf.int64] * len(names), stateful=False
            )
            for name, array in zip(names, arrays, strict=True):
                array.set_shape(plan[name].shape)
            return tf.data.Dataset.from_tensor_slices(
                dict(zip(names, arrays, strict=True))
            )

        epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
        batches = epochs.flat_map(epoch_plan)
        return batches.map(self._gather, num_parallel_calls=1).prefetch(8)

    def _gather(self, step: dict[str, Any]) -> Any:
        rows = self.tables.features(step["user"], step["position"], step["item"])
        count = self.positives
        labels = tf.concat([tf.ones([count, 1]), tf.zeros([count, 1])], 0)
        if not self.blocks:
            return rows, labels
        batch = {LABELLED: rows}
        for name, (block, _) in self.blocks.items():
            batch[name] = block_features(block, self.tables, step[name])
        return batch, labels


def block_features(block: GuidanceBlocks, tables: FeatureTables, rows: Any) -> Any:
    """A batch's block: the chosen rows' features, scores, mask, labels and signals."""
    items = tf.gather(tf.constant(block.items), rows)
    width = block.items.shape[1]

    def wide(values: np.ndarray) -> Any:
        return tf.repeat(tf.gather(tf.constant(values), rows)[:, None], width, axis=1)

    return {
        "features": tables.features(wide(block.users), wide(block.positions), items),
        "score": tf.gather(tf.constant(block.scores), rows),
        "valid": items > 0,
        "label": tf.gather(tf.constant(block.labels), rows),
        "signals": {
            name: tf.gather(tf.constant(values), rows)
            for name, values in block.signals.items()
        },
    }


def row_batches(
    tables: FeatureTables, targets: Targets, items: np.ndarray, *, batch: int = 2048
) -> Any:
    """Feature batches of given rows, in order, for `predict` and `evaluate`.

    Args:
        tables: gathers the features.
        targets: users and positions of the rows.
        items: int `[rows]`. The items to score in place of the targets'.
        batch: int. Rows a batch.
    """
    rows = (targets.users, targets.positions, items)
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(batch)
    return dataset.map(tables.features).prefetch(2)
