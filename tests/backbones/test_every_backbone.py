"""What holds for every backbone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.backbones.features import ITEM_INPUTS, FeatureSpec
from keras_sllmr.backbones.registry import BACKBONES, build_backbone
from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.grid_scorer import GridScorer
from keras_sllmr.training.batch import GUIDANCE, LABELLED
from keras_sllmr.training.selective_model import SelectiveModel

Rows = dict[str, np.ndarray]
Shuffle = Callable[[Any], Any]

SMALL: dict[str, dict[str, Any]] = {
    "deepfm": {},
    "xdeepfm": {"cin_layer_size": (4, 3)},
    "autoint": {"att_layer_num": 2, "att_embedding_size": 3},
    "dcn": {},
    "dcnv2": {},
    "dcnv2 of experts": {"low_rank": 2, "experts": 3},
    "din": {"att_hidden_size": (5, 3)},
}


@pytest.fixture(params=SMALL)
def build(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Builds a small model of each backbone."""

    def make(spec: FeatureSpec, **options: Any) -> Any:
        small = {"embedding_dim": 4, "dnn_hidden_units": (6, 5), **SMALL[request.param]}
        return build_backbone(request.param.split()[0], spec, **{**small, **options})

    return make


@pytest.fixture
def with_text(
    build: Callable[..., Any],
    spec: FeatureSpec,
    text_vectors: np.ndarray,
    shuffle_weights: Shuffle,
) -> Any:
    """A model with text fields and random weights."""
    return shuffle_weights(build(spec, text_vectors=text_vectors))


def _of(model: Any, rows: Rows) -> Rows:
    return {name: rows[name] for name in model.input}


def test_all_are_covered() -> None:
    assert {case.split()[0] for case in SMALL} == set(BACKBONES)


def test_without_attributes(
    build: Callable[..., Any], spec: FeatureSpec, rows: Rows, shuffle_weights: Shuffle
) -> None:
    model = shuffle_weights(build(replace(spec, n_attributes=0)))
    assert set(model.input) == {"item", "history"}
    assert np.isfinite(model(_of(model, rows))).all()


def test_padding_does_not_matter(
    build: Callable[..., Any],
    spec: FeatureSpec,
    rows: Rows,
    text_vectors: np.ndarray,
    with_text: Any,
) -> None:
    wider = build(
        replace(spec, history_length=5, attribute_width=3), text_vectors=text_vectors
    )
    wider.set_weights(with_text.get_weights())
    rng = np.random.default_rng(0)
    padded = {}
    for name, tensor in wider.input.items():
        padded[name] = rows[name]
        if tensor.shape.rank == 2:
            more = tensor.shape[1] - rows[name].shape[1]
            longer = np.pad(rows[name], ((0, 0), (more, 0)))
            padded[name] = rng.permuted(longer, axis=1)
    logits = with_text(_of(with_text, rows))
    assert np.ptp(logits) > 0.1
    np.testing.assert_allclose(logits, wider(padded), rtol=1e-5, atol=1e-5)


def test_the_seed_makes_the_weights(
    build: Callable[..., Any], spec: FeatureSpec
) -> None:
    first, second, other = (build(spec, seed=seed) for seed in (1, 1, 2))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(
        (a != b).any()
        for a, b in zip(first.get_weights(), other.get_weights(), strict=True)
    )


