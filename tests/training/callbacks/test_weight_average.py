from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.training.callbacks.resumable import ResumableTraining
from keras_sllmr.training.callbacks.weight_average import WeightAverage


class _Watch(keras.callbacks.Callback):
    """Logs the first weight of the model it looks at."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["first"] = float(self.model.get_weights()[0].ravel()[0])


class _Counter(keras.layers.Layer):
    """Counts its calls."""

    def build(self, shape: Any) -> None:
        self.calls = self.add_weight(
            name="calls", shape=[], dtype=tf.int64, initializer="zeros", trainable=False
        )

    def call(self, inputs: Any) -> Any:
        self.calls.assign_add(1)
        return inputs


def _model(start: str = "zeros") -> Any:
    layer = keras.layers.Dense(1, kernel_initializer=start)
    model = keras.Sequential([keras.Input((2,)), layer, _Counter()])
    model.compile("adam", "mse")
    return model


def _weights(model: Any, epochs: int) -> list[list[np.ndarray]]:
    """After each epoch."""
    found = []
    for _ in range(epochs):
        model.fit(np.eye(2), np.ones(2), batch_size=2, verbose=0)
        found.append(model.get_weights())
    return found


def test_the_mean_of_the_epochs() -> None:
    each = _weights(_model(), 3)
    model, average = _model(), _model("ones")
    watch = _Watch()
    mean = WeightAverage(average, monitors=[watch])
    history = model.fit(
        *(np.eye(2), np.ones(2)), batch_size=2, epochs=3, callbacks=[mean], verbose=0
    ).history
    for one, alone in zip(model.get_weights(), each[-1], strict=True):
        np.testing.assert_array_equal(one, alone)  # The mean does not touch it.
    *values, calls = average.get_weights()
    for k, value in enumerate(values):
        np.testing.assert_allclose(value, np.mean([w[k] for w in each], 0), rtol=1e-6)
    assert calls == each[-1][-1] == 3
    firsts = [np.mean([w[0][0, 0] for w in each[: n + 1]]) for n in range(3)]
    np.testing.assert_allclose(history["first"], firsts, rtol=1e-6)


def test_goes_on_and_keeps_the_best_mean(tmp_path: Path) -> None:
    each = _weights(_model(), 4)
    for epochs in (2, 4):  # Killed in between.
        model, average = _model(), _model("ones")
        resumable = ResumableTraining(
            tmp_path / "work", monitor="first", kept=average, patience=4
        )
        resumable.restore(model)
        resumable.fit(
            model,
            lambda epoch, step: tf.data.Dataset.from_tensors(
                (np.eye(2), np.ones(2))
            ).repeat(),
            epochs=epochs,
            steps_per_epoch=1,
            callbacks=[WeightAverage(average, monitors=[_Watch()])],
        )
    mean = [np.mean([w[k] for w in each], 0) for k in range(2)]
    for one, expected in zip(average.get_weights(), mean, strict=False):
        np.testing.assert_allclose(one, expected, rtol=1e-6)
    best = _model("ones")
    resumable.load_best(best)
    assert resumable.best_epoch == 4
    for one, expected in zip(best.get_weights(), mean, strict=False):
        np.testing.assert_allclose(one, expected, rtol=1e-6)
