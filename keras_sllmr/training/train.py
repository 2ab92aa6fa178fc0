"""The training job: one backbone, one method, one folder with the best epoch's model."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.errors import ConfigError
from keras_sllmr.io.atomic import read_json, replace_folder
from keras_sllmr.io.hashing import fingerprint
from keras_sllmr.io.lock import exclusive
from keras_sllmr.scoring.examples import retrieval_of
from keras_sllmr.scoring.platt import apply_platt, platt
from keras_sllmr.scoring.retrieval import ExampleRetrieval
from keras_sllmr.store.examples import Examples
from keras_sllmr.store.knowledge import Knowledge
from keras_sllmr.store.manifest import require_replaceable, write_manifest
from keras_sllmr.store.row_scores import RowScores
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.training.batch import GUIDANCE, PROBES
from keras_sllmr.training.batches import Batches, replica_batches
from keras_sllmr.training.build import (
    build_model,
    compile_model,
    feature_spec,
    injection,
)
from keras_sllmr.training.callbacks.gate_monitor import GateMonitor
from keras_sllmr.training.callbacks.resumable import ResumableTraining
from keras_sllmr.training.callbacks.sampled_auc import SampledAUC
from keras_sllmr.training.callbacks.weight_average import WeightAverage
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.gate_map import gate_map, spread
from keras_sllmr.training.guidance import GuidanceBlocks
from keras_sllmr.training.method_names import Method
from keras_sllmr.training.methods import method_named, used_settings, with_fixed
from keras_sllmr.training.offline_inputs import OfflineInputs
from keras_sllmr.training.plan_files import PlanFiles
from keras_sllmr.training.reference import fit_gate, fit_reference
from keras_sllmr.training.row_inputs import RowInputs
from keras_sllmr.training.selective_model import SelectiveModel
from keras_sllmr.training.settings import KDSettings, TrainSettings
from keras_sllmr.training.trained_model import MODEL_VERSION, RETRIEVAL, TrainedModel
from keras_sllmr.training.whole_model import tables_in_parts, whole_model
from keras_sllmr.training.workers import Workers

_MONITORED_USERS, _MONITORED_PROBES = 256, 2048

#: the gate's calibration tables, a file of a trained model's folder.
CALIBRATION = "gate_calibration.json"


def train(
    method: Method,
    split: LeaveOneOut,
    path: str | os.PathLike[str],
    *,
    settings: TrainSettings | None = None,
    scores: ScoreTable | None = None,
    text: TextVectors | None = None,
    row_scores: RowScores | None = None,
    knowledge: Knowledge | None = None,
    examples: Examples | None = None,
    callbacks: Callable[[int, int], list[Any]] | None = None,
    strategy: Any = None,
    data_service: str | None = None,
    backup_every: int | None = None,
) -> TrainedModel:
    """Trains a method and writes the best epoch's model, whole or not at all.

    Early stopping and the choice of the epoch look at the validation split alone. A
    run that was killed goes on after its last whole epoch, or the last backup.

    Args:
        method: `none`, `sllmr`, `global`, `pointwise`, `kd`, `kar` or `llm_cf`; see
            `training.methods`.
        split: the store's split.
        path: the model's folder.
        settings: defaults to `TrainSettings()`.
        scores: the LLM's score table; `sllmr`, `global` and `pointwise` need it.
        text: the items' text vectors; needed when `settings.backbone.text`, and by
            `llm_cf`.
        row_scores: a teacher's scores of the training rows; `kd` needs them.
        knowledge: vectors of users and items; `kar` needs them.
        examples: labelled rows with chains of thought; `llm_cf` needs them.
        callbacks: called with (epochs done, steps an epoch) for more Keras callbacks,
            e.g. a progress bar.
        strategy: a `tf.distribute.Strategy`, see `training.strategies`: the settings'
            batch is that of all replicas together. Of several workers each runs this,
            on files that they share, and the chief alone writes. Defaults to none.
        data_service: address of a tf.data service that gathers the features, see
            `training.batches`. Defaults to this process.
        backup_every: int ≥ 1. Steps between backups within an epoch, for epochs that
            take hours. Defaults to none.

    Raises:
        ConfigError: on an unknown method, a batch that does not divide by the replicas,
            or workers that were not started alike.
        EndpointError: when another worker is lost; what was trained is kept.
        StoreError: when a needed table is missing, or another job writes `path`.
    """
    path, settings = Path(path), with_fixed(method, settings or TrainSettings())
    workers = Workers(strategy, data_service)
    given = OfflineInputs(scores, text, row_scores, knowledge, examples)
    inputs = given.used(method, settings)
    guided = method_named(method).guided
    spec = feature_spec(method, split, settings, inputs)
    vectors = inputs.text.vectors if inputs.text and settings.backbone.text else None
    inject = injection(method, split, spec, settings, inputs)
    with workers.scope():
        model = build_model(method, spec, settings, vectors, inject)
    retrieval = _retrieval(split, spec, inputs)
    tables = FeatureTables(
        split,
        spec,
        retrieval=retrieval,
        known_from=None if inputs.knowledge is None else inputs.knowledge.positions,
    )
    data = TrainingData(
        split,
        tables,
        scores=inputs.scores,
        rows=_row_inputs(split, inputs, settings.kd),
        settings=settings.batch,
        labelled_pairs=settings.selective.labelled_pairs and guided,
        shuffled_from=settings.selective.shuffled_from if guided else None,
        seed=settings.seed,
    )
    require_replaceable(path, kind="model")
    with (
        workers.together(),
        workers.place(path, _checkpoint(path)) as place,
        exclusive(place),
        _batches(data, workers, path, settings.epochs, data_service) as batches,
    ):
        work = _checkpoint(place)
        parent = {
            "store": split.store.fingerprint,
            **{name: mark for name, mark in inputs.fingerprints.items() if mark},
        }
        # Training longer goes on from a checkpoint; other settings start anew.
        how = used_settings(method, settings)
        how = {n: value for n, value in how.items() if n not in ("epochs", "patience")}
        key = fingerprint([method, parent, how])
        progress = [one.read_text() for one in sorted(work.rglob("progress.json"))]
        last = (settings.epochs, settings.patience)
        workers.require_same(
            fingerprint([key, last, progress]), "inputs, settings and checkpoint"
        )

        def shown(done: int) -> list[Any]:
            return callbacks(done, data.steps_per_epoch) if callbacks else []

        history: dict[str, Any] = {}
        if guided and settings.selective.regularizer == "evidence":
            with workers.scope():
                plain, average = (
                    build_model("none", spec, settings, vectors) for _ in range(2)
                )
            history["reference"] = fit_reference(
                plain,
                average,
                data,
                work / "reference",
                key=key,
                epochs=settings.epochs,
                monitors=[SampledAUC.of(split, tables)],
                callbacks=shown(0),
                batches=batches,
                every=backup_every,
                agree=workers.chiefs,
            )
            data.refer_to(average.block_logits)
            if settings.selective.gate_objective == "agreement":
                fit_gate(model, data)
                # Keras trains what was trainable when the model was compiled.
                with workers.scope():
                    compile_model(model, settings)
        mean: SelectiveModel | None = None
        if settings.average:
            with workers.scope():
                mean = build_model(method, spec, settings, vectors, inject)
        resumable = ResumableTraining(
            work,
            key=key,
            patience=settings.patience,
            every=backup_every,
            rows_per_epoch=data.steps_per_epoch * data.rows,
            agree=workers.chiefs,
            kept=mean,
        )
        monitors = [SampledAUC.of(split, tables), *_gate_monitor(data, work)]
        done = resumable.restore(model)
        resumable.fit(
            model,
            lambda epoch, step: batches(epoch, step, _blocks(model)),
            epochs=settings.epochs,
            steps_per_epoch=data.steps_per_epoch,
            callbacks=[
                *([WeightAverage(mean, monitors=monitors)] if mean else monitors),
                *shown(done),
            ],
        )
        model = mean or model
        resumable.load_best(model)
        if data.held_out is not None:
            history |= _gate_history(model, data, work, resumable.best_epoch)
        with replace_folder(place) as folder:
            whole_model(
                model, lambda: build_model(method, spec, settings, vectors, inject)
            ).save(folder / "model.keras")
            if retrieval is not None:
                retrieval.save(folder / RETRIEVAL)
            for kept in work.glob("gate/*"):
                shutil.copy(kept, folder / kept.name)
            write_manifest(
                folder,
                kind="model",
                schema_version=MODEL_VERSION,
                parent=parent,
                settings={
                    "method": method,
                    "described": inputs.described,
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
                    **workers.described(len(tables_in_parts(model))),
                },
            )
        shutil.rmtree(work, ignore_errors=True)
    return TrainedModel(path)


def _checkpoint(path: Path) -> Path:
    return path.with_name(f"{path.name}.checkpoint")


@contextlib.contextmanager
def _batches(
    data: TrainingData,
    workers: Workers,
    path: Path,
    epochs: int,
    service: str | None,
) -> Iterator[Batches]:
    """Makes batches from an epoch on; plans in files, for others to read, in between."""
    folder, plans = path.with_name(f"{path.name}.plans"), None
    if service is not None or workers.remote:
        plans = PlanFiles(folder, data, range(epochs), write=workers.chief)
        workers.gathered(0)
    try:
        yield lambda epoch, step, blocks: replica_batches(
            data,
            workers.strategy,
            first_epoch=epoch,
            first_step=step,
            blocks=blocks,
            plans=plans,
            service=service,
        )
    finally:
        if plans is not None and workers.chief:
            shutil.rmtree(folder, ignore_errors=True)


def _retrieval(
    split: LeaveOneOut, spec: FeatureSpec, inputs: OfflineInputs
) -> ExampleRetrieval | None:
    if inputs.examples is None or inputs.text is None:
        return None
    history = inputs.examples.manifest["settings"]["history"]
    if history != spec.history_length:
        raise ConfigError(
            "Examples must be found by histories as long as the backbone's, "
            f"backbone.history_length={spec.history_length}. Received: examples found "
            f"by {history} events. Make them anew, or set it to {history}."
        )
    return retrieval_of(inputs.examples, split, inputs.text)


def _row_inputs(
    split: LeaveOneOut, inputs: OfflineInputs, kd: KDSettings
) -> RowInputs | None:
    if inputs.row_scores is not None:
        rows, scores = inputs.row_scores.rows(split), inputs.row_scores.scores
        if kd.calibrated:
            labels = np.zeros(scores.shape, np.int64)
            labels[:, 0] = 1
            scores = apply_platt(scores, *platt(scores[:, :2], labels[:, :2]))
        return RowInputs(rows, {"teacher": scores})
    if inputs.examples is not None:
        rows = inputs.examples.rows(split)
        return RowInputs(rows, {"examples": inputs.examples.neighbours})
    return None


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
