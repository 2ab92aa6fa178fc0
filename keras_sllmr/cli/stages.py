"""Each stage by itself: the library composed, with progress shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_sllmr.cli.config import EncodeConfig, ImportConfig
from keras_sllmr.cli.console import progress_bar
from keras_sllmr.cli.epoch_progress import EpochProgress
from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.evaluate import evaluate_model
from keras_sllmr.evaluation.heldout import TestRows
from keras_sllmr.io.atomic import read_json
from keras_sllmr.io.hashing import file_sha256
from keras_sllmr.scoring.encoders import MiniLM, SentenceTransformerEncoder
from keras_sllmr.scoring.encoders.base import TextEncoder
from keras_sllmr.scoring.encoders.endpoint import EndpointEncoder
from keras_sllmr.scoring.llm.client import endpoint_id
from keras_sllmr.scoring.llm.connect import open_engine
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.serving.check import check_export
from keras_sllmr.serving.export import export_model
from keras_sllmr.serving.model_card import metrics_of
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.importers import IMPORTERS
from keras_sllmr.store.importers.movielens import embedded_folder
from keras_sllmr.store.manifest import read_manifest
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.training.methods import label_of
from keras_sllmr.training.offline_inputs import OfflineInputs
from keras_sllmr.training.settings import TrainSettings
from keras_sllmr.training.train import train
from keras_sllmr.training.trained_model import MODEL_VERSION, TrainedModel

_SECOND_FILE = {"tables": "items", "amazon": "meta", "steam": "games"}


def source_hashes(config: ImportConfig) -> list[tuple[str, str]]:
    """Name and SHA-256 of every source file, the embedded ones included."""
    path = embedded_folder() if config.path is None else config.path
    if not path.exists():
        raise ConfigError(f"No such file or folder: {path}")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
    for option in (_SECOND_FILE.get(config.format, ""), "users"):
        if config.options.get(option) is not None:
            files.append(Path(config.options[option]))
    return [(file.name, file_sha256(file)) for file in files]


def second_file(format: str, path: Path | None) -> dict[str, Any]:
    """The option that names a format's second file."""
    if path is None:
        return {}
    if format not in _SECOND_FILE:
        raise ConfigError(f"The format {format!r} has no second file. Received: {path}")
    return {_SECOND_FILE[format]: path}


def import_store(config: ImportConfig, path: Path) -> FeatureStore:
    """Reads source files into a store."""
    reader = IMPORTERS[config.format]
    with progress_bar("Reading") as progress:
        try:
            raw = reader(
                *([] if config.path is None else [config.path]),
                progress=progress,
                **config.options,
            )
        except TypeError as error:
            if "argument" in str(error):
                raise ConfigError(f"import.options: {error}.") from error
            raise
    return FeatureStore.create(path, raw)


def encode_items(
    store: FeatureStore,
    path: Path,
    config: EncodeConfig | None = None,
    *,
    threads: int = 0,
) -> TextVectors:
    """Makes the items' text vectors."""
    encoder = encoder_of(config or EncodeConfig(), path, threads=threads)
    with progress_bar("Encoding item texts") as progress:
        vectors = encoder.encode(list(store.item_texts), progress=progress)
    return TextVectors.create(path, store, vectors, encoder=encoder.name)


def encoder_of(config: EncodeConfig, path: Path, *, threads: int = 0) -> TextEncoder:
    """The sentence encoder; an endpoint's answers are kept beside what is made."""
    if config.model is None:
        return MiniLM(threads=threads)
    if config.encoder == "sentence-transformers":
        return SentenceTransformerEncoder(config.model)
    engine = open_engine(
        Ledger(ledger_of(path)),
        model=config.model,
        base_url=config.base_url,
        api_key_env=config.api_key_env,
        prices=config.prices,
        caps=config.caps,
        transport=config.transport,
    )
    return EndpointEncoder(
        engine,
        config.model,
        dimensions=config.dimensions,
        endpoint=endpoint_id(config.base_url),
    )


