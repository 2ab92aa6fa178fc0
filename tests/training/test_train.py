import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import read_json
from keras_sllmr.io.lock import exclusive
from keras_sllmr.losses.evidence import Evidence
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.training import reference
from keras_sllmr.training import train as train_module
from keras_sllmr.training.callbacks import sampled_auc
from keras_sllmr.training.selective_model import SelectiveModel
from keras_sllmr.training.settings import TrainSettings
from keras_sllmr.training.train import CALIBRATION, train
from keras_sllmr.training.trained_model import TrainedModel
from keras_sllmr.training.uncertainty import Confidence

Scores = Callable[[str], ScoreTable]

# Graphs of tf.data stay graphs, and are meant to.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config")


def _settings(**changes: Any) -> TrainSettings:
    return TrainSettings.model_validate(
        {
            "backbone": {
                "history_length": 4,
                # Without dropout, whose draws a restart begins anew.
                "hyperparameters": {
                    "embedding_dim": 4,
                    "dnn_hidden_units": [6],
                    "dnn_dropout": 0.0,
                },
            },
            "batch": {"rows": 160, "guidance_users": 4, "probe_users": 8},
            "learning_rate": 0.01,
            "epochs": 2,
            **changes,
        }
    )


class _Killed(BaseException):
    """As a signal would, it passes through everything that handles errors."""


class _KillAt(keras.callbacks.Callback):
    """Kills in an epoch of the first model that is trained, or of a later one."""

    def __init__(self, epoch: int, model: int = 1, step: int | None = None) -> None:
        super().__init__()
        self.place, self.models, self.steps = (model, epoch, step), 0, 0

    def on_train_begin(self, logs: Any = None) -> None:
        self.models += 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        model, epoch, step = self.place
        if (self.models, self.number) == (model, epoch) and step in (None, batch):
            raise _Killed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.number = epoch


class _Watch(keras.callbacks.Callback):
    """Keeps the backbone's weights of each epoch, and may set its AUC."""

    def __init__(self, values: list[float] | None = None) -> None:
        super().__init__()
        self.values = values
        self.numbers: list[int] = []
        self.weights: list[list[np.ndarray]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.numbers.append(epoch)
        self.weights.append(self.model.backbone.get_weights())
        if self.values:
            logs["val_auc_sampled"] = self.values[epoch]


def _assert_same(one: list[Any], other: list[Any], **tolerance: float) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-4, "atol": 1e-6, **tolerance})


