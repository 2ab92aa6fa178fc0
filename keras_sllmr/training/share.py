"""A replica's share of every batch, as a pure function of the epoch's plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError


@dataclass(frozen=True)
class Share:
    """What some of a strategy's replicas take of every batch.

    Replica r of R takes the r-th of R equal parts of each of a batch's blocks, so that
    all replicas together take the batch that one process would.

    Args:
        replicas: int ≥ 1. R, of all workers.
        first: int. The first replica that is meant, from 0.
        count: int ≥ 1. How many are meant, from there on.

    Example:
        >>> plan = {"user": np.array([[1, 2, 3, 4], [5, 6, 7, 8]])}
        >>> Share(replicas=2, first=1).of(plan)["user"].numpy().tolist()
        [[3, 4], [7, 8]]
    """

    replicas: int
    first: int = 0
    count: int = 1

    def of(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        """The plan's part, a step of each replica after the other.

        Args:
            plan: arrays `[steps, n, ...]`, see `TrainingData.plan`.

        Returns:
            Tensors `[steps * count, n / R, ...]`.

        Raises:
            ConfigError: when a batch does not divide by the replicas.
        """
        return {name: self._part(name, value) for name, value in plan.items()}

    def _part(self, name: str, value: Any) -> Any:
        steps, size, *rest = value.shape
        if size % self.replicas:
            raise ConfigError(
                f"A batch must divide by the {self.replicas} replicas. Received: {size} "
                f"of `{name}` a batch. Set {_REMEDY.get(name, _REMEDY['user'])} to a "
                f"multiple, or train with another number of replicas."
            )
        each = size // self.replicas
        parts = tf.reshape(value, [steps, self.replicas, each, *rest])
        parts = parts[:, self.first : self.first + self.count]
        return tf.reshape(parts, [steps * self.count, each, *rest])


_REMEDY = {
    "user": "`batch.rows`, divided by 1 + `batch.negatives`,",
    "guidance": "`batch.guidance_users`",
    "probes": "`batch.probe_users`",
}