def ledger_of(path: Path) -> Path:
    """The ledger beside an artefact that an endpoint's answers are made into."""
    return path.with_name(f"{path.name}.ledger.sqlite")


def train_method(
    method: Any,
    split: LeaveOneOut,
    path: Path,
    settings: TrainSettings,
    *,
    inputs: OfflineInputs,
    strategy: Any = None,
    data_service: str | None = None,
    backup_every: int | None = None,
) -> TrainedModel:
    """Trains one method."""
    with progress_bar(f"Training {method}") as progress:
        return train(
            method,
            split,
            path,
            settings=settings,
            **inputs.tables,
            callbacks=lambda done, steps: [
                EpochProgress(progress, done, steps, settings.epochs)
            ],
            strategy=strategy,
            data_service=data_service,
            backup_every=backup_every,
        )


def result_names(models: Sequence[Path]) -> list[str]:
    """What to call each model's method: by its manifest, or else by its folder.

    Models that agree in backbone, method and seed are told apart by their folders.
    """
    found = []
    for path in models:
        settings = read_manifest(path, kind="model", schema_version=MODEL_VERSION)[
            "settings"
        ]
        train = settings["train"]
        found.append((settings["method"], train["backbone"]["name"], train["seed"]))
    if len(set(found)) == len(found):
        return [method for method, _, _ in found]
    names = [path.name for path in models]
    if len(set(names)) < len(names):
        raise ConfigError(
            "Models of one method, backbone and seed need folders of different names. "
            f"Received: {', '.join(names)}"
        )
    return names


def evaluate_method(
    trained: TrainedModel,
    rows: TestRows,
    path: Path,
    *,
    domain: str,
    method: str | None = None,
    label: str | None = None,
    **about: Any,
) -> None:
    """Scores one model on the test rows, and keeps its result in `path`."""
    settings = trained.manifest["settings"]
    name = method or settings["method"]
    with progress_bar(f"Ranking with {name}") as progress:
        result = evaluate_model(
            trained.backbone,
            trained.spec,
            rows,
            retrieval=trained.retrieval,
            domain=domain,
            backbone_name=settings["train"]["backbone"]["name"],
            method=name,
            seed=settings["train"]["seed"],
            progress=progress,
            label=label or label_of(name),
            model=trained.manifest["fingerprint"],
            train=settings["train"],
            **({"described": True} if settings.get("described") else {}),
            **about,
        )
    result.write(path)


def export_method(
    trained: TrainedModel,
    store: FeatureStore,
    folder: Path,
    name: str,
    **options: Any,
) -> tuple[Path, dict[str, Any]]:
    """Exports a model's backbone, once it has been checked in a fresh process.

    Args:
        trained: the model.
        store: the store it was trained on.
        folder: of all exports.
        name: of the served model.
        **options: as `export_model` takes them.
    """
    checked: dict[str, Any] = {}
    path = export_model(
        trained.backbone,
        trained.spec,
        store,
        folder,
        name=name,
        retrieval=trained.retrieval,
        model=trained.manifest,
        verify=lambda beside: checked.update(check_method(trained, store, beside)),
        **options,
    )
    return path, checked


def check_method(
    trained: TrainedModel, store: FeatureStore, path: Path
) -> dict[str, Any]:
    """Compares an export with a model, in a fresh process."""
    return check_export(
        path, trained.backbone, trained.spec, store, retrieval=trained.retrieval
    )


def metrics_for(trained: TrainedModel, path: Path) -> dict[str, Any]:
    """What a run's `metrics.json` or a comparison says of a model's method."""
    settings = trained.manifest["settings"]
    method, backbone = settings["method"], settings["train"]["backbone"]["name"]
    found = read_json(path)
    for group in found.get("groups", [found]) if isinstance(found, dict) else []:
        of_backbone = group.get("backbone", backbone) == backbone
        if of_backbone and method in group.get("methods", {}):
            return metrics_of(group, method)
    raise ConfigError(
        "The metrics must be a run's metrics.json, or the comparison.json of `sllmr "
        f"compare`, with the method {method!r} on {backbone!r}. Received: {path}"
    )