def test_plain_training(tmp_path: Path, world: Any, scores_of: Scores) -> None:
    """In graph mode; scores that the method has no use for are left alone."""
    called = []

    def extra(done: int, steps: int) -> list[Any]:
        called.append((done, steps))
        return []

    trained = train(
        "none",
        world.split,
        tmp_path / "model",
        settings=_settings(),
        text=world.text,
        scores=scores_of("right"),
        callbacks=extra,
    )
    assert called == [(0, len(world.split.train) // 80)]
    assert trained.manifest["settings"]["method"] == "none"
    assert trained.manifest["parent"] == {
        "store": world.split.store.fingerprint,
        "text": world.text.manifest["fingerprint"],
    }
    history = trained.history
    assert len(history["epochs"]) == 2
    assert history["pairs_per_batch"] == history["labelled_rows_with_a_score"] == 0
    assert not {"gate_map", "gate_calibration"} & set(history)
    for epoch in history["epochs"]:
        assert epoch["loss"] == epoch["base_loss"]
        assert 0 <= epoch["val_auc_sampled"] <= 1 and epoch["rows_per_second"] > 0
    assert trained.model.weight == 0
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["model"]


def test_selective_training(tmp_path: Path, world: Any, scores_of: Scores) -> None:
    table = scores_of("right")
    trained = train(
        "sllmr",
        world.split,
        tmp_path / "model",
        settings=_settings(selective={"weight": 0.3}),
        text=world.text,
        scores=table,
    )
    assert trained.manifest["parent"]["scores"] == table.manifest["fingerprint"]
    assert isinstance(trained.model.regularizer, Evidence)
    assert trained.model.weight == 0.3 and trained.model.gate.prior
    history = trained.history
    assert 1 <= len(history["reference"]) <= 2
    assert all(np.isfinite(e["val_log_likelihood"]) for e in history["reference"])
    assert history["pairs_per_batch"] > 0
    assert 0 < history["labelled_rows_with_a_score"] < 1
    for epoch in history["epochs"]:
        assert epoch["loss"] == pytest.approx(
            epoch["base_loss"] + 0.3 * epoch["pair_loss"], rel=1e-5
        )
        assert 0 < epoch["alpha"] < 1 and epoch["alpha_pairs"] > 0
        assert 0 <= epoch["gate_auc"] <= 1 and 0 <= epoch["gate_brier"] <= 1
    gate = trained.model.gate
    learnt = dict(zip(gate.signals, gate.weight.numpy(), strict=True))
    assert any(learnt.values())
    # It was fitted to the reference before, and stays as it is.
    for epoch in history["epochs"]:
        assert {name: epoch[f"gate_{name}"] for name in learnt} == pytest.approx(learnt)
    calibration = read_json(trained.path / CALIBRATION)["epochs"]
    assert [entry["epoch"] for entry in calibration] == [1, 2]
    assert all(entry["pairs"] > 0 for entry in calibration)
    # The finished model is the best epoch's.
    assert history["gate_calibration"] == calibration[history["best_epoch"] - 1]
    pairs = history["epochs"][0]["alpha_pairs"]
    opened = history["gate_map"]
    assert np.sum(opened["pairs"]) == pairs
    mean = sum(
        alpha * count
        for row, counts in zip(opened["alpha"], opened["pairs"], strict=True)
        for alpha, count in zip(row, counts, strict=True)
        if count
    )
    best = history["epochs"][history["best_epoch"] - 1]
    assert mean / pairs == pytest.approx(best["alpha"], rel=1e-4)


@pytest.mark.usefixtures("eagerly")
def test_the_papers_regularizer_and_every_other_choice(
    tmp_path: Path, world: Any, scores_of: Scores
) -> None:
    batch = {"rows": 160, "negatives": 3, "negative_sampling": "in_batch"}
    signals = ["cold", "uncertainty", "margin", "popularity_gap"]
    trained = train(
        "sllmr",
        world.split,
        tmp_path / "model",
        settings=_settings(
            selective={
                "regularizer": "pairwise",
                "form": "logistic",
                "margin": 0.7,
                "max_pairs": 8,
                "labelled_pairs": True,
                "signals": signals,
                "uncertainty": "confidence",
            },
            batch=batch,
            loss="bpr",
            epochs=1,
        ),
        text=world.text,
        scores=scores_of("right"),
    )
    model = trained.model
    assert (model.regularizer.margin, model.regularizer.form) == (0.7, "logistic")
    assert model.regularizer.max_pairs == 8
    assert isinstance(model.uncertainty, Confidence)
    assert (model.gate.signals, model.gate.pair_signals) == (
        ("cold", "uncertainty"),
        ("margin", "popularity_gap"),
    )
    assert model.weight == 0.1 and not model.gate.prior
    assert "reference" not in trained.history
    (epoch,) = trained.history["epochs"]
    assert epoch["gate_loss"] > 0
    parts = epoch["base_loss"] + 0.1 * epoch["pair_loss"] + epoch["gate_loss"]
    assert epoch["loss"] == pytest.approx(parts, rel=1e-5)
    assert trained.history["pairs_per_batch"] > 0
    names = [f"gate_{name}" for name in signals]
    assert all(epoch[name] for name in names)


@pytest.mark.parametrize("backup_every", [None, 1])
@pytest.mark.usefixtures("eagerly")
def test_goes_on_after_being_killed(
    tmp_path: Path,
    world: Any,
    scores_of: Scores,
    monkeypatch: pytest.MonkeyPatch,
    backup_every: int | None,
) -> None:
    # The gate is fitted anew each time; without graphs that takes the longest.
    monkeypatch.setattr(reference, "_GATE_STEPS", 5)
    compiled = SelectiveModel.compile
    monkeypatch.setattr(
        SelectiveModel,
        "compile",
        lambda self, *how, **more: compiled(self, *how),  # a step a call
    )
    settings = _settings(batch={"rows": 80, "guidance_users": 4, "probe_users": 8})

    def run(name: str, *callbacks: Any) -> TrainedModel:
        return train(
            "sllmr",
            world.split,
            tmp_path / name,
            settings=settings,
            text=world.text,
            scores=scores_of("right"),
            callbacks=lambda done, steps: list(callbacks),
            backup_every=backup_every,
        )

    whole = run("whole")
    work, step = tmp_path / "model.checkpoint", 0 if backup_every is None else 1
    with pytest.raises(_Killed):
        run("model", _KillAt(epoch=1, step=step))  # the reference
    assert (work / "reference" / "progress.json").exists()
    watch, killed = _Watch(), _KillAt(epoch=1, model=2, step=step)
    with pytest.raises(_Killed):
        run("model", watch, killed)
    assert watch.numbers == [1, 0]
    assert not (tmp_path / "model").exists() and (work / "progress.json").exists()
    watch, rest = _Watch(), _KillAt(epoch=-1)
    resumed = run("model", watch, rest)
    assert watch.numbers == [1]
    # Killed in the step after the backup, each was the second of two epochs.
    assert rest.steps == (killed.steps - 1) // 2 - step
    assert not (tmp_path / "model.checkpoint").exists()
    assert resumed.history["best_epoch"] == whole.history["best_epoch"]
    for one, other in zip(
        resumed.history["epochs"], whole.history["epochs"], strict=True
    ):
        clocks = {"seconds", "rows_per_second"}
        assert {key: one[key] for key in set(one) - clocks} == pytest.approx(
            {key: other[key] for key in set(other) - clocks}, rel=1e-4
        )
    _assert_same(resumed.model.get_weights(), whole.model.get_weights())


@pytest.mark.usefixtures("eagerly")
def test_keeps_the_best_epoch_and_starts_anew_with_other_settings(
    tmp_path: Path, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = _Watch([0.5, 0.7, 0.6, 0.6, 0.9])
    monkeypatch.setattr(train_module.SampledAUC, "of", lambda *given: watch)
    settings = _settings(epochs=5, backbone={"text": False, "history_length": 4})

    def run(settings: TrainSettings, *callbacks: Any) -> TrainedModel:
        return train(
            "none",
            world.split,
            tmp_path / "model",
            settings=settings,
            callbacks=lambda done, steps: list(callbacks),
        )

    trained = run(settings)
    assert watch.numbers == [0, 1, 2, 3]
    assert trained.history["best_epoch"] == 2
    values = [epoch["val_auc_sampled"] for epoch in trained.history["epochs"]]
    assert values == [0.5, 0.7, 0.6, 0.6]
    _assert_same(trained.backbone.get_weights(), watch.weights[1], rtol=0, atol=0)

    with pytest.raises(_Killed):
        run(settings, _KillAt(epoch=2))
    before = trained.path.joinpath("manifest.json").read_bytes()
    watch.numbers.clear()
    again = run(settings.model_copy(update={"learning_rate": 0.02, "epochs": 1}))
    assert watch.numbers == [0]
    assert again.path.joinpath("manifest.json").read_bytes() != before


@pytest.mark.parametrize("method", ["none", "sllmr"])
@pytest.mark.usefixtures("eagerly")
def test_the_mean_of_the_epochs_is_the_model(
    tmp_path: Path,
    world: Any,
    scores_of: Scores,
    method: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    better = (k / 100 for k in itertools.count())
    monkeypatch.setattr(sampled_auc, "_auc", lambda *scores: next(better))
    watch = _Watch()
    given: dict[str, Any] = {"text": world.text, "scores": scores_of("right")}
    settings = _settings(average=True)
    folder = tmp_path / "model"

    def run(*callbacks: Any) -> TrainedModel:
        return train(
            *(method, world.split, folder),
            settings=settings,
            callbacks=lambda done, steps: list(callbacks),
            **given,
        )

    with pytest.raises(_Killed):  # In the last training's second epoch.
        run(watch, _KillAt(epoch=1, model=1 if method == "none" else 2))
    trained = run(watch)
    each = watch.weights[-2:]
    assert watch.numbers[-2:] == [0, 1] and trained.history["best_epoch"] == 2
    mean = [np.mean(pair, axis=0) for pair in zip(*each, strict=True)]
    _assert_same(trained.backbone.get_weights(), mean)


@pytest.mark.usefixtures("eagerly")
def test_divergence_leaves_the_last_model_in_place(tmp_path: Path, world: Any) -> None:
    path, backbone = tmp_path / "model", {"text": False, "history_length": 4}
    train("none", world.split, path, settings=_settings(backbone=backbone, epochs=1))
    before = (path / "model.keras").read_bytes()
    with pytest.raises(ConfigError, match="Training diverged"):
        train(
            "none",
            world.split,
            path,
            settings=_settings(backbone=backbone, learning_rate=1e25),
        )
    assert (path / "model.keras").read_bytes() == before


def test_one_job_a_folder(tmp_path: Path, world: Any) -> None:
    settings = _settings(backbone={"text": False})
    with (
        exclusive(tmp_path / "model"),
        pytest.raises(StoreError, match="Another process is writing"),
    ):
        train("none", world.split, tmp_path / "model", settings=settings)


def test_what_is_missing(tmp_path: Path, world: Any) -> None:
    path, method = tmp_path / "model", "sllmr"
    with pytest.raises(StoreError, match="needs a score table. Run `sllmr score`"):
        train("sllmr", world.split, path, text=world.text)
    with pytest.raises(StoreError, match="needs the items' text vectors. Run `sllmr e"):
        train("none", world.split, path)
    with pytest.raises(ConfigError, match="one of none, kd, .*method='slmr'"):
        train(method.replace("ll", "l"), world.split, path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
