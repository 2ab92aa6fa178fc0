"""`tf.data` pipelines: one epoch's plan of row indices, features gathered a batch."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.settings import Settings
from keras_sllmr.store.draws import negatives, permutation
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut, Targets
from keras_sllmr.training.batch import GUIDANCE, LABELLED, PROBES
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.guidance import GuidanceBlocks
from keras_sllmr.training.row_inputs import RowInputs
from keras_sllmr.training.share import Share
from keras_sllmr.training.signals import SignalTables

_NEGATIVE, _ORDER, _BLOCKS, _GATE_PROBES = 301, 302, 303, 304
_USERS_AT_ONCE = 64
#: half of them supervise and judge the gate.
_FEWEST_PROBES = 4


class BatchSettings(Settings):
    """Sizes of a training batch.

    Args:
        rows: int. Labelled rows: positives, each with its negatives. Defaults to `128`.
        negatives: int. Sampled negatives of a positive (K). Defaults to `1`.
        negative_sampling: str. `uniform` over the catalogue, or `in_batch`: the next
            positives of the batch, so by popularity; those that the user has seen give
            way to uniform ones. Defaults to `uniform`.
        guidance_users: int. Users whose LLM-scored candidates join a batch. Twice as
            many cost a quarter more time and gained nothing on validation.
        probe_users: int. Users whose reliability probe joins a batch.
        gate_probes: int. Probes that supervise the gate, at most half of all there are;
            a quarter of them is kept to judge it by. Their positives leave the labelled
            rows, so that what the model says of them is out of sample.
        cold_max: int. A user is cold with at most this many training events.
        tail_share: float. Share of the catalogue that counts as long tail.
    """

    rows: int = Field(128, ge=2)
    negatives: int = Field(1, ge=1)
    negative_sampling: Literal["uniform", "in_batch"] = "uniform"
    guidance_users: int = Field(2, ge=1)
    probe_users: int = Field(2, ge=1)
    gate_probes: int = Field(2000, ge=2)
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
        self.split, self.tables, self.seed = split, tables, seed
        self.scores, self.row_inputs = scores, rows
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
            self._take_scores(scores, labelled_pairs, shuffled_from)
        self.positives = min(settings.rows // group, len(self.train))

    def _take_scores(
        self, scores: ScoreTable, labelled_pairs: bool, shuffled_from: int | None
    ) -> None:
        """Deals the scored items out to guidance, the gate and its judges."""
        split, settings, seed = self.split, self.settings, self.seed

        def scored(probes: bool) -> GuidanceBlocks:
            block = GuidanceBlocks.of(scores, probes=probes)
            if shuffled_from is None:
                return block
            chosen = split.train_lengths[block.users] >= shuffled_from
            return block.shuffled(chosen, seed)

        guidance, probes = scored(probes=False), scored(probes=True)
        if len(probes) < _FEWEST_PROBES:
            raise DataError(
                f"Guidance needs probes of at least {_FEWEST_PROBES} users. Received: "
                f"{len(probes)}. Score more users, or turn the probes on."
            )
        order = permutation(len(probes), seed, _GATE_PROBES)
        chosen = min(settings.gate_probes, len(probes) // 2)
        judges = max(1, chosen // 4)
        self.train = _without(split.train, probes.take(order[:chosen]))
        self.held_out = probes.take(order[:judges])
        if labelled_pairs:
            guidance = guidance.joined(probes.take(order[chosen:]))
        for name, block, users in (
            (GUIDANCE, guidance, settings.guidance_users),
            (PROBES, probes.take(order[judges:chosen]), settings.probe_users),
        ):
            self.blocks[name] = (block, min(users, len(block)))

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
    def rows(self) -> int:
        """Labelled rows of a batch."""
        return self.positives * (1 + self.settings.negatives)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return len(self.train) // self.positives

    def coverage(self, epoch: int = 0) -> float:
        """Share of an epoch's labelled rows that the score table has a score for."""
        if self.scores is None:
            return 0.0
        _, found = self._joined(self.plan(epoch))
        return float(found.mean())

    def plan(self, epoch: int) -> dict[str, np.ndarray]:
        """Row indices of an epoch's steps, each `[steps, ...]`."""
        train, steps = self.train, self.steps_per_epoch
        order = permutation(len(train), self.seed, _ORDER, epoch)
        order = order[: steps * self.positives]
        users, positions = train.users[order], train.positions[order]
        given: dict[str, np.ndarray] = {}
        if self.row_inputs is None:
            drawn = self._negatives(users, positions, train.items[order], epoch)
        else:
            drawn, given = self.row_inputs.of_epoch(order, epoch)
        shape = (steps, self.positives)
        items = np.concatenate([train.items[order][:, np.newaxis], drawn], axis=1)
        plan = {
            "user": users.reshape(shape),
            "position": positions.reshape(shape),
            "item": items.reshape(*shape, -1),
        }
        for key, (name, (block, users_a_step)) in enumerate(self.blocks.items()):
            rows = self._block_rows(len(block), steps * users_a_step, epoch, key)
            plan[name] = rows.reshape(steps, users_a_step)
        plan = {name: value.astype(np.int64) for name, value in plan.items()}
        for name, values in given.items():
            plan[name] = values.reshape(*shape, *values.shape[1:])
        if self.labelled_scores:
            plan["score"], plan["scored"] = self._joined(plan)
        return plan

    def _joined(self, plan: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the labelled rows, and which there are."""
        assert self.scores is not None
        scores, found = self.scores.lookup(plan["user"][..., np.newaxis], plan["item"])
        return np.where(found, scores, 0).astype(np.float32), found

    def _negatives(
        self, users: np.ndarray, positions: np.ndarray, items: np.ndarray, epoch: int
    ) -> np.ndarray:
        """Unseen items for each positive of the epoch, `[rows, K]`."""
        columns = []
        for k in range(self.settings.negatives):
            # The first negative of a row does not depend on how many there are.
            keys: list[Any] = [
                self.seed,
                _NEGATIVE,
                epoch,
                users,
                positions,
                *([k] if k else []),
            ]
            drawn = negatives(users, self.split.seen, *keys)
            if self.settings.negative_sampling == "in_batch":
                batches = items.reshape(-1, self.positives)
                others = np.roll(batches, -1 - k, axis=1).ravel()
                drawn = np.where(self.split.seen(users, others), drawn, others)
            columns.append(drawn)
        return np.stack(columns, axis=1)

    def _block_rows(self, rows: int, wanted: int, epoch: int, key: int) -> np.ndarray:
        cycles = range(-(-wanted // rows))
        orders = [
            permutation(rows, self.seed, _BLOCKS, key, epoch, cycle) for cycle in cycles
        ]
        return np.concatenate(orders)[:wanted]

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


def _without(train: Targets, probes: GuidanceBlocks) -> Targets:
    """The labelled rows but for the probes' hidden positives."""
    longest = 1 + max(train.positions.max(), probes.positions.max())
    keys = train.users * longest + train.positions
    kept = ~np.isin(keys, probes.users * longest + probes.positions)
    return Targets(train.users[kept], train.positions[kept], train.items[kept])


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
