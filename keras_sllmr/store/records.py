"""The records of a store's views, and what makes a folder of them a store."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_sllmr.io.tfrecord import example
from keras_sllmr.store.columns import ColumnSpec, kinds_by_entity
from keras_sllmr.store.manifest import write_manifest
from keras_sllmr.store.schema import SCHEMA_VERSION

SCHEMA_FILE = "schema.pbtxt"


def user_records(
    users: Iterable[str], histories: Iterable[Sequence[int]]
) -> Iterator[bytes]:
    """Records of `user_history`.

    Args:
        users: ids.
        histories: item indices of each, in the order of time.
    """
    for user, history in zip(users, histories, strict=True):
        yield example(user_id=str(user), history=history)


def item_records(
    items: Iterable[str],
    texts: Iterable[str],
    attributes: Iterable[Sequence[str]],
    index: Mapping[str, int],
) -> Iterator[bytes]:
    """Records of `item_content`.

    Args:
        items: ids.
        texts: of each.
        attributes: names of each.
        index: of attributes, by name.
    """
    for item, text, names in zip(items, texts, attributes, strict=True):
        indices = [index[name] for name in names]
        yield example(item_id=item, text=text, attributes=indices)


def attribute_records(names: Iterable[str]) -> Iterator[bytes]:
    """Records of `attribute`."""
    return (example(attribute=name) for name in names)


def finish_store(
    folder: Path,
    *,
    source: dict[str, Any],
    counts: dict[str, int],
    dropped: Mapping[str, int],
    notes: Mapping[str, int],
    columns: Sequence[ColumnSpec],
) -> None:
    """Writes the manifest over a folder's views and schema.

    Args:
        folder: the store, still beside its final place.
        source: where the data came from.
        counts: records by view, and `interactions`.
        dropped: what each rule dropped.
        notes: counts that are no fault.
        columns: further columns.
    """
    write_manifest(
        folder,
        kind="store",
        schema_version=SCHEMA_VERSION,
        parent=source,
        settings=dict(source.get("options", {})),
        counts=counts,
        dropped=dict(dropped),
        notes=dict(notes),
        **({"columns": kinds_by_entity(columns)} if columns else {}),
    )
