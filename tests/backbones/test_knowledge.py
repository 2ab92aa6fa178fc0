from typing import Any

import numpy as np
import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.knowledge import knowledge
from keras_sllmr.backbones.registry import BACKBONES, build_backbone
from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError

RNG = np.random.default_rng(5)
USERS = RNG.normal(size=(6, 7)).astype(np.float32)
ITEMS = RNG.normal(size=(10, 7)).astype(np.float32)
USERS[0] = ITEMS[0] = 0


def _build(name: str, spec: FeatureSpec, **options: Any) -> Any:
    towers = knowledge(USERS, ITEMS, units=(5, 3), **options)
    return build_backbone(
        name, spec, inject=towers, embedding_dim=4, dnn_hidden_units=(6,)
    )


@pytest.fixture
def with_user(spec: FeatureSpec) -> FeatureSpec:
    return FeatureSpec(**{**spec.to_dict(), "user_index": True})


@pytest.fixture
def read(rows: Any, with_user: FeatureSpec) -> Any:
    return {name: rows[name] for name in with_user.inputs()}


def _part(model: Any, layer: str, rows: Any) -> np.ndarray:
    return np.asarray(
        keras.Model(model.input, model.get_layer(layer).output)(rows, training=False)
    )


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_towers_of_user_and_item(
    name: str, with_user: FeatureSpec, read: Any, shuffle_weights: Any
) -> None:
    model = shuffle_weights(_build(name, with_user))
    # The user's index is looked up, and no embedding is learnt of it.
    assert "user" not in model.get_layer("embedding").vocabularies
    logits = model(read, training=False).numpy()
    found = _part(model, "knowledge", read)
    assert found.shape == (4, 6)

    shared = model.get_layer("shared_experts")
    for k, (side, table) in enumerate((("user", USERS), ("item", ITEMS))):
        x, tower = tf.constant(table[read[side]]), model.get_layer(f"{side}_experts")
        expected = tower([x, shared(x)])
        np.testing.assert_allclose(found[:, 3 * k : 3 * k + 3], expected, atol=1e-5)

    other = {**read, "user": np.array([3, 2, 5, 0], np.int32)}
    changed = model(other, training=False).numpy() != logits
    assert changed.ravel().tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("name", "fields", "flat"),
    [
        # DeepFM: beside the perceptron's flat input, not a field of the FM.
        ("deepfm", 0, 6),
        ("xdeepfm", 1, 4),
        ("autoint", 1, 4),
        ("dcn", 0, 6),
        ("dcnv2", 0, 6),
        ("din", 0, 6),
    ],
)
def test_where_it_goes(
    name: str, fields: int, flat: int, with_user: FeatureSpec, spec: FeatureSpec
) -> None:
    model = _build(name, with_user)
    plain = build_backbone(name, spec, embedding_dim=4, dnn_hidden_units=(6,))

    def inputs(model: Any, layer: str) -> Any:
        return model.get_layer(layer).input_shape

    wider = inputs(model, "dnn")[-1] - inputs(plain, "dnn")[-1]
    assert wider == flat
    has_linear = "knowledge_logit" in {layer.name for layer in model.layers}
    assert has_linear == (name == "deepfm")
    if name == "deepfm":
        assert not model.get_layer("knowledge_logit").use_bias
    interactions = {"deepfm": "fm", "xdeepfm": "cin", "autoint": "attention_1"}
    if name in interactions:
        layer = interactions[name]
        assert inputs(model, layer)[1] - inputs(plain, layer)[1] == fields
    if name in ("dcn", "dcnv2"):
        assert inputs(model, "cross")[-1] - inputs(plain, "cross")[-1] == flat


def test_the_tables_are_not_trained(with_user: FeatureSpec) -> None:
    model = _build("deepfm", with_user)
    frozen = {layer.name: layer for layer in model.layers if not layer.trainable}
    assert {"user_knowledge", "item_knowledge"} <= set(frozen)
    np.testing.assert_array_equal(frozen["user_knowledge"].get_weights()[0], USERS)


def test_seeds(with_user: FeatureSpec) -> None:
    def weights(seed: int) -> np.ndarray:
        layer = _build("deepfm", with_user, seed=seed).get_layer("user_experts")
        return np.concatenate([w.ravel() for w in layer.get_weights()])

    np.testing.assert_array_equal(weights(1), weights(1))
    assert (weights(1) != weights(2)).any()


def test_wrong_vectors(spec: FeatureSpec) -> None:
    with pytest.raises(ConfigError, match=r"same length. Received: .*\(6, 7\) and"):
        knowledge(USERS, ITEMS[:, :3])
    with pytest.raises(ConfigError, match="Set `user_index` of the FeatureSpec"):
        _build("deepfm", spec)
