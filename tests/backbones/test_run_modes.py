"""Every backbone inside the selective model, in every way to run and to save it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from keras_sllmr.backbones.features import ITEM_INPUTS, FeatureSpec
from keras_sllmr.backbones.registry import BACKBONES, build_backbone
from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.gate import Gate
from keras_sllmr.losses.evidence import Evidence
from keras_sllmr.serving.check import check_export
from keras_sllmr.serving.export import export_model
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.training.batch import GUIDANCE, LABELLED, PROBES, block_rows
from keras_sllmr.training.lazy_adam import LazyAdam
from keras_sllmr.training.selective_model import SelectiveModel
from keras_sllmr.training.signals import ITEM_SIGNALS

SMALL: dict[str, dict[str, Any]] = {
    "deepfm": {},
    "xdeepfm": {"cin_layer_size": (4, 3)},
    "autoint": {"att_layer_num": 2, "att_embedding_size": 3},
    "dcn": {},
    "dcnv2": {},
    "dcnv2 of experts": {"low_rank": 2, "experts": 3},
    "din": {"att_hidden_size": (5, 3)},
}

SPEC = FeatureSpec(
    n_users=5, n_items=9, n_attributes=4, history_length=3, attribute_width=2
)

LOSSES = ("loss", "base_loss", "pair_loss", "gate_loss")


def test_all_are_covered() -> None:
    assert {case.split()[0] for case in SMALL} == set(BACKBONES)


@pytest.fixture(scope="module", params=SMALL)
def case(request: pytest.FixtureRequest) -> str:
    """A backbone's name, and maybe a variant's."""
    return str(request.param)


def _backbone(case: str, spec: FeatureSpec, **options: Any) -> Any:
    return build_backbone(
        case.split()[0],
        spec,
        embedding_dim=4,
        embedding_stddev=0.5,
        dnn_hidden_units=(6, 5),
        dnn_dropout=0.0,
        **SMALL[case],
        **options,
    )


def _model(case: str, *, seed: int = 0, **compiled: Any) -> SelectiveModel:
    vectors = np.random.default_rng(3).normal(size=(SPEC.n_items + 1, 6))
    vectors[0] = 0
    text = vectors.astype(np.float32)
    backbone = _backbone(case, SPEC, text_vectors=text, seed=seed)
    model = SelectiveModel(
        backbone,
        item_inputs=ITEM_INPUTS,
        gate=Gate(pair_signals=("margin",), prior=True, name="gate"),
        regularizer=Evidence(),
        weight=0.5,
    )
    # A large ε: with Adam's own, a gradient of rounding errors is a whole step.
    optimizer = LazyAdam(0.02, epsilon=1e-2)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **compiled)
    return model


def _block(users: int, items: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shape = (users, items)
    length, width = SPEC.history_length, SPEC.attribute_width

    def ids(most: int, *shape: int) -> Any:
        return tf.constant(rng.integers(0, most + 1, shape), tf.int32)

    def numbers() -> Any:
        return tf.constant(rng.uniform(size=shape), tf.float32)

    return {
        "user": {
            "history": ids(SPEC.n_items, users, length),
            "history_attributes": ids(SPEC.n_attributes, users, length * width),
        },
        "item": {
            "item": ids(SPEC.n_items, *shape),
            "item_attributes": ids(SPEC.n_attributes, *shape, width),
        },
        "score": numbers(),
        "reference": 2 * numbers() - 1,
        "valid": numbers() < 0.9,
        "label": tf.constant([[1] + [0] * (items - 1)] * users),
        "signals": {name: numbers() for name in ITEM_SIGNALS},
    }


def _batch() -> tuple[dict[str, Any], Any]:
    """Four positives of two negatives each, with candidates and probes."""
    labelled = _block(4, 3, seed=0)
    x = {
        LABELLED: {side: labelled[side] for side in ("user", "item")},
        GUIDANCE: _block(2, 4, seed=1),
        PROBES: _block(3, 3, seed=2),
    }
    return x, tf.constant([[1.0, 0.0, 0.0]] * 4)


def _train(model: SelectiveModel, epochs: int = 2) -> dict[str, list[float]]:
    """The losses of each epoch of two steps."""
    batches = tf.data.Dataset.from_tensors(_batch()).repeat(2)
    history = model.fit(batches, epochs=epochs, verbose=0).history
    return {name: history[name] for name in LOSSES}


class State(NamedTuple):
    """What a model says of the batch."""

    logits: Any
    alpha: Any

    @classmethod
    def of(cls, model: SelectiveModel) -> "State":
        x, _ = _batch()
        return cls(model(x), model.pair_weights(x[GUIDANCE])[0])

    def assert_equals(self, other: "State") -> None:
        assert np.ptp(self.logits) > 0.05 and np.ptp(self.alpha) > 0.05
        np.testing.assert_array_equal(self.logits, other.logits)
        np.testing.assert_array_equal(self.alpha, other.alpha)


class Trained(NamedTuple):
    """A model that was trained without graphs, saved, and trained on."""

    losses: dict[str, list[float]]
    folder: Path
    state: State
    more_losses: dict[str, list[float]]
    last_state: State
    model: SelectiveModel


@pytest.fixture(scope="module")
def trained(case: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    model = _model(case, run_eagerly=True)
    losses, state = _train(model), State.of(model)
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    checkpoint.write(str(folder / "checkpoint"))
    more_losses = _train(model, epochs=1)
    return Trained(losses, folder, state, more_losses, State.of(model), model)


# Ways to run


def test_eagerly(trained: Trained) -> None:
    for losses in trained.losses.values():
        assert (np.array(losses) > 0).all() and np.isfinite(losses).all()
    first, second = trained.losses["base_loss"]
    assert second < first


def _assert_trains_alike(
    found: dict[str, list[float]],
    expected: dict[str, list[float]],
    *,
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(
            found[name], values, rtol=rtol, atol=atol, err_msg=name
        )


MODES: dict[str, dict[str, Any]] = {
    "graph": {},
    "steps_per_execution": {"steps_per_execution": 2},
    "xla": {"jit_compile": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_in_a_graph(case: str, trained: Trained, mode: str) -> None:
    _assert_trains_alike(_train(_model(case, **MODES[mode])), trained.losses)


def test_in_a_graph_quickly() -> None:
    """One of the above, for every run of the tests."""
    expected = _train(_model("deepfm", run_eagerly=True))
    found = _train(_model("deepfm", steps_per_execution=2))
    _assert_trains_alike(found, expected)


@pytest.fixture
def policy() -> Iterator[Callable[[str], None]]:
    """Sets the precision of what is made from then on."""
    before = keras.mixed_precision.global_policy()
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy(before)


def test_mixed_precision(
    tmp_path: Path, case: str, trained: Trained, policy: Callable[[str], None]
) -> None:
    """Losses within 5% and 0.01 of full precision's; bfloat16 has steps of 0.4 to 0.8%."""
    policy("mixed_bfloat16")
    model = _model(case, run_eagerly=True)
    assert model.backbone.get_layer("dnn").compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.weights} == {tf.float32}
    losses = _train(model)
    assert np.isfinite(list(losses.values())).all()
    _assert_trains_alike(losses, trained.losses, rtol=0.05, atol=0.01)
    state = State.of(model)
    assert state.logits.dtype == state.alpha.dtype == tf.float32
    model.save(tmp_path / "model.keras")
    # The precision is the model's, not the process's that loads it.
    policy("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    state.assert_equals(State.of(loaded))


# Ways to save


def test_keras_file(trained: Trained) -> None:
    loaded = keras.models.load_model(trained.folder / "model.keras")
    trained.state.assert_equals(State.of(loaded))
    loaded.run_eagerly = True
    assert _train(loaded, epochs=1) == trained.more_losses
    trained.last_state.assert_equals(State.of(loaded))


def test_weights_file(case: str, trained: Trained) -> None:
    other = _model(case, seed=5)
    other.load_weights(trained.folder / "model.weights.h5")
    trained.state.assert_equals(State.of(other))


def test_checkpoint(case: str, trained: Trained) -> None:
    other = _model(case, seed=5, run_eagerly=True)
    other.optimizer.build(other.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=other, optimizer=other.optimizer)
    checkpoint.read(str(trained.folder / "checkpoint")).assert_consumed()
    trained.state.assert_equals(State.of(other))
    assert _train(other, epochs=1) == trained.more_losses
    trained.last_state.assert_equals(State.of(other))


@pytest.mark.slow
def test_saved_model_of_the_backbone(tmp_path: Path, trained: Trained) -> None:
    backbone, (x, _) = trained.model.backbone, _batch()
    tf.saved_model.save(backbone, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    rows = block_rows(x[GUIDANCE])
    expected = backbone(rows, training=False)
    np.testing.assert_allclose(loaded(rows, training=False), expected, rtol=1e-5)
    (served,) = loaded.signatures["serving_default"](**rows).values()
    np.testing.assert_allclose(served, expected, rtol=1e-5)


@pytest.mark.slow
def test_export(tmp_path: Path, case: str, small_store: FeatureStore) -> None:
    spec = FeatureSpec.of(small_store, history_length=3)
    backbone = _backbone(case, spec)
    path = export_model(backbone, spec, small_store, tmp_path, name="tiny")
    assert check_export(path, backbone, spec, small_store, rows=8)["rows"] == 8
