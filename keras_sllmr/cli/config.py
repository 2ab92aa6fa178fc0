"""A run's configuration: one YAML file, one typed section a stage."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from keras_sllmr.scoring.choices import Calibration, Missing, Order
from keras_sllmr.scoring.llm.caps import Caps
from keras_sllmr.scoring.llm.transport import TransportSettings
from keras_sllmr.settings import Settings, read_mapping, settings_of
from keras_sllmr.training.method_names import Method
from keras_sllmr.training.search_space import SearchSpace


class ImportConfig(Settings):
    """Where the data come from.

    Args:
        format: `tables`, `amazon`, `movielens` or `steam`.
        path: file or folder; none for the embedded MovieLens-100K.
        options: as the importer's `read_*` function takes them.
    """

    format: Literal["tables", "amazon", "movielens", "steam"] = "tables"
    path: Path | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class EncodeConfig(Settings):
    """What makes the items' text vectors.

    Args:
        encoder: `minilm`, embedded; `sentence-transformers`, any of its models where it
            is installed; or `openai`, an embeddings endpoint.
        model: str. Of the last two.
        dimensions: int. `openai`: components to ask for.
        base_url: str. `openai`: see `LLMSettings`, as for the rest.
        api_key_env: str.
        prices: str.
        caps: see `Caps`.
        transport: see `TransportSettings`.
    """

    encoder: Literal["minilm", "sentence-transformers", "openai"] = "minilm"
    model: str | None = None
    dimensions: int | None = Field(None, ge=1)
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    prices: str | None = None
    caps: Caps = Caps()
    transport: TransportSettings = TransportSettings()

    @model_validator(mode="after")
    def _check(self) -> "EncodeConfig":
        if (self.model is None) != (self.encoder == "minilm"):
            raise ValueError(
                "`model` must name the model of `sentence-transformers` or `openai`, "
                f"and of these alone, got encoder={self.encoder!r}, model={self.model!r}"
            )
        return self


class ScoreConfig(Settings):
    """The teacher, its candidates and what becomes of its scores.

    Args:
        teacher: `embedded`, the text vectors mixed with TF-IDF; `encoder`, the text
            vectors alone; `tfidf`; or `llm`, a language model behind an endpoint.
        weights: of the text vectors and of TF-IDF in `embedded`.
        candidates: as `scoring.candidates.CandidateSettings` takes them.
        calibration: how scores become [0, 1], see `scoring.calibration.calibrate`.
            Defaults to `sigmoid` of standardised scores, and for `llm` to `none`.
        missing: `drop`, or `half` for the paper's 0.5.
        order: whom an `llm` is asked about first: `benefit`, `random` or `user`.
        batch: bool. Ask the `llm` through its Batch API.
        llm: as `scoring.llm.settings.LLMSettings` takes it.
    """

    teacher: Literal["embedded", "encoder", "tfidf", "llm"] = "embedded"
    weights: tuple[float, float] = (1.0, 1.0)
    candidates: dict[str, Any] = Field(default_factory=dict)
    calibration: Calibration | None = None
    missing: Missing = "drop"
    order: Order = "benefit"
    batch: bool = False
    llm: dict[str, Any] = Field(default_factory=dict)


class RowScoresConfig(Settings):
    """The teacher's scores of the training rows, which `kd` imitates.

    Args:
        sets: int. Sampled negatives of each training positive that are scored.
    """

    sets: int = Field(4, ge=1)


class KnowledgeConfig(Settings):
    """The texts about users and items that `kar` reads, as vectors.

    Args:
        source: `description`, the texts of the items and of users' histories; or
            `llm`, what the language model of `score.llm` writes about them.
        share: float. Of each user's training events, the first, that the text tells
            of; see `scoring.knowledge.make_knowledge`.
        history: int. Last of those events that it names.
    """

    source: Literal["description", "llm"] = "description"
    share: float = Field(0.5, gt=0, le=1)
    history: int = Field(20, ge=1)


class ExamplesConfig(Settings):
    """The labelled examples that `llm_cf` shows with each row.

    Args:
        source: of their chains of thought: `description`, the row in words; or `llm`.
        share: float. Of the training positives, each with one negative.
        sets: int. See `RowScoresConfig`.
        k: int. Examples a row, half of them positives; even.
        history: int. Last events that examples are found by, as long as the backbone's.
        dimensions: int or none. Of the vectors that they are found by.
        samples: int. `llm`: chains a row, of which the best is kept.
    """

    source: Literal["description", "llm"] = "description"
    share: float = Field(0.1, gt=0, le=1)
    sets: int = Field(4, ge=1)
    k: int = Field(4, ge=2, multiple_of=2)
    history: int = Field(20, ge=1)
    dimensions: int | None = Field(192, ge=1)
    samples: int = Field(3, ge=1)


class ExportConfig(Settings):
    """What is exported.

    Args:
        method: whose model.
        folder: folder of all exports.
        version: int. A run replaces its own earlier export of this version.
    """

    method: str = "sllmr"
    folder: Path = Path("saved_models")
    version: int = Field(1, ge=1)


class DataConfig(Settings):
    """The data of one domain, from interactions to a teacher's scores.

    Args:
        data: see `ImportConfig`; the YAML key is `import`.
        encode: see `EncodeConfig`.
        score: see `ScoreConfig`.
        row_scores: see `RowScoresConfig`; made for the method `kd` alone.
        knowledge: see `KnowledgeConfig`; made for `kar` alone.
        examples: see `ExamplesConfig`; made for `llm_cf` alone.
    """

    data: ImportConfig = Field(ImportConfig(), alias="import")
    encode: EncodeConfig = EncodeConfig()
    score: ScoreConfig = ScoreConfig()
    row_scores: RowScoresConfig = RowScoresConfig()
    knowledge: KnowledgeConfig = KnowledgeConfig()
    examples: ExamplesConfig = ExamplesConfig()


class RunConfig(DataConfig):
    """A whole run, from interactions to an export.

    Args:
        name: of the run and its export.
        seed: default seed of every stage.
        methods: trained and compared, the baseline first.
        data: see `DataConfig`, as for the next two.
        encode: see `EncodeConfig`.
        score: see `ScoreConfig`.
        train: as `training.train.TrainSettings` takes it.
        tune: what `sllmr tune` may choose from, by dotted names of `train`, e.g.
            `selective.weight: {low: 0.03, high: 3, log: true}`; see
            `training.search_space`. Defaults to the method's own.
        evaluate: as `evaluation.heldout.EvaluationSettings` takes it.
        export: see `ExportConfig`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = 0
    methods: tuple[Method, ...] = Field(("none", "sllmr"), min_length=1)
    train: dict[str, Any] = Field(default_factory=dict)
    tune: SearchSpace = Field(default_factory=dict)
    evaluate: dict[str, Any] = Field(default_factory=dict)
    export: ExportConfig = ExportConfig()


def load_config(path: str | os.PathLike[str], *, data: Path | None = None) -> RunConfig:
    """Reads a run's YAML file.

    Args:
        path: the file.
        data: replaces `import.path`.

    Raises:
        ConfigError: when it is missing, not YAML, or a setting breaks its rule.
    """
    path = Path(path)
    values = read_mapping(path, what="configuration")
    if data is not None:
        section = values.get("import") or {}
        values["import"] = {**section, "path": str(data)}
    return settings_of(RunConfig, values, path.name)
