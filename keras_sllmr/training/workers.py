"""The workers of one training: who writes, and what all of them must agree on."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, EndpointError
from keras_sllmr.training.batches import SERVICE_RULE


class Workers:
    """The processes that a strategy trains on, each with this program.

    Args:
        strategy: a `tf.distribute.Strategy`. Defaults to none: one process.
        service: address of a tf.data service that the training reads from, if any.
    """

    def __init__(self, strategy: Any = None, service: str | None = None) -> None:
        self.strategy = strategy
        tasks: list[str] = []
        #: whether other processes run the graphs of this one.
        self.remote = isinstance(strategy, tf.distribute.ParameterServerStrategy)
        # A coordinator's workers run what it sends them, not this program.
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            spec = strategy.cluster_resolver.cluster_spec().as_dict()
            tasks = [
                f"{job}-{k}" for job in _JOBS for k in range(len(spec.get(job, ())))
            ]
        #: how many there are.
        self.count = max(1, len(tasks))
        #: whether no other process takes part.
        self.alone = self.count == 1 and not self.remote and service is None
        #: whether this one writes the results.
        self.chief = True
        if self.count > 1:
            resolver = strategy.cluster_resolver
            self.chief = f"{resolver.task_type}-{resolver.task_id}" == tasks[0]

    def described(self, tables_in_parts: int = 0) -> dict[str, Any]:
        """How many workers and replicas, under `distribution`; nothing without any.

        Args:
            tables_in_parts: int. How many tables servers share.
        """
        if self.strategy is None:
            return {}
        found = {
            "strategy": type(self.strategy).__name__,
            "workers": self.count,
            "replicas": self.strategy.num_replicas_in_sync,
        }
        if tables_in_parts:
            found["tables_in_parts"] = tables_in_parts
        return {"distribution": found}

    def scope(self) -> Any:
        """Where variables are made."""
        return (
            contextlib.nullcontext() if self.strategy is None else self.strategy.scope()
        )

    def gathered(self, value: Any) -> np.ndarray:
        """A number of each worker, in the same order everywhere; all wait for it.

        Args:
            value: int or float. This worker's.
        """
        if self.count == 1:
            return np.array([value])
        mine = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant([value])
        )
        return np.asarray(self.strategy.gather(mine, axis=0))

    def chiefs(self, value: float) -> float:
        """The chief's value, so that all act on the same; all wait for it."""
        return float(self.gathered(np.float64(value))[0])

    def require_same(self, mark: str, what: str) -> None:
        """Checks that all workers were started alike; all wait for it.

        Args:
            mark: a fingerprint, in hexadecimal.
            what: of what, for the message.

        Raises:
            ConfigError: on all workers, when one has another.
        """
        found = self.gathered(np.int64(int(mark[:15], 16)))
        if len(set(found.tolist())) > 1:
            raise ConfigError(
                f"All workers must have the same {what}. Received: "
                f"{len(set(found.tolist()))} different ones from {self.count} workers. "
                "Start all with the same command and files, on a file system they share."
            )

    @contextlib.contextmanager
    def place(self, path: Path, checkpoint: Path) -> Iterator[Path]:
        """Where this worker writes: the chief at `path`, the others where it is lost.

        Every worker takes part in writing, as it takes all of them to read a variable
        that they share.

        Args:
            path: of the result.
            checkpoint: beside it, what the chief goes on from; the others get a copy.
        """
        if self.chief:
            self.gathered(0)  # until the others have their copy
            yield path
            self.gathered(0)  # until the result is there for them
            return
        with tempfile.TemporaryDirectory(prefix="sllmr-worker-") as folder:
            mine = Path(folder)
            if checkpoint.exists():
                shutil.copytree(checkpoint, mine / checkpoint.name)
            self.gathered(0)
            yield mine / path.name
            self.gathered(0)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Says of another worker's failure what it is.

        Raises:
            EndpointError: when another worker is gone or does not answer in time.
        """
        try:
            yield
        except tf.errors.OpError as error:
            # An assertion on what the service sends is one of the invalid arguments.
            wrong = isinstance(error, tf.errors.InvalidArgumentError)
            lost = isinstance(error, _LOST) or (wrong and SERVICE_RULE in str(error))
            if self.alone or not lost:
                raise
            raise EndpointError(
                "Another process of the training stopped or did not answer in time, or "
                f"not as it should: {_cause(error)}. Start all of them again with the "
                "same command: training goes on after the last whole epoch."
            ) from error


def _cause(error: Exception) -> str:
    """The line that names it, out of a graph's trace."""
    if SERVICE_RULE in str(error):
        return SERVICE_RULE.rstrip(".")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "aborted by" in line or "task:" in line]
    return (named or lines or [type(error).__name__])[0][:200]


_JOBS = ("chief", "worker")
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)
