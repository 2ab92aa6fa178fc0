"""Which rows each step of an epoch takes, as a pure function of seed and epoch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_sllmr.store.draws import negatives, permutation
from keras_sllmr.store.split import LeaveOneOut, Targets
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.row_inputs import RowInputs

_NEGATIVE, _ORDER, _BLOCKS = 301, 302, 303


class EpochPlan:
    """The rows of an epoch's steps: every positive once, in a new order each epoch.

    A last batch that is not full is left out. A block's rows are gone through in a new
    order too, again and again if an epoch takes more than there are.

    Args:
        split: the store's split.
        train: the labelled rows.
        settings: sizes; a batch must hold a positive and its negatives.
        rows: what was made offline for every training row, or none.
        blocks: by a block's name how many rows it has, and how many a step takes.
        seed: int. Of orders and negatives.
    """

    def __init__(
        self,
        split: LeaveOneOut,
        train: Targets,
        *,
        settings: BatchSettings,
        rows: RowInputs | None = None,
        blocks: Mapping[str, tuple[int, int]] | None = None,
        seed: int = 0,
    ) -> None:
        self.split, self.train, self.settings = split, train, settings
        self.row_inputs, self.blocks, self.seed = rows, dict(blocks or {}), seed
        self.positives = min(settings.rows // (1 + settings.negatives), len(train))

    @property
    def steps(self) -> int:
        """Full batches in an epoch."""
        return len(self.train) // self.positives

    def of_epoch(self, epoch: int) -> dict[str, np.ndarray]:
        """`user`, `position`, `item`, a row index a block, each `[steps, ...]`.

        Values made offline stand beside them by their names.
        """
        train, steps = self.train, self.steps
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
        for key, (name, (rows, a_step)) in enumerate(self.blocks.items()):
            taken = self._block_rows(rows, steps * a_step, epoch, key)
            plan[name] = taken.reshape(steps, a_step)
        plan = {name: value.astype(np.int64) for name, value in plan.items()}
        for name, values in given.items():
            plan[name] = values.reshape(*shape, *values.shape[1:])
        return plan

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
