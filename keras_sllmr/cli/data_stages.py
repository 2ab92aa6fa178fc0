"""The stages on one domain's data: import, and what methods read of it."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from keras_sllmr.cli import stages
from keras_sllmr.cli.config import DataConfig
from keras_sllmr.cli.ledger import Announce, StageLedger
from keras_sllmr.cli.offline_stages import (
    make_examples_table,
    make_knowledge_table,
    make_row_scores,
)
from keras_sllmr.cli.score_stage import ScoreStage
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.training.offline_inputs import OfflineInputs, opened

# How an endpoint is asked, which does not change its answers.
_HOW = {"transport", "batch", "prices", "api_key_env"}


class DataStages:
    """Makes a domain's store, text vectors, scores and the methods' other inputs.

    Args:
        config: see `DataConfig`.
        folder: gets `store`, `text`, `scores`, `row_scores`, `knowledge` and
            `examples`.
        ledger: knows which of them are up to date.
        announce: see `StageLedger.run`.
        seed: int. Of every draw.
    """

    def __init__(
        self,
        config: DataConfig,
        folder: Path,
        ledger: StageLedger,
        announce: Announce,
        *,
        seed: int,
    ) -> None:
        self.config, self.folder, self.ledger = config, folder, ledger
        self.announce, self.seed = announce, seed

    def import_store(self) -> LeaveOneOut:
        """The store's split."""
        data, path = self.config.data, self.folder / "store"
        inputs = {
            "files": stages.source_hashes(data),
            "format": data.format,
            "options": data.options,
        }
        self.ledger.run(
            "import",
            inputs,
            path,
            lambda: stages.import_store(data, path),
            announce=self.announce,
        )
        self.split = LeaveOneOut(FeatureStore(path))
        return self.split

    def encode(self) -> TextVectors:
        """The items' text vectors."""
        path, config, store = self.folder / "text", self.config.encode, self.split.store
        inputs = {
            "store": store.fingerprint,
            "settings": config.model_dump(mode="json", exclude=_HOW),
        }
        self.ledger.run(
            "encode",
            inputs,
            path,
            lambda: stages.encode_items(store, path, config),
            announce=self.announce,
        )
        self.text = TextVectors(path, store)
        return self.text

    def score(self) -> ScoreTable:
        """The teacher's scores."""
        config, path = self.config.score, self.folder / "scores"
        stage = ScoreStage(self.split, self.text, config, self.seed)
        settings = self._teacher_settings()
        settings["candidates"] = stage.candidates.model_dump(mode="json")
        self._run("score", settings, path, lambda: stage.score(path))
        return ScoreTable(path, self.split.store)

    def make(self, names: Collection[str]) -> OfflineInputs:
        """Makes what is needed of the methods' inputs, and the text vectors.

        Args:
            names: of `OfflineInputs`.
        """
        self.encode()
        if "scores" in names:
            self.score()
        split, text, config, seed = self.split, self.text, self.config, self.seed
        makers: dict[str, tuple[Callable[[Path], object], Sequence[str]]] = {
            "row_scores": (
                lambda path: make_row_scores(split, text, config, path, seed=seed),
                ("row_scores", "score"),
            ),
            "knowledge": (
                lambda path: make_knowledge_table(split, config, path, seed=seed),
                ("knowledge", "encode"),
            ),
            "examples": (
                lambda path: make_examples_table(split, text, config, path, seed=seed),
                ("examples", "encode"),
            ),
        }
        for name, (maker, sections) in makers.items():
            if name in names:
                path = self.folder / name
                self._run(
                    name, self._settings(name, sections), path, partial(maker, path)
                )
        return opened({name: self.folder / name for name in names}, split.store)

    def _run(
        self,
        name: str,
        settings: dict[str, Any],
        path: Path,
        make: Callable[[], object],
    ) -> None:
        """A stage on the store and the text vectors."""
        inputs = {
            "store": self.split.store.fingerprint,
            "text": self.text.manifest["fingerprint"],
            "settings": settings,
            "seed": self.seed,
        }
        self.ledger.run(name, inputs, path, make, announce=self.announce)

    def _settings(self, name: str, sections: Sequence[str]) -> dict[str, Any]:
        """What of a stage's sections of the configuration changes what it makes."""
        settings: dict[str, Any] = {
            section: getattr(self.config, section).model_dump(mode="json", exclude=_HOW)
            for section in sections
        }
        own = getattr(self.config, name)
        if "score" in sections or getattr(own, "source", "") == "llm":
            settings["score"] = self._teacher_settings()
        return settings

    def _teacher_settings(self) -> dict[str, Any]:
        """What of the section `score` changes a teacher's answers."""
        config = self.config.score
        settings: dict[str, Any] = config.model_dump(mode="json")
        settings["llm"] = {
            name: value for name, value in config.llm.items() if name not in _HOW
        }
        return settings
