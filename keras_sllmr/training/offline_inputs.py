"""What was made offline for training: scores, vectors and examples."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from keras_sllmr.errors import StoreError
from keras_sllmr.store.examples import Examples
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.knowledge import Knowledge
from keras_sllmr.store.row_scores import RowScores
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.training.method_names import Method
from keras_sllmr.training.methods import method_named
from keras_sllmr.training.settings import TrainSettings

_MADE_BY: Mapping[str, str] = {
    "scores": "a score table. Run `sllmr score`",
    "text": "the items' text vectors. Run `sllmr encode`",
    "row_scores": "the teacher's scores of the training rows. Run `sllmr score rows`",
    "knowledge": "knowledge vectors of users and items. Run `sllmr knowledge`",
    "examples": "labelled examples with chains of thought. Run `sllmr examples`",
}


@dataclass(frozen=True)
class OfflineInputs:
    """The tables of one store that methods train with, each or none.

    Args:
        scores: the LLM's scores of candidates, of `sllmr`, `global` and `pointwise`.
        text: the items' text vectors, of the text fields and of `llm_cf`.
        row_scores: a teacher's scores of the training rows, of `kd`.
        knowledge: vectors of users and items, of `kar`.
        examples: labelled rows with their chains of thought, of `llm_cf`.
    """

    scores: ScoreTable | None = None
    text: TextVectors | None = None
    row_scores: RowScores | None = None
    knowledge: Knowledge | None = None
    examples: Examples | None = None

    def used(self, method: Method, settings: TrainSettings) -> "OfflineInputs":
        """Those that a training reads, and no others.

        Raises:
            ConfigError: on an unknown method.
            StoreError: when one is missing.
        """
        needs = set(needed(method, settings))
        for name in _MADE_BY:
            if name in needs and getattr(self, name) is None:
                for_text = name == "text" and name not in method_named(method).needs
                who = "backbone.text" if for_text else f"The method {method!r}"
                or_else = ", or set backbone.text to false" if for_text else ""
                raise StoreError(f"{who} needs {_MADE_BY[name]}{or_else}.")
        return OfflineInputs(
            **{name: getattr(self, name) if name in needs else None for name in NAMES}
        )

    @property
    def tables(self) -> dict[str, Any]:
        """The tables by name, as `train` takes them."""
        return {name: getattr(self, name) for name in NAMES}

    @property
    def described(self) -> list[str]:
        """Those whose texts are descriptions, not a language model's words."""
        texts = {"knowledge": self.knowledge, "examples": self.examples}
        return [
            name
            for name, table in texts.items()
            if table is not None and table.source == "description"
        ]

    @property
    def fingerprints(self) -> dict[str, str | None]:
        """The fingerprint of each table there is, by name."""
        return {
            name: None if table is None else str(table.manifest["fingerprint"])
            for name, table in self.tables.items()
        }


NAMES = tuple(field.name for field in fields(OfflineInputs))


def needed(method: Method, settings: TrainSettings) -> tuple[str, ...]:
    """Names of the offline inputs that a training reads.

    Raises:
        ConfigError: on an unknown method.
    """
    needs = set(method_named(method).needs)
    if settings.backbone.text:
        needs.add("text")
    return tuple(name for name in _MADE_BY if name in needs)


_TABLES: dict[str, Any] = {
    "scores": ScoreTable,
    "text": TextVectors,
    "row_scores": RowScores,
    "knowledge": Knowledge,
    "examples": Examples,
}


def opened(paths: Mapping[str, Path | None], store: FeatureStore) -> OfflineInputs:
    """Opens tables by their folders; none stays none.

    Args:
        paths: folder or none by name.
        store: the feature store that they were made for.

    Raises:
        StoreError: when one is missing, damaged or of another store.
    """
    given = {name: path for name, path in paths.items() if path is not None}
    return OfflineInputs(**{n: _TABLES[n](path, store) for n, path in given.items()})
