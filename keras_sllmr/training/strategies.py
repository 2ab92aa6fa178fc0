"""Strategies of `tf.distribute` by name, and the cluster that `TF_CONFIG` describes."""

import json
import os
from functools import cache
from typing import Any, get_args

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.training.rendezvous import await_servers, meet
from keras_sllmr.training.strategy_names import StrategyName

STRATEGIES: tuple[str, ...] = get_args(StrategyName)

#: what each process of a cluster may be.
_JOBS = {
    "multi_worker": ("chief", "worker"),
    "parameter_server": ("chief", "worker", "ps"),
}


@cache
def strategy_named(name: str, *, timeout: float = 600.0, part_mb: float = 64.0) -> Any:
    """The process's strategy, to be made before TensorFlow does anything else.

    The same one however often it is asked for: the collective operations of two in one
    process would take each other's values.

    Args:
        name: `none`; `mirrored`: the devices of this machine; `multi_worker` or
            `parameter_server`: the processes that `TF_CONFIG` names.
        timeout: float. Seconds that workers wait for one another to start.
        part_mb: float. Parameter servers share tables of more megabytes, each part at
            least so large; at most a part a server.

    Returns:
        A `tf.distribute.Strategy`; `None` for `none`.

    Raises:
        ConfigError: on an unknown name, or without a usable `TF_CONFIG`.
        EndpointError: when not all processes were started within `timeout`.

    Example:
        >>> strategy_named("mirrored").num_replicas_in_sync
        1
    """
    if name not in STRATEGIES:
        raise ConfigError(
            f"`strategy` must be one of {', '.join(STRATEGIES)}. "
            f"Received: strategy={name!r}"
        )
    if name == "none":
        return None
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    job, index = require_cluster(name)
    tasks = json.loads(os.environ["TF_CONFIG"])["cluster"]
    if name == "parameter_server":
        await_servers([*tasks.get("worker", ()), *tasks.get("ps", ())], timeout=timeout)
        return tf.distribute.ParameterServerStrategy(
            tf.distribute.cluster_resolver.TFConfigClusterResolver(),
            tf.distribute.experimental.partitioners.MinSizePartitioner(
                min_shard_bytes=int(part_mb * 2**20), max_shards=len(tasks["ps"])
            ),
        )
    chiefs = tasks.get("chief", [])
    everyone = [*chiefs, *tasks.get("worker", ())]
    meet(everyone, index + (job == "worker") * len(chiefs), timeout=timeout)
    # No timeout of collectives: each starts a thread that sleeps until then. Workers
    # that are lost are noticed by TensorFlow's health checks.
    return tf.distribute.MultiWorkerMirroredStrategy()


def serve(name: str) -> bool:
    """Serves the cluster's chief for good, where that is this process's part.

    Workers of `parameter_server` and the servers that hold its variables run what the
    chief sends them until they are ended.

    Args:
        name: of the strategy.

    Returns:
        `False`, at once, where this process trains by itself.
    """
    if name != "parameter_server" or require_cluster(name)[0] == "chief":
        return False
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    server = tf.distribute.Server(
        resolver.cluster_spec(),
        job_name=resolver.task_type,
        task_index=resolver.task_id,
        protocol="grpc",
    )
    server.join()
    return True


def require_cluster(name: str) -> tuple[str, int]:
    """The job of this process and its number in the cluster of `TF_CONFIG`.

    Args:
        name: of the strategy.

    Raises:
        ConfigError: when `TF_CONFIG` is missing, no JSON, or names no such process.
    """
    given, jobs = os.environ.get("TF_CONFIG", ""), _JOBS[name]
    try:
        config = json.loads(given or "{}")
        cluster, task = config["cluster"], config["task"]
        job, index = str(task["type"]), int(task["index"])
        known = job in jobs and set(cluster) <= set(jobs) and cluster[job][index]
    except (ValueError, KeyError, TypeError, IndexError):
        known = ""
    if not known or index < 0:
        raise ConfigError(
            f"The strategy {name!r} needs TF_CONFIG in the environment of each process: "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", '
            f'"index": 0}}}}, with jobs among {", ".join(jobs)}. '
            f"Received: TF_CONFIG={given!r}"
        )
    return job, index
