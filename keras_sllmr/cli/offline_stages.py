"""What `kd`, `kar` and `llm_cf` read, made of one store and one configuration."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.cli import stages
from keras_sllmr.cli.config import DataConfig, ExamplesConfig
from keras_sllmr.cli.console import progress_bar
from keras_sllmr.cli.score_stage import ScoreStage
from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.descriptions import first_events
from keras_sllmr.scoring.estimate_texts import estimate_chains, estimate_knowledge
from keras_sllmr.scoring.examples import example_pool, make_examples
from keras_sllmr.scoring.knowledge import make_knowledge
from keras_sllmr.scoring.llm.settings import WriterSettings
from keras_sllmr.scoring.llm.writer import TextWriter
from keras_sllmr.scoring.row_scores import score_rows
from keras_sllmr.scoring.written_texts import written_chains, written_knowledge
from keras_sllmr.settings import settings_of
from keras_sllmr.store.examples import Examples
from keras_sllmr.store.knowledge import Knowledge
from keras_sllmr.store.row_scores import RowScores
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.store.training_rows import TrainingRows


def make_row_scores(
    split: LeaveOneOut,
    text: TextVectors | None,
    config: DataConfig,
    path: Path,
    *,
    seed: int,
) -> RowScores:
    """The teacher of `score` asked about every training row.

    Args:
        split: the store's split.
        text: the items' text vectors, which most local teachers need.
        config: its sections `score` and `row_scores`.
        path: the table's folder; a ledger of answers is kept beside it.
        seed: int. Of the negatives.
    """
    stage = ScoreStage(split, text, config.score, seed)
    teacher = stage.teacher(path)
    with progress_bar("Scoring training rows") as progress:
        return score_rows(
            split,
            teacher,
            path,
            sets=config.row_scores.sets,
            seed=seed,
            history=stage.candidates.history,
            calibration=stage.calibration,
            missing=config.score.missing,
            progress=progress,
        )


def make_knowledge_table(
    split: LeaveOneOut, config: DataConfig, path: Path, *, seed: int
) -> Knowledge:
    """Texts on users and items, described or written, and their vectors.

    Args:
        split: the store's split.
        config: its sections `knowledge`, `encode` and, to write, `score.llm`.
        path: the table's folder; a ledger of answers is kept beside it.
        seed: int. Of the language model.
    """
    section, written = config.knowledge, {}
    if section.source == "llm":
        users, items = _knowledge_writers(config, seed, path)
        with progress_bar("Writing about users and items") as progress:
            of_users, of_items = written_knowledge(
                split,
                users,
                items,
                length=section.history,
                ends=first_events(split, section.share),
                progress=progress,
            )
        written = {
            "user_texts": of_users,
            "item_texts": of_items,
            **_provenance(users, items),
        }
    with progress_bar("Encoding texts on users and items") as progress:
        return make_knowledge(
            split,
            stages.encoder_of(config.encode, path),
            path,
            source=section.source,
            share=section.share,
            history=section.history,
            progress=progress,
            **written,
        )


def make_examples_table(
    split: LeaveOneOut,
    text: TextVectors,
    config: DataConfig,
    path: Path,
    *,
    seed: int,
) -> Examples:
    """Labelled examples, their chains of thought and every training row's nearest.

    Args:
        split: the store's split.
        text: the items' text vectors, by which examples are found.
        config: its sections `examples`, `encode` and, to write, `score.llm`.
        path: the table's folder; a ledger of answers is kept beside it.
        seed: int. Of the negatives, the pool and the language model.
    """
    section, written = config.examples, {}
    if section.source == "llm":
        writer, judge = _chain_writers(config, seed, path)
        with progress_bar("Writing chains of thought") as progress:
            chains = written_chains(
                split,
                *_rows_of_pool(split, section, seed),
                writer=writer,
                judge=judge,
                samples=section.samples,
                progress=progress,
            )
        written = {"chains": chains, **_provenance(writer, judge)}
    with progress_bar("Finding examples") as progress:
        return make_examples(
            split,
            stages.encoder_of(config.encode, path),
            text,
            path,
            seed=seed,
            progress=progress,
            **section.model_dump(exclude={"samples"}),
            **written,
        )


def estimate_texts(
    split: LeaveOneOut, config: DataConfig, name: str, *, seed: int
) -> dict[str, Any]:
    """What the texts of `knowledge` or `examples` would cost; sends nothing.

    Args:
        split: the store's split.
        config: see `make_knowledge_table` and `make_examples_table`.
        name: `knowledge` or `examples`.
        seed: int. As there.

    Raises:
        ConfigError: when they are not written by a language model.
    """
    source = getattr(config, name).source
    if source != "llm":
        raise ConfigError(
            "A dry run is of texts that a language model writes, source: llm. "
            f"Received: {name}.source={source}"
        )
    batch = config.score.batch
    if name == "knowledge":
        writers = _knowledge_writers(config, seed)
        length = config.knowledge.history
        return estimate_knowledge(split, *writers, length=length, batch=batch)
    writer, judge = _chain_writers(config, seed)
    return estimate_chains(
        split,
        *_rows_of_pool(split, config.examples, seed),
        writer=writer,
        judge=judge,
        samples=config.examples.samples,
        batch=batch,
    )


def _rows_of_pool(
    split: LeaveOneOut, section: ExamplesConfig, seed: int
) -> tuple[np.ndarray, ...]:
    rows = TrainingRows(split, sets=section.sets, seed=seed)
    pool = example_pool(rows, share=section.share)
    return pool.users, pool.positions, pool.items, pool.labels


def _knowledge_writers(
    config: DataConfig, seed: int, path: Path | None = None
) -> tuple[TextWriter, TextWriter]:
    users = _writer(config, "preferences", seed, path)
    return users, users.using("item_facts")


def _chain_writers(
    config: DataConfig, seed: int, path: Path | None = None
) -> tuple[TextWriter, TextWriter]:
    writer = _writer(config, "chain_of_thought", seed, path)
    return writer, writer.using("judge_chain", parameters={"temperature": 0.0})


def _writer(
    config: DataConfig, template: str, seed: int, path: Path | None
) -> TextWriter:
    """A writer; without a path one that sends nothing."""
    if config.score.teacher != "llm":
        raise ConfigError(
            "To have texts written, `score` must name a language model: teacher: llm "
            f"and its `llm` section. Received: teacher={config.score.teacher!r}. Or "
            "set `source` to description."
        )
    parameters = {"temperature": 0.7, "seed": seed}
    settings = settings_of(
        WriterSettings, {"parameters": parameters, **config.score.llm}, "score.llm"
    )
    if path is None:
        return TextWriter(settings, template)
    batch = settings.batch if config.score.batch else None
    return TextWriter.open(settings, template, stages.ledger_of(path), batch=batch)


def _provenance(first: TextWriter, second: TextWriter) -> dict[str, Any]:
    """Who wrote, and what it cost; they share an engine."""
    writers = {writer.template.name: writer for writer in (first, second)}
    return {
        "teacher": {"name": first.settings.model}
        | {name: writer.describe() for name, writer in writers.items()},
        "cost": {name: writer.report() for name, writer in writers.items()},
    }
