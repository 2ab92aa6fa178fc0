"""Each side's `fit`, run in timed windows on request."""

import time
from collections.abc import Callable
from typing import Any, TextIO

from deepctr_models import COMMON, HYPERPARAMETERS, deepctr_model, labelled_rows

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import keras, tf
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.batch import GUIDANCE
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.settings import BackboneSettings, TrainSettings
from keras_sllmr.training.train import build_model

ENDLESS = 1_000_000
Answer = Callable[[dict[str, float]], None]


class Windows(keras.callbacks.Callback):
    """Pauses `fit` between windows of time and counts the rows within them.

    Args:
        rows: int. Labelled rows a step.
        commands: lines of seconds; its end stops the training.
        answer: called with each window's `rows_per_second`.
        settle: float, seconds. A window starts with this much unmeasured training, at
            least two calls of the train function, so that neither tracing nor what was
            prefetched during the pause counts.
    """

    # Without this Keras would fetch the logs from the device for every step.
    _supports_tf_logs = True

    def __init__(
        self, rows: int, commands: TextIO, answer: Answer, *, settle: float = 0.5
    ) -> None:
        super().__init__()
        self._rows, self._settle = rows, settle
        self._commands, self._answer = commands, answer
        self._asked = False
        self._last, self._calls, self._steps = -1, 0, 0
        self._seconds = self._began = self._measured_from = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._last = -1
        if not self._asked:
            self._next_window()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        steps, self._last = batch - self._last, batch
        if self._calls < 2 or now - self._began < self._settle:
            self._calls += 1
            self._measured_from = now
            return
        self._steps += steps
        elapsed = now - self._measured_from
        if elapsed >= self._seconds:
            self._answer({"rows_per_second": self._steps * self._rows / elapsed})
            self._next_window()

    def _next_window(self) -> None:
        self._asked = True
        line = self._commands.readline()
        if not line.strip():
            self.model.stop_training = True
        self._seconds = float(line or 0)
        self._calls = self._steps = 0
        self._began = self._measured_from = time.perf_counter()


def fit_deepctr(split: LeaveOneOut, options: dict[str, Any], windows: Any) -> None:
    """DeepCTR's model, stock: Adam, binary cross-entropy, a dict of arrays."""
    name, batch = options["backbone"], options["batch"]
    spec = FeatureSpec.of(split.store)
    model = deepctr_model(name, spec, embedding_dim=options["embedding"])
    model.compile("adam", "binary_crossentropy")
    features, labels = labelled_rows(name, split, spec, batch=batch)
    model.fit(
        features,
        labels,
        batch_size=batch,
        epochs=ENDLESS,
        verbose=0,
        callbacks=[windows(batch)],
    )


def fit_ours(split: LeaveOneOut, options: dict[str, Any], windows: Any) -> None:
    """Our model as `sllmr train` trains it, without text vectors or user ids."""
    name = options["backbone"]
    selective = options["side"] == "sllmr"
    settings = TrainSettings(
        backbone=BackboneSettings(
            name=name,
            text=False,
            hyperparameters={
                **COMMON,
                **HYPERPARAMETERS[name],
                "embedding_dim": options["embedding"],
            },
        ),
        batch=BatchSettings(rows=options["batch"]),
    )
    spec = FeatureSpec.of(split.store, history_length=settings.backbone.history_length)
    model = build_model("sllmr" if selective else "none", spec, settings)
    data = TrainingData(
        split,
        FeatureTables(split, spec),
        scores=ScoreTable(options["scores"], split.store) if selective else None,
        settings=settings.batch,
        seed=settings.seed,
    )
    if selective:
        # What a reference says does not change the work; the gate is fitted before.
        data.refer_to(build_model("none", spec, settings).block_logits)
        model.gate.trainable = False
    dataset = data.dataset(blocks=[GUIDANCE])
    _, labels = dataset.element_spec
    model.fit(
        dataset,
        epochs=ENDLESS,
        steps_per_epoch=data.steps_per_epoch,
        verbose=0,
        callbacks=[windows(labels.shape.num_elements())],
    )


def fit(options: dict[str, Any], commands: TextIO, answer: Answer) -> None:
    """Trains the side that the options name until the commands end."""
    # Keras would warn that the callback is slow: it waits for its turn.
    tf.get_logger().setLevel("ERROR")
    split = LeaveOneOut(FeatureStore(options["store"]))
    side = fit_deepctr if options["side"] == "deepctr" else fit_ours
    side(split, options, lambda rows: Windows(rows, commands, answer))
