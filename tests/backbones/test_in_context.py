from typing import Any

import numpy as np
import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.in_context import in_context
from keras_sllmr.backbones.registry import BACKBONES, build_backbone
from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError

# Three examples, row 0 is none: the features of the fixture `rows`, but the user's id.
LABELS = np.array([0, 1, 0, 1])
CHAINS = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
INDEX = np.array([[1, 2, 3, 0], [3, 1, 2, 0], [0, 0, 0, 0], [2, 0, 0, 0]], np.int32)


@pytest.fixture
def with_examples(spec: FeatureSpec) -> FeatureSpec:
    return FeatureSpec(**{**spec.to_dict(), "examples": 4})


@pytest.fixture
def pool(rows: Any) -> dict[str, np.ndarray]:
    names = ["item", "history", "item_attributes", "history_attributes"]
    return {name: np.roll(rows[name], 1, axis=0) for name in names}


@pytest.fixture
def read(rows: Any, with_examples: FeatureSpec) -> Any:
    names = [name for name in with_examples.inputs() if name != "examples"]
    return {**{name: rows[name] for name in names}, "examples": INDEX}


def _build(name: str, spec: FeatureSpec, pool: Any, **options: Any) -> Any:
    reason = in_context(pool, LABELS, CHAINS, width=8, hidden=6, row_units=6)
    return build_backbone(
        name,
        spec,
        inject=reason,
        embedding_dim=4,
        dnn_hidden_units=(6,),
        **options,
    )


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_examples_count(
    name: str,
    with_examples: FeatureSpec,
    pool: Any,
    read: Any,
    text_vectors: np.ndarray,
    shuffle_weights: Any,
) -> None:
    model = _build(name, with_examples, pool, text_vectors=text_vectors)
    model = shuffle_weights(model)
    logits = model(read, training=False).numpy()
    other = {**read, "examples": INDEX[:, ::-1].copy()}
    moved = np.abs(model(other, training=False).numpy() - logits).ravel() > 1e-6
    # The third row has none; of the last one the order changes, and with it nothing.
    assert moved.tolist()[:3] == [True, True, False]
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", ["deepfm", "din"])
def test_examples_are_embedded_as_rows_are(
    name: str, with_examples: FeatureSpec, pool: Any, read: Any, shuffle_weights: Any
) -> None:
    model = shuffle_weights(_build(name, with_examples, pool))

    def part(layer: str, rows: Any) -> np.ndarray:
        made = keras.Model(model.input, model.get_layer(layer).output)
        return np.asarray(made(rows, training=False))

    # The pool as rows of their own.
    as_rows = {**{n: pool[n] for n in pool}, "examples": INDEX}
    of_rows = part("flat_row", as_rows)
    every = {**read, "examples": np.tile(np.arange(4, dtype=np.int32), (4, 1))}
    found = part("flat_examples", every)[:4]
    assert found.shape == of_rows.shape
    same = np.isclose(found, of_rows, atol=1e-6).all(axis=0)
    if name == "deepfm":
        assert same.all()
    else:
        # DIN's attention has no target among the examples: their mean stands in.
        assert same.sum() == len(same) - 4


def test_a_spec_without_examples(spec: FeatureSpec, pool: Any) -> None:
    with pytest.raises(ConfigError, match="Set `examples` of the FeatureSpec"):
        _build("deepfm", spec, pool)
