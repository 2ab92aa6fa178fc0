"""Every backbone against DeepCTR's own model, on the same weights and rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_sllmr.backbones.autoint import autoint
from keras_sllmr.backbones.dcn import dcn
from keras_sllmr.backbones.dcnv2 import dcnv2
from keras_sllmr.backbones.deepfm import deepfm
from keras_sllmr.backbones.din import din
from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.xdeepfm import xdeepfm
from keras_sllmr.compat import deepctr_layers

# isort: split
from deepctr import models
from deepctr.feature_column import SparseFeat, VarLenSparseFeat

Rows = dict[str, np.ndarray]
Shuffle = Callable[[Any], Any]
DIM, DNN = 4, (6, 5)
COMMON = {"dnn_hidden_units": DNN, "task": "regression"}


def _columns(spec: FeatureSpec, history: str = "history") -> list[Any]:
    """DeepCTR's feature columns; the target and the history share their tables."""

    def feature(name: str, size: int, table: str) -> Any:
        return SparseFeat(name, size + 1, DIM, embedding_name=table)

    def sequence(name: str, size: int, table: str, length: int) -> Any:
        return VarLenSparseFeat(feature(name, size, table), length, "mean")

    n, length, width = spec.n_attributes, spec.history_length, spec.attribute_width
    return [
        feature("item", spec.n_items, "item"),
        sequence("item_attributes", n, "attribute", width),
        sequence(history, spec.n_items, "item", length),
        sequence("history_attributes", n, "attribute", length * width),
    ]


def _layers(model: Any, kind: type) -> list[Any]:
    return [layer for layer in model.layers if isinstance(layer, kind)]


def _copy_tables(model: Any, twin: Any) -> None:
    bags = model.get_layer("embedding")
    (whole,) = bags.get_weights()
    for name in bags.sizes:
        # Ours never reads it; DeepCTR's normalised attention to nothing does.
        whole[bags.rows(name).start] = 0
    for layer in twin.layers:
        if "emb_" in layer.name:
            rows = whole[
                bags.rows("attribute" if "attributes" in layer.name else "item")
            ]
            linear = layer.name.startswith("linear")
            layer.set_weights([rows[:, DIM:] if linear else rows[:, :DIM]])


def _copy_kind(model: Any, twin: Any, kind: type) -> None:
    """Copies layers of a type in the order they are called in."""
    for ours, theirs in zip(_layers(model, kind), _layers(twin, kind), strict=True):
        theirs.set_weights(ours.get_weights())


def _copy_heads(model: Any, twin: Any, *names: str) -> None:
    """Copies kernels to DeepCTR's head, which sees the parts side by side."""
    (theirs,) = _layers(twin, type(model.get_layer("dnn_logit")))
    kernels = [model.get_layer(name).get_weights()[0] for name in names]
    theirs.set_weights([np.concatenate(kernels)])


def _copy_bias(model: Any, twin: Any) -> None:
    (theirs,) = _layers(twin, deepctr_layers.PredictionLayer)
    theirs.set_weights(model.get_layer("dnn_logit").get_weights()[1:])


def _copy_common(model: Any, twin: Any, *kinds: type) -> None:
    """Copies all but the heads' kernels; `kinds` are the interaction's layers."""
    _copy_tables(model, twin)
    for kind in (deepctr_layers.DNN, *kinds):
        _copy_kind(model, twin, kind)
    _copy_bias(model, twin)


def _assert_equal(model: Any, twin: Any, rows: Rows, **renamed: str) -> None:
    fed = {renamed.get(name, name): rows[name] for name in model.input}
    ours = model({name: rows[name] for name in model.input}, training=False).numpy()
    theirs = twin([fed[tensor.name] for tensor in twin.inputs], training=False)
    assert np.ptp(ours) > 0.1
    scale = np.abs(ours).max()
    np.testing.assert_allclose(ours / scale, theirs / scale, rtol=0, atol=1e-6)


def test_deepfm(spec: FeatureSpec, rows: Rows, shuffle_weights: Shuffle) -> None:
    model = shuffle_weights(deepfm(spec, embedding_dim=DIM, dnn_hidden_units=DNN))
    columns = _columns(spec)
    twin = models.DeepFM(columns, columns, **COMMON)
    _copy_common(model, twin)
    _copy_heads(model, twin, "dnn_logit")
    _assert_equal(model, twin, rows)


