"""`sllmr run`: every stage of a configuration, skipping what is up to date."""

import datetime
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras_sllmr
from keras_sllmr.cli import stages
from keras_sllmr.cli.config import RunConfig
from keras_sllmr.cli.ledger import StageLedger
from keras_sllmr.cli.score_stage import ScoreStage
from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.evaluate import load_values
from keras_sllmr.evaluation.heldout import EvaluationSettings, TestRows
from keras_sllmr.evaluation.report import write_report
from keras_sllmr.evaluation.summary import summarise
from keras_sllmr.io.atomic import write_json
from keras_sllmr.io.lock import exclusive
from keras_sllmr.scoring.reliability import describe_table
from keras_sllmr.settings import settings_of
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.stats import stats
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.training.settings import TrainSettings
from keras_sllmr.training.trained_model import TrainedModel

# How an endpoint is asked, which does not change its answers.
_HOW = {"transport", "batch", "prices", "api_key_env"}

Announce = Callable[[str, bool], None]


def run(
    config: RunConfig,
    folder: Path,
    *,
    force: bool = False,
    announce: Announce = lambda name, skipped: None,
) -> dict[str, Any]:
    """Runs import → encode → score → train → evaluate → export.

    Args:
        config: the run.
        folder: the run's folder, e.g. `runs/demo`.
        force: bool. Run every stage again.
        announce: called as each stage begins, with its name and whether it is skipped.

    Returns:
        The content of `metrics.json`, with the export's path under `export`.
    """
    with exclusive(folder):
        return _Run(config, folder, force, announce).all_stages()


class _Run:
    def __init__(
        self, config: RunConfig, folder: Path, force: bool, announce: Announce
    ) -> None:
        if config.export.method not in config.methods:
            raise ConfigError(
                f"`export.method` must be among `methods`, {', '.join(config.methods)}. "
                f"Received: {config.export.method!r}"
            )
        self.config, self.folder, self.announce = config, folder, announce
        self.ledger = StageLedger(folder, force=force)
        self.train = settings_of(
            TrainSettings, {"seed": config.seed, **config.train}, "train"
        )
        self.evaluate = settings_of(
            EvaluationSettings, {"seed": config.seed, **config.evaluate}, "evaluate"
        )

    def all_stages(self) -> dict[str, Any]:
        self._import()
        self.store = FeatureStore(self.folder / "store")
        self.split = LeaveOneOut(self.store)
        # Made before the long stages: an empty slice is an error, better told early.
        self.rows = TestRows(self.split, self.evaluate)
        self._encode()
        self.text = TextVectors(self.folder / "text", self.store)
        self._score()
        self.scores = ScoreTable(self.folder / "scores", self.store)
        for method in self.config.methods:
            self._train(method)
        self.models: dict[str, TrainedModel] = {
            method: TrainedModel(self.folder / "models" / method)
            for method in self.config.methods
        }
        values = self._evaluate()
        metrics = self._metrics(values)
        write_json(self.folder / "metrics.json", metrics)
        metrics["export"] = self._export(metrics)
        metrics["stages"] = self.ledger.stages
        write_json(self.folder / "metrics.json", metrics)
        write_report(metrics, self.folder / "report.html")
        return metrics

    def _stage(
        self,
        name: str,
        inputs: dict[str, Any],
        output: Path,
        make: Callable[[], object],
    ) -> None:
        self.ledger.run(name, inputs, output, make, announce=self.announce)

    def _import(self) -> None:
        data, path = self.config.data, self.folder / "store"
        inputs = {
            "files": stages.source_hashes(data),
            "format": data.format,
            "options": data.options,
        }
        self._stage("import", inputs, path, lambda: stages.import_store(data, path))

    def _encode(self) -> None:
        path = self.folder / "text"
        config = self.config.encode
        inputs = {
            "store": self.store.fingerprint,
            "settings": config.model_dump(mode="json", exclude=_HOW),
        }
        self._stage(
            "encode",
            inputs,
            path,
            lambda: stages.encode_items(self.store, path, config),
        )

    def _score(self) -> None:
        config, path = self.config.score, self.folder / "scores"
        stage = ScoreStage(self.split, self.text, config, self.config.seed)
        settings = config.model_dump(mode="json")
        settings["candidates"] = stage.candidates.model_dump(mode="json")
        settings["llm"] = {
            name: value for name, value in config.llm.items() if name not in _HOW
        }
        inputs = {
            "store": self.store.fingerprint,
            "text": self.text.manifest["fingerprint"],
            "settings": settings,
            "seed": self.config.seed,
        }
        self._stage("score", inputs, path, lambda: stage.score(path))

    def _train(self, method: str) -> None:
        path = self.folder / "models" / method
        settings = self.train.model_dump(mode="json")
        inputs = {
            "method": method,
            "store": self.store.fingerprint,
            "text": self.text.manifest["fingerprint"],
            "settings": settings,
        }
        if method == "none":
            # The plain model does not depend on the regulariser or its scores.
            del settings["selective"]
        else:
            inputs["scores"] = self.scores.manifest["fingerprint"]
        self._stage(
            f"train {method}",
            inputs,
            path,
            lambda: stages.train_method(
                method, self.split, path, self.train, scores=self.scores, text=self.text
            ),
        )

    def _evaluate(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for method, trained in self.models.items():
            path = self.folder / "evaluation" / f"{method}.npz"
            inputs = {
                "model": trained.manifest["fingerprint"],
                "settings": self.evaluate.model_dump(mode="json"),
            }
            self._stage(
                f"evaluate {method}",
                inputs,
                path,
                partial(stages.evaluate_method, trained, self.rows, path),
            )
            values[method] = load_values(path)
        return values

    def _export(self, metrics: dict[str, Any]) -> str:
        config = self.config.export
        trained = self.models[config.method]
        path = config.folder / self.config.name / str(config.version)
        inputs = {"model": trained.manifest["fingerprint"], "path": str(path)}

        def make() -> None:
            stages.export_method(
                trained,
                self.store,
                config.folder,
                self.config.name,
                version=config.version,
                replace=True,
                metrics=metrics["methods"].get(config.method),
            )

        self._stage("export", inputs, path / "saved_model.pb", make)
        return str(path)

    def _metrics(self, values: dict[str, Any]) -> dict[str, Any]:
        config = self.config
        return {
            "name": config.name,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(
                timespec="seconds"
            ),
            "version": keras_sllmr.__version__,
            "seed": config.seed,
            "store": {"fingerprint": self.store.fingerprint, **stats(self.split)},
            "teacher": describe_table(self.scores, self.split),
            **summarise(self.rows, values, labels=stages.method_labels(config.methods)),
            "training": {name: model.history for name, model in self.models.items()},
            "stages": self.ledger.stages,
            "settings": {
                **config.model_dump(mode="json", by_alias=True),
                "train": self.train.model_dump(mode="json"),
                "evaluate": self.evaluate.model_dump(mode="json"),
            },
        }
