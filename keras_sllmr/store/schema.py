"""The store's schema: which features each view holds, as tensorflow-metadata."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.store.columns import ColumnSpec, Entity, Kind

SCHEMA_VERSION = 1
# Of score tables, whose layout changes apart from the store's.
SCORE_VERSION = 2

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
        "spread": ("FLOAT", "one"),
        "answers": ("INT", "one"),
    },
}

# Of training records: users are indices of the store, `events` those for training.
_SCORED_ITEMS = {
    "user": ("INT", "one"),
    "position": ("INT", "one"),
    "events": ("INT", "one"),
    "history": ("INT", "many"),
    "items": ("INT", "many"),
    "scores": ("FLOAT", "many"),
}

# The views of what is made of a store later. Each such table has a schema of its own
# views alone: a store's schema, and with it its fingerprint, stays what it was.
TABLE_VIEWS: dict[str, dict[str, tuple[str, str]]] = {
    "row_scores": {"scores": ("FLOAT", "many")},
    "user_knowledge": {
        "user_id": ("BYTES", "one"),
        "position": ("INT", "one"),
        "text": ("BYTES", "one"),
        "vector": ("FLOAT", "many"),
    },
    "item_knowledge": {
        "item_id": ("BYTES", "one"),
        "text": ("BYTES", "one"),
        "vector": ("FLOAT", "many"),
    },
    "example": {
        "user_id": ("BYTES", "one"),
        "item_id": ("BYTES", "one"),
        "position": ("INT", "one"),
        "label": ("INT", "one"),
        "chain": ("BYTES", "one"),
        "vector": ("FLOAT", "many"),
    },
    "row_neighbours": {"neighbours": ("INT", "many")},
    "labelled": _SCORED_ITEMS | {"scored": ("INT", "many"), "hidden": ("INT", "one")},
    "guidance": _SCORED_ITEMS | {"labels": ("INT", "many")},
    "probes": _SCORED_ITEMS | {"labels": ("INT", "many")},
    "item_count": {"events": ("INT", "one")},
}

# The views of further columns, one record a user, item or event in the store's order.
COLUMN_VIEWS: dict[Entity, str] = {
    "user": "user_columns",
    "item": "item_columns",
    "context": "context_columns",
}

_KINDS: dict[Kind, tuple[str, str]] = {
    "categorical": ("INT", "one"),
    "multi": ("INT", "many"),
    "numeric": ("FLOAT", "one"),
}
_DTYPES = {"BYTES": tf.string, "INT": tf.int64, "FLOAT": tf.float32}


def vocabulary_view(name: str) -> str:
    """The view that holds the vocabulary of a categorical or multi-valued column."""
    return f"{name}_vocabulary"


def write_schema(
    path: str | os.PathLike[str],
    columns: Mapping[ColumnSpec, int] | None = None,
    *,
    views: Iterable[str] = tuple(VIEWS),
) -> None:
    """Writes `schema.pbtxt`; each view is an environment of the schema.

    Args:
        path: the file.
        columns: size of the vocabulary of each further column, 0 for numeric ones; it
            becomes the column's integer domain. Defaults to no such columns.
        views: names of the views beside those of the columns. Defaults to a store's.
    """
    sizes, fixed = columns or {}, VIEWS | TABLE_VIEWS
    forms = {view: fixed[view] for view in views} | _views_of(sizes)
    schema = schema_pb2.Schema(default_environment=sorted(forms))
    features: dict[str, tuple[str, str, list[str]]] = {}
    for view, held in forms.items():
        for name, (kind, valency) in held.items():
            features.setdefault(name, (kind, valency, []))[2].append(view)
    domains = {spec.name: size for spec, size in sizes.items() if _indexed(spec)}
    for name, (kind, valency, inside) in features.items():
        feature = schema.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind))
        feature.in_environment.extend(inside)
        feature.not_in_environment.extend(sorted(set(forms) - set(inside)))
        if valency == "one":
            feature.shape.SetInParent()
            feature.presence.min_fraction = 1.0
        else:
            feature.value_count.min = 0
        if name in domains:
            domain = feature.int_domain
            domain.name, domain.is_categorical = name, True
            domain.min, domain.max = 0, domains[name]
    Path(path).write_text(text_format.MessageToString(schema), encoding="utf-8")


def read_columns(path: str | os.PathLike[str]) -> tuple[ColumnSpec, ...]:
    """The further columns that a `schema.pbtxt` describes, in its order.

    Raises:
        StoreError: when the file is missing or damaged, or a column's type, valency or
            name is not one that `write_schema` gives.
    """
    views, kinds = _parsed(path), {form: kind for kind, form in _KINDS.items()}
    try:
        return tuple(
            ColumnSpec(name, entity, kinds[form])
            for entity, view in COLUMN_VIEWS.items()
            for name, form in views.get(view, {}).items()
        )
    except (KeyError, ConfigError) as error:
        raise StoreError(
            f"{path} describes a column as none was written. Received: {error}. Make "
            "it again from its source."
        ) from error


def parsing_spec(path: str | os.PathLike[str], view: str) -> dict[str, Any]:
    """The `tf.io.parse_example` specification of one view, read from `schema.pbtxt`.

    Raises:
        StoreError: when the file is missing or damaged, or lacks the view.
    """
    features = _parsed(path).get(view)
    if features is None:
        raise StoreError(f"{path} has no view named {view!r}.")
    known = VIEWS | TABLE_VIEWS | _views_of(read_columns(path))
    if features != known.get(view):
        raise StoreError(
            f"{path} does not describe the view {view!r} as it was written. Received: "
            f"{features}. Make it again from its source."
        )
    return {
        name: tf.io.FixedLenFeature([], _DTYPES[kind])
        if valency == "one"
        else tf.io.RaggedFeature(_DTYPES[kind], row_splits_dtype=tf.int64)
        for name, (kind, valency) in features.items()
    }


def _views_of(columns: Iterable[ColumnSpec]) -> dict[str, dict[str, tuple[str, str]]]:
    views: dict[str, dict[str, tuple[str, str]]] = {}
    for spec in columns:
        view = views.setdefault(COLUMN_VIEWS[spec.entity], {})
        view[spec.name] = _KINDS[spec.kind]
        if _indexed(spec):
            views[vocabulary_view(spec.name)] = {"category": ("BYTES", "one")}
    return views


def _indexed(spec: ColumnSpec) -> bool:
    return spec.kind != "numeric"


def _parsed(
    path: str | os.PathLike[str],
) -> dict[str, dict[str, tuple[str, str]]]:
    """View -> feature -> (type, valency), as the file has it."""
    try:
        schema = text_format.Parse(
            Path(path).read_text(encoding="utf-8"), schema_pb2.Schema()
        )
    except FileNotFoundError as error:
        raise StoreError(f"No schema at {path}. Is this a store?") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is not a valid schema: {error}") from error
    views: dict[str, dict[str, tuple[str, str]]] = {}
    for feature in schema.feature:
        kind = schema_pb2.FeatureType.Name(feature.type)
        valency = "one" if feature.HasField("shape") else "many"
        for view in feature.in_environment:
            views.setdefault(view, {})[feature.name] = (kind, valency)
    return views
