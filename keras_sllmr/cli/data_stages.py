"""The stages on one domain's data: import, encode, score."""

from pathlib import Path
from typing import Any

from keras_sllmr.cli import stages
from keras_sllmr.cli.config import DataConfig
from keras_sllmr.cli.ledger import Announce, StageLedger
from keras_sllmr.cli.score_stage import ScoreStage
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors

# How an endpoint is asked, which does not change its answers.
_HOW = {"transport", "batch", "prices", "api_key_env"}


class DataStages:
    """Makes a domain's store, text vectors and score table, in this order.

    Args:
        config: see `DataConfig`.
        folder: gets `store`, `text` and `scores`.
        ledger: knows which of them are up to date.
        announce: see `StageLedger.run`.
        seed: int. Of the candidates.
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
        settings: dict[str, Any] = config.model_dump(mode="json")
        settings["candidates"] = stage.candidates.model_dump(mode="json")
        settings["llm"] = {
            name: value for name, value in config.llm.items() if name not in _HOW
        }
        inputs = {
            "store": self.split.store.fingerprint,
            "text": self.text.manifest["fingerprint"],
            "settings": settings,
            "seed": self.seed,
        }
        self.ledger.run(
            "score", inputs, path, lambda: stage.score(path), announce=self.announce
        )
        return ScoreTable(path, self.split.store)