@pytest.mark.parametrize("split_half", [True, False])
def test_xdeepfm(
    spec: FeatureSpec, rows: Rows, shuffle_weights: Shuffle, split_half: bool
) -> None:
    cin = {"cin_layer_size": (4, 2, 3), "cin_split_half": split_half}
    model = xdeepfm(spec, embedding_dim=DIM, dnn_hidden_units=DNN, **cin)
    shuffle_weights(model)
    columns = _columns(spec)
    twin = models.xDeepFM(columns, columns, cin_activation="linear", **cin, **COMMON)
    _copy_common(model, twin, deepctr_layers.CIN)
    heads = _layers(twin, type(model.get_layer("cin_logit")))
    for head in heads:
        name = "dnn_logit" if head.kernel.shape[0] == DNN[-1] else "cin_logit"
        head.set_weights(model.get_layer(name).get_weights()[:1])
    assert len({head.kernel.shape[0] for head in heads}) == 2
    _assert_equal(model, twin, rows)


@pytest.mark.parametrize("residual", [True, False])
def test_autoint(
    spec: FeatureSpec, rows: Rows, shuffle_weights: Shuffle, residual: bool
) -> None:
    attention = {"att_layer_num": 2, "att_embedding_size": 3, "att_res": residual}
    model = autoint(spec, embedding_dim=DIM, dnn_hidden_units=DNN, **attention)
    shuffle_weights(model)
    columns = _columns(spec)
    twin = models.AutoInt(columns, columns, **attention, **COMMON)
    _copy_common(model, twin, deepctr_layers.InteractingLayer)
    _copy_heads(model, twin, "attention_logit", "dnn_logit")
    _assert_equal(model, twin, rows)


def _dcn(spec: FeatureSpec, parameterization: str) -> tuple[Any, Any, type]:
    backbone = {"vector": dcn, "matrix": dcnv2}[parameterization]
    model = backbone(spec, cross_num=3, embedding_dim=DIM, dnn_hidden_units=DNN)
    columns = _columns(spec)
    twin = models.DCN(columns, columns, 3, parameterization, **COMMON)
    return model, twin, deepctr_layers.CrossNet


def _dcn_mix(spec: FeatureSpec) -> tuple[Any, Any, type]:
    model = dcnv2(spec, low_rank=2, experts=3, embedding_dim=DIM, dnn_hidden_units=DNN)
    columns = _columns(spec)
    twin = models.DCNMix(columns, columns, 2, low_rank=2, num_experts=3, **COMMON)
    return model, twin, deepctr_layers.CrossNetMix


@pytest.mark.parametrize("kind", ["vector", "matrix", "mixture"])
def test_dcn(
    spec: FeatureSpec, rows: Rows, shuffle_weights: Shuffle, kind: str
) -> None:
    model, twin, cross = _dcn_mix(spec) if kind == "mixture" else _dcn(spec, kind)
    shuffle_weights(model)
    _copy_common(model, twin, cross)
    _copy_heads(model, twin, "cross_logit", "dnn_logit")
    _assert_equal(model, twin, rows)


@pytest.mark.parametrize(
    ("activation", "normalized"), [("dice", False), ("sigmoid", False), ("dice", True)]
)
def test_din(
    spec: FeatureSpec,
    rows: Rows,
    shuffle_weights: Shuffle,
    activation: str,
    normalized: bool,
) -> None:
    attention = {
        "att_hidden_size": (5, 3),
        "att_activation": activation,
        "att_weight_normalization": normalized,
    }
    model = din(spec, embedding_dim=DIM, dnn_hidden_units=DNN, **attention)
    shuffle_weights(model)
    columns = _columns(spec, history="hist_item")
    twin = models.DIN(columns, ["item"], **attention, **COMMON)
    _copy_tables(model, twin)
    _copy_kind(model, twin, deepctr_layers.AttentionSequencePoolingLayer)
    (theirs,) = _layers(twin, deepctr_layers.DNN)
    theirs.set_weights(model.get_layer("dnn").get_weights())
    _copy_heads(model, twin, "dnn_logit")
    _copy_bias(model, twin)
    _assert_equal(model, twin, rows, history="hist_item")
