"""The training job: one backbone, one method, one folder with the best epoch's model."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import build_backbone
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import read_json, replace_folder
from keras_sllmr.io.hashing import fingerprint
from keras_sllmr.io.lock import exclusive
from keras_sllmr.layers.gate import Gate
from keras_sllmr.losses.evidence import Evidence
from keras_sllmr.losses.pairwise_hinge import PairwiseHinge
from keras_sllmr.losses.pointwise import PointwiseMSE
from keras_sllmr.losses.registry import base_loss
from keras_sllmr.losses.regularizer import Regularizer
from keras_sllmr.store.manifest import require_replaceable, write_manifest
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.training.batch import GUIDANCE, PROBES
from keras_sllmr.training.callbacks.gate_monitor import GateMonitor
from keras_sllmr.training.callbacks.resumable import ResumableTraining
from keras_sllmr.training.callbacks.sampled_auc import SampledAUC
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.gate_map import gate_map, spread
from keras_sllmr.training.guidance import GuidanceBlocks
from keras_sllmr.training.lazy_adam import LazyAdam
from keras_sllmr.training.reference import fit_gate, fit_reference
from keras_sllmr.training.selective_model import SelectiveModel
from keras_sllmr.training.settings import Method, SelectiveSettings, TrainSettings
from keras_sllmr.training.signals import split_signals
from keras_sllmr.training.trained_model import MODEL_VERSION, TrainedModel
from keras_sllmr.training.uncertainty import uncertainty_named

_MONITORED_USERS, _MONITORED_PROBES = 256, 2048

#: the gate's calibration tables, a file of a trained model's folder.
CALIBRATION = "gate_calibration.json"


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
    of_items, of_pairs = split_signals(selective.signals)
    evidence = selective.regularizer == "evidence"
    model = SelectiveModel(
        backbone,
        item_inputs=[name for name in spec.item_inputs if name in backbone.input],
        gate=Gate(
            of_items,
            pair_signals=of_pairs,
            objective=selective.gate_objective,
            initial_slope=selective.slope or (0.4 if evidence else 3.0),
            prior=evidence,
            name="gate",
        ),
        uncertainty=uncertainty_named(selective.uncertainty),
        regularizer=_regularizer(selective),
        weight=weight_of(selective) if method == "sllmr" else 0.0,
    )
    _compile(model, settings)
    return model


def _compile(model: SelectiveModel, settings: TrainSettings) -> None:
    model.compile(
        LazyAdam(settings.learning_rate),
        base_loss(settings.loss),
        steps_per_execution=32,
    )


def weight_of(selective: SelectiveSettings) -> float:
    """λ of the method `sllmr`: as set, or the regulariser's default."""
    if selective.weight is not None:
        return selective.weight
    return 1.0 if selective.regularizer == "evidence" else 0.1


def _regularizer(selective: SelectiveSettings) -> Regularizer:
    if selective.regularizer == "evidence":
        return Evidence()
    if selective.regularizer == "pointwise":
        return PointwiseMSE()
    return PairwiseHinge(
        selective.margin, form=selective.form, max_pairs=selective.max_pairs
    )


def require_inputs(
    method: Method,
    settings: TrainSettings,
    scores: ScoreTable | None,
    text: TextVectors | None,
) -> None:
    """Raises what `train` raises when the method is unknown or a table is missing."""
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
    require_inputs(method, settings, scores, text)
    spec = FeatureSpec.of(
        split.store,
        history_length=settings.backbone.history_length,
        user_id=settings.backbone.user_id,
        columns=settings.backbone.columns,
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
        labelled_pairs=settings.selective.labelled_pairs,
        shuffled_from=settings.selective.shuffled_from,
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
        key = fingerprint([method, parent, how])

        def shown(done: int) -> list[Any]:
            return callbacks(done, data.steps_per_epoch) if callbacks else []

        history: dict[str, Any] = {}
        if method == "sllmr" and settings.selective.regularizer == "evidence":
            plain = build_model("none", spec, settings, vectors)
            history["reference"] = fit_reference(
                plain,
                data,
                work / "reference",
                key=key,
                epochs=settings.epochs,
                callbacks=[SampledAUC.of(split, tables), *shown(0)],
            )
            data.refer_to(plain.block_logits)
            if settings.selective.gate_objective == "agreement":
                fit_gate(model, data)
                # Keras trains what was trainable when the model was compiled.
                _compile(model, settings)
        resumable = ResumableTraining(
            work,
            key=key,
            patience=settings.patience,
            rows_per_epoch=data.steps_per_epoch * data.rows,
        )
        done = resumable.restore(model)
        if done < settings.epochs and not resumable.finished:
            model.fit(
                data.dataset(first_epoch=done, blocks=_blocks(model)),
                epochs=settings.epochs,
                initial_epoch=done,
                steps_per_epoch=data.steps_per_epoch,
                callbacks=[
                    SampledAUC.of(split, tables),
                    *_gate_monitor(data, work),
                    resumable,
                    *shown(done),
                ],
                verbose=0,
            )
        resumable.load_best(model)
        if data.held_out is not None:
            history |= _gate_history(model, data, work, resumable.best_epoch)
        with replace_folder(path) as folder:
            model.save(folder / "model.keras")
            for kept in work.glob("gate/*"):
                shutil.copy(kept, folder / kept.name)
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
                    **history,
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


def _gate_monitor(data: TrainingData, work: Path) -> list[Any]:
    if data.held_out is None:
        return []

    def some(block: GuidanceBlocks, users: int) -> dict[str, Any]:
        return data.block_features(block, spread(block, users))

    guidance, _ = data.blocks[GUIDANCE]
    monitor = GateMonitor(
        some(guidance, _MONITORED_USERS),
        probes=some(data.held_out, _MONITORED_PROBES),
        table=work / "gate" / CALIBRATION,
        log_dir=work / "gate",
    )
    return [monitor]


def _gate_history(
    model: SelectiveModel, data: TrainingData, work: Path, epoch: int
) -> dict[str, Any]:
    """Where the finished model's gate opens, and whether its chances hold."""
    found = {"gate_map": gate_map(model, data, users=_MONITORED_USERS)}
    table = work / "gate" / CALIBRATION
    epochs = read_json(table)["epochs"] if table.exists() else []
    of_epoch = {one["epoch"]: one for one in epochs}
    return found | ({"gate_calibration": of_epoch[epoch]} if epoch in of_epoch else {})


def _blocks(model: SelectiveModel) -> list[str]:
    """The blocks that training needs: probes for a gate that still learns from them."""
    learns = model.gate.trainable and model.gate.objective == "agreement"
    return [GUIDANCE, PROBES] if learns else [GUIDANCE]


def _pairs_per_batch(epochs: list[dict[str, float]]) -> float:
    return float(np.mean([epoch["pairs"] for epoch in epochs]))
