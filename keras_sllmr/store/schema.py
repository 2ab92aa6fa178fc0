"""The store's schema: which features each view holds, as tensorflow-metadata."""

import os
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from keras_sllmr.compat import tf
from keras_sllmr.errors import StoreError

SCHEMA_VERSION = 1

# view -> feature -> (type, "one" value a record or "many")
VIEWS: dict[str, dict[str, tuple[str, str]]] = {
    "user_history": {"user_id": ("BYTES", "one"), "history": ("INT", "many")},
    "item_content": {
        "item_id": ("BYTES", "one"),
        "text": ("BYTES", "one"),
        "attributes": ("INT", "many"),
    },
    "attribute": {"attribute": ("BYTES", "one")},
    "item_text": {"item_id": ("BYTES", "one"), "vector": ("FLOAT", "many")},
    "llm_score": {
        "user_id": ("BYTES", "one"),
        "item_id": ("BYTES", "one"),
        "score": ("FLOAT", "one"),
        "origin": ("BYTES", "one"),
        "position": ("INT", "one"),
        "label": ("INT", "one"),
    },
}

_DTYPES = {"BYTES": tf.string, "INT": tf.int64, "FLOAT": tf.float32}


def write_schema(path: str | os.PathLike[str]) -> None:
    """Writes `schema.pbtxt`; each view is an environment of the schema."""
    schema = schema_pb2.Schema(default_environment=sorted(VIEWS))
    features: dict[str, tuple[str, str, list[str]]] = {}
    for view, columns in VIEWS.items():
        for name, (kind, valency) in columns.items():
            features.setdefault(name, (kind, valency, []))[2].append(view)
    for name, (kind, valency, views) in features.items():
        feature = schema.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind))
        feature.in_environment.extend(views)
        feature.not_in_environment.extend(sorted(set(VIEWS) - set(views)))
        if valency == "one":
            feature.shape.SetInParent()
            feature.presence.min_fraction = 1.0
        else:
            feature.value_count.min = 0
    Path(path).write_text(text_format.MessageToString(schema), encoding="utf-8")


def parsing_spec(path: str | os.PathLike[str], view: str) -> dict[str, Any]:
    """The `tf.io.parse_example` specification of one view, read from `schema.pbtxt`.

    Raises:
        StoreError: when the file is missing or damaged, or lacks the view.
    """
    try:
        schema = text_format.Parse(
            Path(path).read_text(encoding="utf-8"), schema_pb2.Schema()
        )
    except FileNotFoundError as error:
        raise StoreError(f"No schema at {path}. Is this a store?") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is not a valid schema: {error}") from error
    columns = {
        feature.name: (
            schema_pb2.FeatureType.Name(feature.type),
            "one" if feature.HasField("shape") else "many",
        )
        for feature in schema.feature
        if view in feature.in_environment
    }
    if not columns:
        raise StoreError(f"{path} has no view named {view!r}.")
    if columns != VIEWS.get(view):
        raise StoreError(
            f"{path} does not describe the view {view!r} as it was written. Received: "
            f"{columns}. Make it again from its source."
        )
    return {
        name: tf.io.FixedLenFeature([], _DTYPES[kind])
        if valency == "one"
        else tf.io.RaggedFeature(_DTYPES[kind], row_splits_dtype=tf.int64)
        for name, (kind, valency) in columns.items()
    }
