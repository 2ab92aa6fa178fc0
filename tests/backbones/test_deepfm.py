import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.backbones.deepfm import deepfm
from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.errors import ConfigError

Rows = dict[str, np.ndarray]
Shuffle = Callable[[Any], Any]


def _mean(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mean of the rows of filled ids, zeros where there is none."""
    filled = (ids != 0)[:, :, None]
    return (table[ids] * filled).sum(1) / np.maximum(filled.sum(1), 1)


def _fields(rows: Rows, names: list[str], table: Callable[[str], np.ndarray]) -> Any:
    """Fields `[rows, fields, d]` by NumPy, from the tables of each vocabulary."""
    fields = {
        "item": lambda: _mean(table("item"), rows["item"][:, None]),
        "history": lambda: _mean(table("item"), rows["history"]),
        "item_attributes": lambda: _mean(table("attribute"), rows["item_attributes"]),
        "history_attributes": lambda: _mean(
            table("attribute"), rows["history_attributes"]
        ),
        "user": lambda: _mean(table("user"), rows["user"][:, None]),
    }
    return np.stack([fields[name]() for name in names], axis=1)


def _reference(model: Any, rows: Rows, vectors: np.ndarray | None = None) -> np.ndarray:
    """The logit b + Σ w_f + Σ <e_f, e_g> + MLP(e), pair by pair."""

    def weights(name: str) -> list[np.ndarray]:
        return [w.astype(np.float64) for w in model.get_layer(name).get_weights()]

    names = ["item", "item_attributes", "history", "history_attributes"]
    names += ["user"] if "user" in model.input else []
    bags = model.get_layer("embedding")
    whole = weights("embedding")[0]
    fields = _fields(rows, names, lambda name: whole[bags.rows(name)])
    fields, linear = fields[:, :, :-1], fields[:, :, -1]
    if vectors is not None:
        text = [vectors[rows["item"]], _mean(vectors, rows["history"])]
        projected = np.stack(text, axis=1) @ weights("text_projection")[0]
        fields = np.concatenate([fields, projected], axis=1)
    count = fields.shape[1]
    pairs = sum(
        (fields[:, f] * fields[:, g]).sum(1)
        for f in range(count)
        for g in range(f + 1, count)
    )
    hidden = fields.reshape(len(fields), -1)
    layers = weights("dnn")
    half = len(layers) // 2
    for kernel, bias in zip(layers[:half], layers[half:], strict=True):
        hidden = np.maximum(hidden @ kernel + bias, 0)
    kernel, bias = weights("dnn_logit")
    deep = (hidden @ kernel + bias)[:, 0]
    return linear.sum(1) + pairs + deep


def _build(spec: FeatureSpec, **options: Any) -> Any:
    return deepfm(spec, embedding_dim=4, dnn_hidden_units=(6, 5), **options)


def _of(model: Any, rows: Rows) -> Rows:
    return {name: rows[name] for name in model.input}


@pytest.mark.parametrize("user_id", [False, True])
@pytest.mark.parametrize("text", [False, True])
def test_equals_a_recomputation(
    spec: FeatureSpec,
    rows: Rows,
    text_vectors: np.ndarray,
    shuffle_weights: Shuffle,
    user_id: bool,
    text: bool,
) -> None:
    vectors = text_vectors if text else None
    model = shuffle_weights(
        _build(replace(spec, user_id=user_id), text_vectors=vectors)
    )
    logits = model(_of(model, rows), training=False)
    assert logits.shape == (4, 1)
    np.testing.assert_allclose(
        logits[:, 0], _reference(model, rows, vectors), rtol=1e-4, atol=1e-5
    )


def test_dropout_acts_in_training_alone(spec: FeatureSpec, rows: Rows) -> None:
    model = _build(spec, dnn_dropout=0.5, embedding_stddev=1.0)
    inputs = _of(model, rows)
    once, again = model(inputs), model(inputs)
    np.testing.assert_array_equal(once, again)
    trained = model(inputs, training=True)
    assert (np.abs(trained - once) > 1e-6).any()


def test_text_vectors_are_frozen(spec: FeatureSpec, text_vectors: np.ndarray) -> None:
    model = _build(spec, text_vectors=text_vectors)
    assert len(model.non_trainable_weights) == 1
    np.testing.assert_array_equal(model.non_trainable_weights[0], text_vectors)


def test_the_config_does_not_hold_the_vectors(
    tmp_path: Path, spec: FeatureSpec
) -> None:
    vectors = np.random.default_rng(0).normal(size=(10, 500)).astype(np.float32)
    model = _build(spec, text_vectors=vectors)
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = archive.read("config.json")
    assert str(vectors[1, 0])[:8] not in config.decode()
    assert len(config) < 25_000
    assert json.loads(config)["class_name"] == "Functional"


@pytest.mark.parametrize("shape", [(9, 6), (10,), (11, 6)])
def test_wrong_text_vectors(spec: FeatureSpec, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"shape \(10, t\). Received: shape"):
        _build(spec, text_vectors=np.zeros(shape, np.float32))
