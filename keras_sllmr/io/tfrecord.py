"""Sharded TFRecord files of `tf.train.Example`, written and read in bulk."""

import contextlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.compat import tf
from keras_sllmr.errors import StoreError

_PARSE_BATCH = 8192


def example(**features: Any) -> bytes:
    """A serialised `tf.train.Example`; text and bytes, ints and floats by type.

    Args:
        **features: a scalar or a sequence of `str`, `bytes`, `int` or `float`.

    Example:
        >>> record = example(item_id="B01", score=0.5, history=[1, 2])
    """
    record = tf.train.Example(
        features=tf.train.Features(
            feature={name: _feature(value) for name, value in features.items()}
        )
    )
    # A map's order on the wire is otherwise another in every process, and with it the
    # shards' hashes.
    return bytes(record.SerializeToString(deterministic=True))


def _feature(value: Any) -> Any:
    values = value if isinstance(value, (list, tuple, np.ndarray)) else [value]
    if len(values) == 0 or isinstance(values[0], (int, np.integer)):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    if isinstance(values[0], (float, np.floating)):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    encoded = [v.encode("utf-8") if isinstance(v, str) else v for v in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))


def write_shards(
    folder: str | os.PathLike[str],
    records: Iterable[bytes],
    *,
    count: int,
    shard_size: int = 100_000,
) -> list[Path]:
    """Writes records in order to `part-00000-of-000NN.tfrecord` files.

    Args:
        folder: made when missing.
        records: serialised records; exactly `count` of them.
        count: int. How many records will come; fixes the number of shards.
        shard_size: int. Records a shard at most.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shards = max(1, math.ceil(count / shard_size))
    size = math.ceil(count / shards) if count else 0
    paths = [
        folder / f"part-{shard:05d}-of-{shards:05d}.tfrecord" for shard in range(shards)
    ]
    source = iter(records)
    written = 0
    for path in paths:
        with _disk_errors(), tf.io.TFRecordWriter(str(path)) as writer:
            for _ in range(min(size, count - written)):
                writer.write(next(source))
                written += 1
    return paths


def read_shards(
    folder: str | os.PathLike[str], spec: dict[str, Any], *, count: int
) -> dict[str, Any]:
    """All records of a folder's shards, parsed in large batches.

    Args:
        folder: what `write_shards` wrote.
        spec: parsing specification as for `tf.io.parse_example`.
        count: int. How many records the manifest promises.

    Returns:
        For each feature a NumPy array `[count, ...]`, or for a
        `tf.io.RaggedFeature` a pair of NumPy arrays (values, offsets).

    Raises:
        StoreError: on missing, truncated or damaged files, or another number
            of records than promised.
    """
    paths = sorted(str(path) for path in Path(folder).glob("*.tfrecord"))
    if not paths:
        raise StoreError(f"No TFRecord files in {folder}. Was it removed or moved?")
    dataset = tf.data.TFRecordDataset(paths).batch(_PARSE_BATCH)
    dataset = dataset.map(lambda records: tf.io.parse_example(records, spec))
    try:
        batches = list(dataset)
    except tf.errors.OpError as error:
        raise StoreError(
            f"A TFRecord file in {folder} is truncated, damaged or unreadable: "
            f"{str(error.message).splitlines()[0]}. Write it again from its source."
        ) from error
    found = sum(int(next(iter(batch.values())).shape[0]) for batch in batches)
    if found != count:
        raise StoreError(
            f"{folder} should hold {count} records. Received: {found}. A shard is "
            "missing or cut short; write it again from its source."
        )
    return {
        name: _concatenated([batch[name] for batch in batches], feature)
        for name, feature in spec.items()
    }


def _concatenated(parts: Sequence[Any], feature: Any) -> Any:
    if isinstance(feature, tf.io.RaggedFeature):
        dtype = feature.dtype.as_numpy_dtype
        values = [part.values.numpy() for part in parts]
        lengths = [part.row_lengths().numpy() for part in parts]
        return (
            np.concatenate(values) if values else np.zeros(0, dtype),
            np.concatenate([[0], *map(np.asarray, lengths)]).cumsum().astype(np.int64),
        )
    arrays = [part.numpy() for part in parts]
    if not arrays:
        return np.zeros((0, *feature.shape), feature.dtype.as_numpy_dtype)
    return np.concatenate(arrays)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Turns TensorFlow's write errors (a full disk) into `OSError`."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(str(error.message)) from error
