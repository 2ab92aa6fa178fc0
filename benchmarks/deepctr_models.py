"""DeepCTR's own models on our features, as its users build and feed them."""

from functools import partial
from typing import Any

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.store.draws import negatives
from keras_sllmr.store.history import history_before
from keras_sllmr.store.split import LeaveOneOut

# isort: split
# After keras_sllmr, which keeps the import of deepctr from asking the package index.
from deepctr import models
from deepctr.feature_column import SparseFeat, VarLenSparseFeat

#: Of both sides, by the names that DeepCTR and `keras_sllmr.backbones` share.
COMMON: dict[str, Any] = {"dnn_hidden_units": (200, 80), "dnn_dropout": 0.3}
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "deepfm": {},
    "xdeepfm": {"cin_layer_size": (100, 100, 100), "cin_activation": "linear"},
    "autoint": {"att_layer_num": 1, "att_embedding_size": 32, "att_head_num": 2},
    "dcn": {"cross_num": 3},
    "dcnv2": {"cross_num": 2},
    "din": {"att_hidden_size": (64, 16), "att_activation": "dice"},
}
MODELS: dict[str, Any] = {
    "deepfm": models.DeepFM,
    "xdeepfm": models.xDeepFM,
    "autoint": models.AutoInt,
    "dcn": partial(models.DCN, cross_parameterization="vector"),
    "dcnv2": partial(models.DCN, cross_parameterization="matrix"),
    "din": models.DIN,
}
_SEED = 501


def deepctr_model(name: str, spec: FeatureSpec, *, embedding_dim: int) -> Any:
    """DeepCTR's model of a backbone, its regularisation as it comes.

    Args:
        name: str. A key of `MODELS`.
        spec: sizes of the features; the user's id is not one of them.
        embedding_dim: int. d.
    """
    columns = _columns(spec, embedding_dim, _history_name(name))
    others = ["item"] if name == "din" else columns
    return MODELS[name](columns, others, **COMMON, **HYPERPARAMETERS[name])


def _history_name(name: str) -> str:
    """DIN finds the history of a feature by its prefix."""
    return "hist_item" if name == "din" else "history"


def _columns(spec: FeatureSpec, dim: int, history: str) -> list[Any]:
    def feature(name: str, size: int, table: str) -> Any:
        return SparseFeat(name, size + 1, dim, embedding_name=table)

    def sequence(name: str, size: int, table: str, length: int) -> Any:
        return VarLenSparseFeat(feature(name, size, table), length, "mean")

    n, length, width = spec.n_attributes, spec.history_length, spec.attribute_width
    columns = [
        feature("item", spec.n_items, "item"),
        sequence(history, spec.n_items, "item", length),
    ]
    if n:
        columns += [
            sequence("item_attributes", n, "attribute", width),
            sequence("history_attributes", n, "attribute", length * width),
        ]
    return columns


def materialised(
    name: str,
    split: LeaveOneOut,
    spec: FeatureSpec,
    users: np.ndarray,
    positions: np.ndarray,
    items: np.ndarray,
) -> dict[str, np.ndarray]:
    """Features of rows as the dict of int32 arrays that `fit` takes."""
    store = split.store
    history = history_before(store.events, users, positions, length=spec.history_length)
    rows = {"item": items.astype(np.int32), _history_name(name): history}
    if spec.n_attributes:
        attributes = store.attributes.padded(spec.attribute_width)
        rows["item_attributes"] = attributes[items]
        rows["history_attributes"] = attributes[history].reshape(len(items), -1)
    return rows


def labelled_rows(
    name: str, split: LeaveOneOut, spec: FeatureSpec, *, batch: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Every training positive and a sampled negative of its user, in full batches."""
    train = split.train
    drawn = negatives(train.users, split.seen, _SEED, train.users, train.positions)
    kept = 2 * len(train) // batch * batch
    order = np.random.default_rng(_SEED).permutation(2 * len(train))[:kept]
    features = materialised(
        name,
        split,
        spec,
        np.tile(train.users, 2)[order],
        np.tile(train.positions, 2)[order],
        np.concatenate([train.items, drawn])[order],
    )
    return features, (order < len(train)).astype(np.float32)
