"""`sllmr run`: every stage of a configuration, skipping what is up to date."""

import datetime
from functools import partial
from pathlib import Path
from typing import Any

import keras_sllmr
from keras_sllmr.cli import stages
from keras_sllmr.cli.config import RunConfig
from keras_sllmr.cli.data_stages import DataStages
from keras_sllmr.cli.ledger import Announce, StageLedger
from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.compare import compare
from keras_sllmr.evaluation.heldout import EvaluationSettings, TestRows
from keras_sllmr.evaluation.report import write_report
from keras_sllmr.evaluation.result import Result
from keras_sllmr.io.atomic import write_json
from keras_sllmr.io.lock import exclusive
from keras_sllmr.scoring.reliability import describe_table
from keras_sllmr.serving.export import EXPORT_VERSION
from keras_sllmr.serving.model_card import metrics_of
from keras_sllmr.settings import settings_of
from keras_sllmr.store.stats import stats
from keras_sllmr.training.method_names import Method
from keras_sllmr.training.methods import used_settings
from keras_sllmr.training.offline_inputs import needed
from keras_sllmr.training.settings import TrainSettings
from keras_sllmr.training.trained_model import TrainedModel


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
        data = DataStages(
            self.config, self.folder, self.ledger, self.announce, seed=self.config.seed
        )
        self.split = data.import_store()
        self.store = self.split.store
        # Made before the long stages: an empty slice is an error, better told early.
        self.rows = TestRows(self.split, self.evaluate)
        # The report tells of the teacher, whatever the methods read.
        self.inputs = data.make({"text", "scores", *self._needed()})
        assert self.inputs.scores is not None
        self.scores = self.inputs.scores
        for method in self.config.methods:
            self._train(method)
        self.models: dict[str, TrainedModel] = {
            method: TrainedModel(self.folder / "models" / method)
            for method in self.config.methods
        }
        metrics = self._metrics(self._evaluate())
        write_json(self.folder / "metrics.json", metrics)
        metrics["export"] = self._export(metrics)
        metrics["stages"] = self.ledger.stages
        write_json(self.folder / "metrics.json", metrics)
        write_report(metrics, self.folder / "report.html")
        return metrics

    def _needed(self) -> set[str]:
        return {
            name
            for method in self.config.methods
            for name in needed(method, self.train)
        }

    def _train(self, method: Method) -> None:
        path = self.folder / "models" / method
        used = self.inputs.used(method, self.train)
        inputs = {
            "method": method,
            "store": self.store.fingerprint,
            "inputs": used.fingerprints,
            "settings": used_settings(method, self.train),
        }
        self.ledger.run(
            f"train {method}",
            inputs,
            path,
            lambda: stages.train_method(
                method, self.split, path, self.train, inputs=used
            ),
            announce=self.announce,
        )

    def _evaluate(self) -> list[Result]:
        results = []
        for method, trained in self.models.items():
            how = self.evaluate.what(pairs=method == "llm_cf")
            path = self.folder / "evaluation" / f"{method}.npz"
            self.ledger.run(
                f"evaluate {method}",
                {"model": trained.manifest["fingerprint"], "settings": how},
                path,
                partial(
                    stages.evaluate_method,
                    trained,
                    self.rows,
                    path,
                    domain=self.config.name,
                ),
                announce=self.announce,
            )
            results.append(Result.read(path))
        return results

    def _export(self, metrics: dict[str, Any]) -> str:
        config = self.config.export
        trained = self.models[config.method]
        path = config.folder / self.config.name / str(config.version)
        inputs = {
            "model": trained.manifest["fingerprint"],
            "path": str(path),
            "layout": EXPORT_VERSION,
        }

        def make() -> None:
            stages.export_method(
                trained,
                self.store,
                config.folder,
                self.config.name,
                version=config.version,
                replace=True,
                metrics=metrics_of(metrics, config.method),
                run={
                    **{key: metrics[key] for key in ("name", "created", "seed")},
                    "teacher": metrics["teacher"]["name"],
                },
            )

        self.ledger.run(
            "export", inputs, path / "saved_model.pb", make, announce=self.announce
        )
        return str(path)

    def _metrics(self, results: list[Result]) -> dict[str, Any]:
        config = self.config
        (group,) = compare(results, settings=self.evaluate.compare)["groups"]
        return {
            "name": config.name,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(
                timespec="seconds"
            ),
            "version": keras_sllmr.__version__,
            "seed": config.seed,
            "store": {"fingerprint": self.store.fingerprint, **stats(self.split)},
            "teacher": describe_table(self.scores, self.split),
            **{key: group[key] for key in ("slices", "methods", "differences")},
            "training": {name: model.history for name, model in self.models.items()},
            "stages": self.ledger.stages,
            "settings": {
                **config.model_dump(mode="json", by_alias=True),
                "train": self.train.model_dump(mode="json"),
                "evaluate": self.evaluate.model_dump(mode="json"),
            },
        }
