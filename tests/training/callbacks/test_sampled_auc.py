from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import keras_sllmr
from keras_sllmr.backbones.registry import build_backbone
from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.training.callbacks.sampled_auc import SampledAUC
from keras_sllmr.training.row_batches import row_batches


def _auc(positives: list[float], negatives: list[float]) -> dict[str, Any]:
    parts = [
        tf.data.Dataset.from_tensor_slices(np.float32(scores)[:, None]).batch(2)
        for scores in (positives, negatives)
    ]
    callback = SampledAUC(*parts)
    callback.set_model(lambda x, training: x)
    logs: dict[str, Any] = {"loss": 1.0}
    callback.on_epoch_end(0, logs)
    return logs


@pytest.mark.parametrize(
    ("positives", "negatives", "auc"),
    [
        ([3, 4, 5], [1, 2, 0], 1.0),
        ([1, 2, 3], [1, 2, 3], 0.5),
        # Right are (2, 1), (2, 0), (0.5, 0) and half of (1, 1) of nine pairs.
        ([2, 1, 0.5], [3, 1, 0], (2 + 1.5 + 1) / 9),
    ],
)
def test_sampled_auc(
    positives: list[float], negatives: list[float], auc: float
) -> None:
    logs = _auc(positives, negatives)
    assert logs["loss"] == 1.0
    assert logs["val_auc_sampled"] == pytest.approx(auc)


def test_scores_that_are_not_finite_have_no_auc() -> None:
    for wrong in (np.nan, np.inf):
        logs = _auc([1.0, wrong], [0.0, 2.0])
        assert np.isnan([logs["val_auc_sampled"], logs["val_log_likelihood"]]).all()


@pytest.mark.parametrize("factor", [1.0, 10.0, 100.0])
def test_log_likelihood(factor: float) -> None:
    """Three of four are right on either side, so the chances are 3/4, by any factor."""
    right, wrong = factor * 1.0, -factor * 1.0
    logs = _auc([right] * 3 + [wrong], [wrong] * 3 + [right])
    expected = 0.75 * np.log(0.75) + 0.25 * np.log(0.25)
    # The little ridge of the fit weighs more with few rows.
    assert logs["val_log_likelihood"] == pytest.approx(expected, abs=1e-4)


def test_log_likelihood_of_what_is_no_better_than_chance() -> None:
    one = np.log(1 / 3) / 3 + 2 * np.log(2 / 3) / 3
    for positive, negatives in ((0.0, [0.0, 0.0]), (-1e4, [1e4, 1e4])):
        found = _auc([positive], negatives)["val_log_likelihood"]
        assert found == pytest.approx(one, abs=1e-3)
    perfect = _auc([1e4], [-1e4])["val_log_likelihood"]
    assert -1e-3 < perfect <= 0


def test_is_public() -> None:
    assert keras_sllmr.SampledAUC is SampledAUC


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", ["dcnv2", "deepfm", "din"])
def test_users_once_gives_the_same_figures(name: str, world: Any) -> None:
    """As each row by itself, of which scikit-learn makes the AUC."""
    model = build_backbone(name, world.spec, embedding_dim=4, embedding_stddev=1.0)
    once = SampledAUC.of(world.split, world.tables)
    targets = world.split.validation
    positives = row_batches(world.tables, targets, targets.items, batch=16)
    drawn = np.concatenate([item["item"] for _, item in once._batches[0]])
    assert not world.split.seen(targets.users, drawn).any()
    by_row = SampledAUC(positives, row_batches(world.tables, targets, drawn, batch=24))
    found = []
    for callback in (once, by_row):
        callback.set_model(model)
        logs: dict[str, Any] = {}
        callback.on_epoch_end(0, logs)
        found.append(logs)
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    scores = [model.predict(batches, verbose=0) for batches in by_row._batches]
    labels = np.repeat([1, 0], len(targets))
    expected = roc_auc_score(labels, np.concatenate(scores)[:, 0])
    assert found[1]["val_auc_sampled"] == pytest.approx(expected, abs=1e-9)


def _ranker() -> Any:
    """A user's own model: the price decides, at first the wrong way round."""
    x = {name: keras.Input((1,), name=name) for name in ("age", "price")}
    weights = keras.initializers.Constant([[0.0], [-0.03]])
    both = keras.layers.Concatenate()([x["age"], x["price"]])
    model = keras.Model(
        x, keras.layers.Dense(1, kernel_initializer=weights, use_bias=False)(both)
    )
    model.compile(
        keras.optimizers.SGD(0.1), keras.losses.BinaryCrossentropy(from_logits=True)
    )
    return model


def _rows(price: float, users: int = 6) -> dict[str, np.ndarray]:
    return {"age": np.zeros([users, 1]), "price": np.full([users, 1], price)}


def _sampled() -> SampledAUC:
    parts = [
        tf.data.Dataset.from_tensor_slices(_rows(price)).batch(4)
        for price in (2.0, 1.0)
    ]
    return SampledAUC(*parts, item_inputs=["price"])


def _fit(model: Any, *callbacks: Any) -> Any:
    rows = {n: np.concatenate([_rows(2.0)[n], _rows(1.0)[n]]) for n in ("age", "price")}
    labels = np.repeat([1.0, 0.0], 6)
    return model.fit(
        rows, labels, batch_size=12, epochs=30, callbacks=[*callbacks], verbose=0
    )


def test_early_stopping_of_keras_monitors_it() -> None:
    model = _ranker()
    stop = keras.callbacks.EarlyStopping(
        monitor="val_auc_sampled", mode="max", patience=2, restore_best_weights=True
    )
    history = _fit(model, _sampled(), stop)
    values = history.history["val_auc_sampled"]
    # It rises to 1 when the price's weight turns positive, and can rise no further.
    rise = values.index(1.0)
    assert 0 < rise and set(values[:rise]) == {0.0}
    assert len(values) == rise + 3 == stop.stopped_epoch + 1 < 30
    assert stop.best == 1.0 and stop.best_epoch == rise


def test_a_callback_before_it_does_not_see_it() -> None:
    """As the documentation says: the list's order is the order of the logs."""
    stop = keras.callbacks.EarlyStopping("val_auc_sampled", mode="max", patience=2)
    history = _fit(_ranker(), stop, _sampled())
    assert stop.stopped_epoch == 0
    assert len(history.history["val_auc_sampled"]) == 30


def test_a_later_fit_may_be_of_another_model() -> None:
    callback = _sampled()
    for sign in (1.0, -1.0):
        model = _ranker()
        model.layers[-1].set_weights([np.array([[0.0], [sign]])])
        callback.set_model(model)
        logs: dict[str, Any] = {}
        callback.on_epoch_end(0, logs)
        assert logs["val_auc_sampled"] == (sign > 0)


def test_wrong_datasets_are_refused() -> None:
    def rows(users: int, batch: int) -> Any:
        return tf.data.Dataset.from_tensor_slices(_rows(1.0, users)).batch(batch)

    with pytest.raises(ConfigError, match="without labels. Received: a dataset of tup"):
        SampledAUC(rows(6, 4), tf.data.Dataset.zip((rows(6, 4), rows(6, 4))))
    with pytest.raises(ConfigError, match="same batches.*Received: 3 and 2 batches"):
        SampledAUC(rows(6, 2), rows(6, 4), item_inputs=["price"])
    callback = SampledAUC(rows(6, 3), rows(4, 2), item_inputs=["price"])
    callback.set_model(_ranker())
    with pytest.raises(ConfigError, match="Received: batches of 2 and 3 rows"):
        callback.on_epoch_end(0, {})
