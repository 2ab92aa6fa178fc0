"""The score stage: whom to ask about what, of which teacher, for how much."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.cli.config import RunConfig, ScoreConfig
from keras_sllmr.cli.console import progress_bar
from keras_sllmr.cli.stages import ledger_of
from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.user_uncertainty import user_uncertainty
from keras_sllmr.scoring.batch_scoring import BatchScoring
from keras_sllmr.scoring.budget import ask_order, expected_benefit
from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.choices import Calibration
from keras_sllmr.scoring.embedded import embedded_teacher
from keras_sllmr.scoring.estimate import estimate
from keras_sllmr.scoring.job import score_candidates
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.sampler import CandidateSampler
from keras_sllmr.scoring.teachers.base import Teacher
from keras_sllmr.scoring.teachers.llm import LLMTeacher
from keras_sllmr.settings import settings_of
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.training.trained_model import TrainedModel

# Half of them are the gate's, by its default; the rest stay in training.
PROBE_USERS = 4000


#: weights of the text vectors and of TF-IDF by the local teacher's name.
_WEIGHTS = {"encoder": (1.0, 0.0), "tfidf": (0.0, 1.0)}


def candidate_settings(config: ScoreConfig, seed: int) -> CandidateSettings:
    """The candidates that suit the teacher, as far as the configuration is silent."""
    defaults: dict[str, Any] = {"seed": seed}
    if config.teacher == "llm":
        # More probes cost money, and the gate has no use for them.
        defaults["probe_users"] = PROBE_USERS
    else:
        # It would pick the tail items' users itself, and only confirm its choice.
        defaults |= {"tail": 2.0, "tail_near": 0.0}
    return settings_of(
        CandidateSettings, {**defaults, **config.candidates}, "score.candidates"
    )


def llm_settings(config: ScoreConfig, seed: int) -> LLMSettings | None:
    """The language model's settings, if that is the teacher."""
    if config.teacher != "llm":
        return None
    return settings_of(LLMSettings, {"seed": seed, **config.llm}, "score.llm")


def calibration_of(config: ScoreConfig) -> Calibration:
    """How the teacher's scores become [0, 1]."""
    return config.calibration or ("none" if config.teacher == "llm" else "sigmoid")


def batch_scoring(
    config: RunConfig,
    store: str | os.PathLike[str],
    text: str | os.PathLike[str] | None,
    **options: Any,
) -> BatchScoring:
    """What `sllmr score` does of a configuration, in slices of the users.

    Args:
        config: of a run.
        store: folder of the store.
        text: folder of the items' text vectors, or none.
        **options: of `BatchScoring`.

    Raises:
        ConfigError: when a setting breaks its rule.
    """
    score = config.score
    _require_text(score, text)
    local = "embedded" if score.teacher == "llm" and text is not None else score.teacher
    default = score.weights if text is not None else _WEIGHTS["tfidf"]
    return BatchScoring(
        store,
        text,
        candidate_settings(score, config.seed),
        llm_settings(score, config.seed),
        weights=_WEIGHTS.get(local, default),
        seed=config.seed,
        **options,
    )


def _require_text(config: ScoreConfig, text: Any) -> None:
    if text is None and config.teacher in ("embedded", "encoder"):
        raise ConfigError(
            f"The teacher {config.teacher!r} needs text vectors. Make them with "
            "`sllmr encode` and name them with --text, or choose `tfidf`."
        )


class ScoreStage:
    """Everything that `sllmr score` does with one store and one configuration.

    Args:
        split: the store's split.
        text: the items' text vectors; none only for TF-IDF.
        config: see `ScoreConfig`.
        seed: int. Of every draw.

    Raises:
        ConfigError: when a setting breaks its rule, or text vectors are missing.
    """

    def __init__(
        self,
        split: LeaveOneOut,
        text: TextVectors | None,
        config: ScoreConfig,
        seed: int,
    ) -> None:
        self.split, self.text, self.config, self.seed = split, text, config, seed
        self.candidates = candidate_settings(config, seed)
        self.llm = llm_settings(config, seed)
        _require_text(config, text)

    @property
    def calibration(self) -> Calibration:
        """How scores become [0, 1]: as set, or as the teacher's are best."""
        return calibration_of(self.config)

    def teacher(self, path: Path, ledger: Path | None = None) -> Teacher:
        """The teacher.

        Args:
            path: of what it is asked for.
            ledger: file of an endpoint's answers. Defaults to one beside that.
        """
        if self.llm is None:
            return self.local_teacher(self.config.teacher)
        return LLMTeacher.open(
            self.split.store.item_texts,
            ledger or ledger_of(path),
            self.llm,
            batch=self.llm.batch if self.config.batch else None,
        )

    def local_teacher(self, kind: str) -> Teacher:
        """A teacher without an endpoint: `embedded`, `encoder` or `tfidf`."""
        return embedded_teacher(
            self.split,
            self.text,
            history=self.candidates.history,
            seed=self.seed,
            weights=_WEIGHTS.get(kind, self.config.weights),
        )

    def screen(self) -> Teacher:
        """What picks the `near` candidates for a teacher that costs money."""
        return self.local_teacher("tfidf" if self.text is None else "embedded")

    def order(self, trained: Path | None = None) -> np.ndarray:
        """The users in the order of asking."""
        uncertainty = None
        if trained is not None:
            with progress_bar("Looking for uncertainty") as progress:
                uncertainty = user_uncertainty(
                    TrainedModel(trained), self.split, progress=progress
                )
        benefit = expected_benefit(
            self.split, uncertainty=uncertainty, cold_max=self.candidates.cold_max
        )
        return ask_order(benefit, order=self.config.order, seed=self.seed)

    def score(
        self,
        path: Path,
        *,
        ledger: Path | None = None,
        trained: Path | None = None,
    ) -> ScoreTable:
        """Writes the table.

        Args:
            path: its folder.
            ledger: file of an endpoint's answers. Defaults to one beside the table.
            trained: folder of a model whose uncertainty counts in the order of asking.
        """
        with progress_bar("Scoring candidates") as progress:
            options: dict[str, Any] = {
                "settings": self.candidates,
                "vectors": self._vectors,
                "calibration": self.calibration,
                "missing": self.config.missing,
                "progress": progress,
            }
            if self.llm is not None:
                options |= {"screen": self.screen(), "order": self.order(trained)}
            return score_candidates(
                self.split, self.teacher(path, ledger), path, **options
            )

    @property
    def _vectors(self) -> np.ndarray | None:
        return None if self.text is None else self.text.vectors

    def estimate(self) -> dict[str, Any]:
        """What the job would cost; sends nothing."""
        if self.llm is None:
            raise ConfigError(
                "A dry run is of a teacher that costs money. Received: teacher="
                f"{self.config.teacher}"
            )
        sampler = CandidateSampler(
            self.split,
            self.candidates,
            screen=self.screen(),
            vectors=self._vectors,
        )
        with progress_bar("Counting tokens") as progress:
            return estimate(
                sampler,
                self.llm,
                batch=self.config.batch,
                seed=self.seed,
                progress=progress,
            )
