from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import read_json
from keras_sllmr.training.callbacks.resumable import ResumableTraining


def _model(units: int = 1) -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
    model.compile("adam", "mse", run_eagerly=True)
    model.evaluate(np.eye(2), np.ones(2), verbose=0)  # makes its metrics
    return model


class _Values(keras.callbacks.Callback):
    """Logs a given value an epoch and keeps the weights of each."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["value"] = self.values[epoch]
        self.weights.append(self.model.get_weights()[0])


def _train(
    folder: Path, values: list[float], *, until: int | None = None, **options: Any
) -> tuple[Any, ResumableTraining, _Values]:
    model = _model()
    resumable = ResumableTraining(folder, monitor="value", **options)
    done, watch = resumable.restore(model), _Values(values)
    model.fit(
        np.eye(2),
        np.ones(2),
        initial_epoch=done,
        epochs=len(values) if until is None else until,
        callbacks=[watch, resumable],
        verbose=0,
    )
    return model, resumable, watch


def test_stops_when_patience_runs_out(tmp_path: Path) -> None:
    values = [0.5, 0.7, 0.6, 0.7, 0.9, 0.9]
    _, resumable, _ = _train(tmp_path / "work", values, patience=2)
    # The second 0.7 is not better than the first.
    assert [epoch["value"] for epoch in resumable.epochs] == [0.5, 0.7, 0.6, 0.7]
    assert resumable.best_epoch == 2 and resumable.finished


def test_loads_the_best_epochs_weights(tmp_path: Path) -> None:
    model, resumable, watch = _train(tmp_path / "work", [0.5, 0.9, 0.6], patience=3)
    assert not resumable.finished
    resumable.load_best(model)
    np.testing.assert_array_equal(model.get_weights()[0], watch.weights[1])


def test_goes_on_where_it_stopped(tmp_path: Path) -> None:
    values = [0.5, 0.9, 0.6, 0.7]
    whole, expected, watch = _train(tmp_path / "whole", values)
    _train(tmp_path / "parted", values, until=1)
    _train(tmp_path / "parted", values, until=3)
    model, resumable, _ = _train(tmp_path / "parted", values)
    assert [e["epoch"] for e in resumable.epochs] == [1, 2, 3, 4]
    # Patience counts over the runs: the best was epoch 2.
    assert resumable.finished and resumable.best_epoch == expected.best_epoch == 2
    np.testing.assert_array_equal(model.get_weights()[0], whole.get_weights()[0])
    assert int(model.optimizer.iterations) == int(whole.optimizer.iterations)
    resumable.load_best(model)
    np.testing.assert_array_equal(model.get_weights()[0], watch.weights[1])


class _Killed(BaseException):
    pass


class _KillAt(keras.callbacks.Callback):
    """Kills before a step; counts those that were done."""

    def __init__(self, epoch: int = -1, step: int = -1) -> None:
        super().__init__()
        self.place, self.done = (epoch, step), 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, batch) == self.place:
            raise _Killed

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.done += 1


def _fit(
    folder: Path, kill: _KillAt, values: list[float], **options: Any
) -> tuple[Any, ResumableTraining]:
    """Five steps an epoch, each on a row of its own."""
    model = _model()
    resumable = ResumableTraining(folder, monitor="value", **options)
    rows = tf.data.Dataset.from_tensor_slices((np.eye(10, 2), np.arange(10.0)))

    def batches(epoch: int, step: int) -> Any:
        return rows.batch(1).skip(5 * epoch + step)

    resumable.restore(model)
    resumable.fit(
        model,
        batches,
        epochs=len(values),
        steps_per_epoch=5,
        callbacks=[kill, _Values(values)],
    )
    return model, resumable


@pytest.mark.parametrize(
    ("every", "epoch", "step", "left"),
    # From the last backup: after 0, 4, 2 of the first epoch's steps, 2 of the second's.
    [(5, 0, 4, 10), (4, 0, 4, 6), (2, 0, 3, 8), (2, 1, 3, 3), (1, 1, 4, 1)],
)
def test_goes_on_within_an_epoch(
    tmp_path: Path, every: int, epoch: int, step: int, left: int
) -> None:
    values, folder = [0.5, 0.7], tmp_path / "work"
    whole, expected = _fit(tmp_path / "whole", _KillAt(), values)
    with pytest.raises(_Killed):
        _fit(folder, _KillAt(epoch, step), values, every=every)
    kill = _KillAt()
    model, resumable = _fit(folder, kill, values, every=every)
    assert kill.done == left
    np.testing.assert_array_equal(model.get_weights()[0], whole.get_weights()[0])
    # The means are of all of an epoch's rows.
    for found, right in zip(resumable.epochs, expected.epochs, strict=True):
        assert found["loss"] == pytest.approx(right["loss"], rel=1e-6)
    names = {path.name.split(".")[0] for path in folder.iterdir()}
    assert names == {"epoch-2", "best-2", "progress"}


def test_an_epoch_killed_twice(tmp_path: Path) -> None:
    values, folder = [0.5], tmp_path / "work"
    whole, expected = _fit(tmp_path / "whole", _KillAt(), values)
    for step in (2, 2):  # the second counts from the first's backup
        with pytest.raises(_Killed):
            _fit(folder, _KillAt(0, step), values, every=1)
    model, resumable = _fit(folder, _KillAt(), values, every=1)
    np.testing.assert_array_equal(model.get_weights()[0], whole.get_weights()[0])
    found, right = resumable.epochs[0], expected.epochs[0]
    assert found["loss"] == pytest.approx(right["loss"], rel=1e-6)


def test_patience_that_runs_out_in_an_epoch_that_was_killed(tmp_path: Path) -> None:
    values, folder = [0.5, 0.4, 0.9], tmp_path / "work"
    with pytest.raises(_Killed):
        _fit(folder, _KillAt(1, 3), values, every=1, patience=1)
    _, resumable = _fit(folder, _KillAt(), values, every=1, patience=1)
    assert [epoch["value"] for epoch in resumable.epochs] == [0.5, 0.4]


def test_damaged_means_of_an_epoch(tmp_path: Path) -> None:
    values, folder = [0.5], tmp_path / "work"
    with pytest.raises(_Killed):
        _fit(folder, _KillAt(0, 3), values, every=1)
    next(folder.glob("*-means.index")).unlink()
    with pytest.raises(StoreError, match="damaged or of another model. Remove the"):
        _fit(folder, _KillAt(), values, every=1)


def test_keeps_one_checkpoint_and_the_best_weights(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    _train(folder, [0.5, 0.9, 0.6])
    names = {path.name.split(".")[0] for path in folder.iterdir()}
    assert names == {"epoch-3", "best-2", "progress"}


def test_killed_while_an_epochs_files_are_written(tmp_path: Path) -> None:
    """Best weights of an epoch that does not count yet do not replace the last."""
    folder, values = tmp_path / "work", [0.5, 0.9, 0.7]
    _, _, watch = _train(folder, values, until=1)
    (folder / "best-2.index").write_bytes(b"half")
    (folder / "epoch-2.index").write_bytes(b"half")
    model, resumable, _ = _train(folder, [0.5, 0.4, 0.3], until=2)
    assert [e["value"] for e in resumable.epochs] == [0.5, 0.4]
    resumable.load_best(model)
    np.testing.assert_array_equal(model.get_weights()[0], watch.weights[0])


def test_other_keys_start_anew(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    _train(folder, [0.5, 0.9], key="one")
    model = _model()
    resumable = ResumableTraining(folder, key="two", monitor="value")
    before = model.get_weights()[0]
    assert resumable.restore(model) == 0 and resumable.epochs == []
    np.testing.assert_array_equal(model.get_weights()[0], before)
    assert not folder.exists()


def test_nothing_to_restore(tmp_path: Path) -> None:
    assert ResumableTraining(tmp_path / "none").restore(_model()) == 0


def _truncate(folder: Path) -> None:
    path = next(folder.glob("epoch-1.index"))
    path.write_bytes(path.read_bytes()[:10])


def _remove(folder: Path) -> None:
    next(folder.glob("epoch-1.index")).unlink()


@pytest.mark.parametrize("damage", [_truncate, _remove])
def test_a_damaged_checkpoint(tmp_path: Path, damage: Any) -> None:
    folder = tmp_path / "work"
    _train(folder, [0.5])
    damage(folder)
    with pytest.raises(StoreError, match="damaged or of another model. Remove the"):
        ResumableTraining(folder, monitor="value").restore(_model())


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    _train(folder, [0.5])
    with pytest.raises(StoreError, match="damaged or of another model"):
        ResumableTraining(folder, monitor="value").restore(_model(units=3))


@pytest.mark.parametrize("content", [b"half", None])
def test_damaged_best_weights(tmp_path: Path, content: bytes | None) -> None:
    model, resumable, _ = _train(tmp_path / "work", [0.5])
    path = tmp_path / "work" / "best-1.index"
    path.write_bytes(content) if content else path.unlink()
    with pytest.raises(StoreError, match="damaged or of another model. Remove the"):
        resumable.load_best(model)


def test_speed_is_logged(tmp_path: Path) -> None:
    _train(tmp_path / "work", [0.5], rows_per_epoch=100)
    (epoch,) = read_json(tmp_path / "work" / "progress.json")["epochs"]
    assert epoch["seconds"] > 0
    assert epoch["rows_per_second"] == pytest.approx(100 / epoch["seconds"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_divergence_is_an_error_that_keeps_the_last_good_epoch(
    tmp_path: Path, value: float
) -> None:
    with pytest.raises(ConfigError, match="Training diverged.*value.*Lower the learn"):
        _train(tmp_path / "work", [0.5, value])
    assert len(read_json(tmp_path / "work" / "progress.json")["epochs"]) == 1


def test_the_monitor_must_be_logged(tmp_path: Path) -> None:
    model, resumable = _model(), ResumableTraining(tmp_path / "work", monitor="auc")
    with pytest.raises(
        ConfigError, match="among the logs: loss. Received: monitor='auc'"
    ):
        model.fit(np.eye(2), np.ones(2), callbacks=[resumable], verbose=0)


@pytest.mark.parametrize("name", ["patience", "every"])
def test_what_must_be_positive(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {name: 0}
    with pytest.raises(ConfigError, match=f"`{name}` must be positive.*{name}=0"):
        ResumableTraining(tmp_path, **options)
