"""The training job: one backbone, one method, one folder with the best epoch's model."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import build_backbone
from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.hashing import fingerprint
from keras_sllmr.io.lock import exclusive
from keras_sllmr.layers.gate import Gate
from keras_sllmr.losses.pairwise_hinge import PairwiseHinge
from keras_sllmr.store.draws import negatives
from keras_sllmr.store.manifest import require_replaceable, write_manifest
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.training.batch import GUIDANCE
from keras_sllmr.training.callbacks import (
    GateMonitor,
    ResumableTraining,
    SampledAUC,
)
from keras_sllmr.training.dataset import (
    TrainingData,
    block_features,
    row_batches,
)
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.lazy_adam import LazyAdam
from keras_sllmr.training.selective_model import SelectiveModel
from keras_sllmr.training.settings import Method, TrainSettings
from keras_sllmr.training.trained_model import MODEL_VERSION, TrainedModel

_VALIDATION = 401
_MONITORED_USERS = 256


def build_model(
    method: Method,
    spec: FeatureSpec,
    settings: TrainSettings,
    text_vectors: np.ndarray | None = None,
) -> SelectiveModel:
    """The compiled model of a method; `none` is the plain backbone in the same frame."""
    backbone = build_backbone(
        settings.backbone.name,
        spec,
        text_vectors=text_vectors,
        seed=settings.seed,
        **settings.backbone.hyperparameters,
    )
    selective = settings.selective
    model = SelectiveModel(
        backbone,
        gate=Gate(selective.signals, objective=selective.gate_objective, name="gate"),
        regularizer=PairwiseHinge(selective.margin),
        weight=selective.weight if method == "sllmr" else 0.0,
    )
    model.compile(
        LazyAdam(settings.learning_rate),
        keras.losses.BinaryCrossentropy(from_logits=True),
        steps_per_execution=8,
    )
    return model


def train(
    method: Method,
    split: LeaveOneOut,
    path: str | os.PathLike[str],
    *,
    settings: TrainSettings | None = None,
    scores: ScoreTable | None = None,
    text: TextVectors | None = None,
    callbacks: Callable[[int, int], list[Any]] | None = None,
) -> TrainedModel:
    """Trains a method and writes the best epoch's model, whole or not at all.

    Early stopping and the choice of the epoch look at the validation split alone. A
    run that was killed goes on after its last whole epoch.

    Args:
        method: `none` or `sllmr`.
        split: the store's split.
        path: the model's folder.
        settings: defaults to `TrainSettings()`.
        scores: the LLM's score table; `sllmr` needs it.
        text: the items' text vectors; needed when `settings.backbone.text`.
        callbacks: called with (epochs done, steps an epoch) for more Keras callbacks,
            e.g. a progress bar.

    Raises:
        ConfigError: on an unknown method.
        StoreError: when a needed table is missing, or another job writes `path`.
    """
    path, settings = Path(path), settings or TrainSettings()
    if method not in get_args(Method):
        raise ConfigError(
            f"`method` must be one of {', '.join(get_args(Method))}. "
            f"Received: method={method!r}"
        )
    if method == "sllmr" and scores is None:
        raise StoreError("The method 'sllmr' needs a score table. Run `sllmr score`.")
    if settings.backbone.text and text is None:
        raise StoreError(
            "backbone.text needs the items' text vectors. Run `sllmr encode`, or set "
            "backbone.text to false."
        )
    spec = FeatureSpec.of(
        split.store,
        history_length=settings.backbone.history_length,
        user_id=settings.backbone.user_id,
    )
    used_text = text if settings.backbone.text else None
    vectors = used_text.vectors if used_text is not None else None
    model = build_model(method, spec, settings, vectors)
    tables = FeatureTables(split, spec)
    data = TrainingData(
        split,
        tables,
        scores=scores if method == "sllmr" else None,
        settings=settings.batch,
        seed=settings.seed,
    )
    work = path.with_name(f"{path.name}.checkpoint")
    require_replaceable(path, kind="model")
    with exclusive(path):
        parent = {
            "store": split.store.fingerprint,
            "scores": data.scores and data.scores.manifest["fingerprint"],
            "text": used_text and used_text.manifest["fingerprint"],
        }
        # Training longer goes on from a checkpoint; other settings start anew.
        how = settings.model_dump(mode="json", exclude={"epochs", "patience"})
        resumable = ResumableTraining(
            work,
            key=fingerprint([method, parent, how]),
            patience=settings.patience,
            rows_per_epoch=data.steps_per_epoch * data.positives * 2,
        )
        done = resumable.restore(model)
        extra = callbacks(done, data.steps_per_epoch) if callbacks else []
        if done < settings.epochs and not resumable.finished:
            model.fit(
                data.dataset(first_epoch=done),
                epochs=settings.epochs,
                initial_epoch=done,
                steps_per_epoch=data.steps_per_epoch,
                callbacks=[*_monitors(split, tables, data), resumable, *extra],
                verbose=0,
            )
        resumable.load_best(model)
        with replace_folder(path) as folder:
            model.save(folder / "model.keras")
            write_manifest(
                folder,
                kind="model",
                schema_version=MODEL_VERSION,
                parent=parent,
                settings={
                    "method": method,
                    "features": spec.to_dict(),
                    "train": settings.model_dump(mode="json"),
                },
                counts={"parameters": model.backbone.count_params()},
                history={
                    "epochs": resumable.epochs,
                    "best_epoch": resumable.best_epoch,
                    "rows_per_second": float(
                        np.median([e["rows_per_second"] for e in resumable.epochs])
                    ),
                    "pairs_per_batch": _pairs_per_batch(resumable.epochs),
                    "labelled_rows_with_a_score": data.coverage(),
                },
            )
        shutil.rmtree(work, ignore_errors=True)
    return TrainedModel(path)


def _monitors(
    split: LeaveOneOut, tables: FeatureTables, data: TrainingData
) -> list[Any]:
    targets = split.validation
    drawn = negatives(targets.users, split.seen, 0, _VALIDATION, targets.users)
    monitors: list[Any] = [
        SampledAUC(
            row_batches(tables, targets, targets.items),
            row_batches(tables, targets, drawn),
        )
    ]
    if GUIDANCE in data.blocks:
        block, _ = data.blocks[GUIDANCE]
        step = max(1, len(block) // _MONITORED_USERS)
        rows = tf.range(0, len(block), step)
        monitors.append(GateMonitor(block_features(block, tables, rows)))
    return monitors


def _pairs_per_batch(epochs: list[dict[str, float]]) -> float:
    return float(np.mean([epoch["pairs"] for epoch in epochs]))