def test_save_and_load(
    tmp_path: Path,
    build: Callable[..., Any],
    spec: FeatureSpec,
    rows: Rows,
    text_vectors: np.ndarray,
    shuffle_weights: Shuffle,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = shuffle_weights(
        build(replace(spec, user_id=True), text_vectors=text_vectors)
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(rows), loaded(rows))
    assert loaded.get_config() == model.get_config()
    assert sum(map(float, loaded.losses)) == sum(map(float, model.losses)) == 0
    assert capsys.readouterr().out == ""


def test_one_guided_step_reaches_all_weights(
    build: Callable[..., Any], spec: FeatureSpec, rows: Rows, shuffle_weights: Shuffle
) -> None:
    backbone = shuffle_weights(build(spec, dnn_dropout=0.0))
    features = _of(backbone, rows)
    block = {
        "user": {n: features[n][:1] for n in features if n not in ITEM_INPUTS},
        "item": {n: features[n][np.newaxis] for n in features if n in ITEM_INPUTS},
        "score": np.array([[0.1, 0.9, 0.5, 0.2]], np.float32),
        "valid": np.ones((1, 4), bool),
        "label": np.full((1, 4), -1, np.int32),
        "signals": {
            name: np.zeros((1, 4), np.float32) for name in ("tail", "cold", "user")
        },
    }
    x = {LABELLED: features, GUIDANCE: block}
    y = np.array([[1], [0], [0], [1]], np.float32)
    inputs = [name for name in ITEM_INPUTS if name in features]
    model = SelectiveModel(backbone, item_inputs=inputs)
    model.compile(
        keras.optimizers.SGD(0.5), keras.losses.BinaryCrossentropy(from_logits=True)
    )
    before = [weight.numpy() for weight in backbone.trainable_weights]
    history = model.fit(tf.data.Dataset.from_tensors((x, y)), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    for weight, old in zip(backbone.trainable_weights, before, strict=True):
        assert (weight.numpy() != old).any(), weight.name
        assert np.isfinite(weight.numpy()).all(), weight.name


def test_the_grid_scores_as_rows_do(
    spec: FeatureSpec, rows: Rows, with_text: Any
) -> None:
    rng = np.random.default_rng(1)
    items = {
        "item": np.arange(1, spec.n_items + 1),
        "item_attributes": rng.integers(0, spec.n_attributes + 1, (spec.n_items, 2)),
    }
    users = {name: rows[name] for name in ("history", "history_attributes")}
    scorer = GridScorer(with_text, item_inputs=ITEM_INPUTS, user_chunk=3, item_block=5)
    scorer.set_items(items)
    scores = scorer.score(users)
    u, i = np.indices(scores.shape)
    pairs = {name: value[u.ravel()] for name, value in users.items()}
    pairs |= {name: value[i.ravel()] for name, value in items.items()}
    expected = np.reshape(with_text(pairs, training=False), scores.shape)
    scale = max(1, np.abs(expected).max())
    np.testing.assert_allclose(scores / scale, expected / scale, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("xdeepfm", {"cin_layer_size": ()}, "cin_layer_size=\\[\\]"),
        ("xdeepfm", {"cin_layer_size": (3, 2)}, "even.*cin_layer_size=\\[3, 2\\]"),
        ("xdeepfm", {"cin_layer_size": (4, 0)}, "positive"),
        ("autoint", {"att_layer_num": 0}, "Received: 0, 32, 2"),
        ("autoint", {"att_head_num": -1}, "Received: 1, 32, -1"),
        ("dcn", {"cross_num": 0}, "`cross_num` .* Received: 0"),
        ("dcnv2", {"cross_num": 0}, "`cross_num` .* Received: 0"),
        ("dcnv2", {"low_rank": 0}, "low_rank=0, experts=4"),
        ("dcnv2", {"low_rank": 2, "experts": 0}, "low_rank=2, experts=0"),
        ("din", {"att_hidden_size": ()}, "att_hidden_size=\\[\\]"),
        ("din", {"att_hidden_size": (4, 0)}, "att_hidden_size=\\[4, 0\\]"),
    ],
)
def test_wrong_sizes(
    spec: FeatureSpec, name: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        build_backbone(name, spec, **options)


def test_an_odd_last_or_unsplit_layer_is_fine(spec: FeatureSpec) -> None:
    for options in (
        {"cin_layer_size": (2, 3)},
        {"cin_layer_size": (3, 3), "cin_split_half": False},
    ):
        model = build_backbone("xdeepfm", spec, embedding_dim=2, **options)
        assert model.output_shape == (None, 1)
