"""Sharded TFRecord files of `tf.train.Example`, written and read in bulk."""

import contextlib
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.compat import tf
from keras_sllmr.errors import StoreError
from keras_sllmr.io.atomic import replace_file

_PARSE_BATCH = 8192


def example(**features: Any) -> bytes:
    """A serialised `tf.train.Example`; text and bytes, ints and floats by type.

    Args:
        **features: a scalar or a sequence of `str`, `bytes`, `int` or `float`.

    Example:
        >>> record = example(item_id="B01", score=0.5, history=[1, 2])
    """
    record = tf.train.Example()
    for name, value in features.items():
        _put(record.features.feature[name], value)
    # A map's order on the wire is otherwise another in every process, and with it the
    # shards' hashes.
    return bytes(record.SerializeToString(deterministic=True))


def _put(feature: Any, value: Any) -> None:
    """Filling a feature in place takes half the time of making one."""
    if isinstance(value, np.ndarray):
        values = value.tolist()
    else:
        values = value if isinstance(value, (list, tuple)) else [value]
    if not values or isinstance(values[0], (int, np.integer)):
        feature.int64_list.SetInParent()  # of no values, too, the type is said
        feature.int64_list.value.extend(values)
    elif isinstance(values[0], (float, np.floating)):
        feature.float_list.value.extend(values)
    else:
        encoded = [v.encode("utf-8") if isinstance(v, str) else v for v in values]
        feature.bytes_list.value.extend(encoded)


def examples(columns: Mapping[str, Sequence[Any] | np.ndarray]) -> Iterator[bytes]:
    """Records of parallel columns, each what `example` makes of a row, but faster.

    Args:
        columns: one scalar a row for every feature; float columns as NumPy arrays.

    Example:
        >>> (record,) = examples({"item_id": ["B01"], "score": np.array([0.5])})
        >>> record == example(item_id="B01", score=0.5)
        True
    """
    # Protocol buffers merge when they are put together, so that a record is the
    # sequence of its features, each serialised once for all the rows that have it.
    parts = [_parts(name, columns[name]) for name in sorted(columns)]
    for row in zip(*parts, strict=True):
        features = b"".join(row)
        yield b"\n" + _varint(len(features)) + features


def _parts(name: str, values: Sequence[Any] | np.ndarray) -> list[bytes]:
    """For every value a serialised `tf.train.Features` of this one feature."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        # Seldom twice the same; but all of one length, and the number comes last.
        head = _features(name, 0.0)[:-4]
        raw = values.astype("<f4").tobytes()
        return [head + raw[at : at + 4] for at in range(0, len(raw), 4)]
    made = {value: _features(name, value) for value in set(values)}
    return [made[value] for value in values]


def _features(name: str, value: Any) -> bytes:
    feature = tf.train.Features()
    _put(feature.feature[name], value)
    return bytes(feature.SerializeToString(deterministic=True))


def _varint(number: int) -> bytes:
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*result, number])


def write_shards(
    folder: str | os.PathLike[str],
    records: Iterable[bytes],
    *,
    count: int | None = None,
    shard_size: int = 100_000,
) -> list[Path]:
    """Writes records in order to `part-00000-of-000NN.tfrecord` files.

    Args:
        folder: made when missing.
        records: serialised records, drawn as the writing goes on.
        count: int. How many records will come; the shards are then about equally
            large. Defaults to unknown: all shards but the last are full.
        shard_size: int. Records a shard at most.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    size = shard_rows(count, shard_size) if count else shard_size
    source = iter(records)
    written: list[Path] = []
    head = list(itertools.islice(source, 1))
    while head or not written:
        written.append(folder / f"part-{len(written):05d}.partial")
        with _disk_errors(), tf.io.TFRecordWriter(str(written[-1])) as writer:
            for record in itertools.chain(head, itertools.islice(source, size - 1)):
                writer.write(record)
        head = list(itertools.islice(source, 1))
    shards = len(written)
    return [
        path.replace(folder / shard_name(shard, shards))
        for shard, path in enumerate(written)
    ]


def shard_rows(count: int, shard_size: int = 100_000) -> int:
    """Records a shard when there are `count` > 0, and the shards are about equal."""
    return math.ceil(count / math.ceil(count / shard_size))


def shard_name(shard: int, shards: int) -> str:
    """File name of one of `shards` shards."""
    return f"part-{shard:05d}-of-{shards:05d}.tfrecord"


def write_shard(path: str | os.PathLike[str], records: Iterable[bytes]) -> None:
    """Writes one shard, whole or not at all."""
    with (
        replace_file(path) as beside,
        _disk_errors(),
        tf.io.TFRecordWriter(str(beside)) as writer,
    ):
        for record in records:
            writer.write(record)


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
    return _parsed(tf.data.TFRecordDataset(shards_of(folder)), folder, spec, count)


def read_rows(
    folder: str | os.PathLike[str],
    spec: dict[str, Any],
    *,
    count: int,
    start: int,
    stop: int,
) -> dict[str, Any]:
    """The records from `start` to `stop` of shards that are equally large.

    Args:
        folder: what `write_shards` wrote of a known number of records.
        spec: as for `read_shards`, as are the results.
        count: int. How many records there are in all.
        start: int. The first one.
        stop: int. One after the last.

    Raises:
        StoreError: as `read_shards` does.
    """
    size, shards = shard_rows(max(count, 1)), shards_of(folder)
    first, last = start // size, -(-stop // size)
    records = tf.data.TFRecordDataset(shards[first:last] or shards[:1])
    rows = records.skip(start - first * size).take(stop - start)
    return _parsed(rows, folder, spec, stop - start)


def read_shard(path: str | os.PathLike[str], spec: dict[str, Any]) -> dict[str, Any]:
    """All records of one shard, however many; see `read_shards`."""
    return _columns(tf.data.TFRecordDataset(str(path)), path, spec)


def shards_of(folder: str | os.PathLike[str]) -> list[str]:
    """The shards of a folder, in order.

    Raises:
        StoreError: when there is none.
    """
    paths = sorted(str(path) for path in Path(folder).glob("*.tfrecord"))
    if not paths:
        raise StoreError(f"No TFRecord files in {folder}. Was it removed or moved?")
    return paths


def _parsed(
    records: Any, source: str | os.PathLike[str], spec: dict[str, Any], count: int
) -> dict[str, Any]:
    """The columns of records of which there must be `count`."""
    columns = _columns(records, source, spec)
    first = next(iter(columns.values()))
    found = len(first[1]) - 1 if isinstance(first, tuple) else len(first)
    if found != count:
        raise StoreError(
            f"{source} should hold {count} records. Received: {found}. A shard is "
            "missing or cut short; write it again from its source."
        )
    return columns


def _columns(
    records: Any, source: str | os.PathLike[str], spec: dict[str, Any]
) -> dict[str, Any]:
    dataset = records.batch(_PARSE_BATCH).map(
        lambda batch: tf.io.parse_example(batch, spec)
    )
    try:
        batches = list(dataset)
    except tf.errors.OpError as error:
        raise StoreError(
            f"A TFRecord file in {source} is truncated, damaged or unreadable: "
            f"{str(error.message).splitlines()[0]}. Write it again from its source."
        ) from error
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
