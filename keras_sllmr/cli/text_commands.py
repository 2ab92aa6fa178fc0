"""The commands that make what `kar` and `llm_cf` read: texts and their vectors."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keras_sllmr.cli.common import Config, Json, Seed, Store, open_split, show
from keras_sllmr.cli.config import DataConfig, load_config
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.errors import ConfigError

app = typer.Typer()

To = Annotated[Path | None, typer.Option(help="Folder to write.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="llm: print what it would cost; send nothing."),
]


@app.command()
def knowledge(
    store: Store,
    to: To = None,
    config: Config = None,
    dry_run: DryRun = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Encode texts on users and items, described or written by a language model: kar.

    `knowledge`, `encode` and, for `source: llm`, `score` of the configuration say how.
    """
    start_tensorflow()
    from keras_sllmr.cli.offline_stages import estimate_texts, make_knowledge_table

    split, given = open_split(store), _given(config)
    if dry_run:
        return show(estimate_texts(split, given, "knowledge", seed=seed), json)
    made = make_knowledge_table(split, given, _required(to), seed=seed)
    show({"knowledge": str(to), **_told(made.manifest)}, json)


@app.command()
def examples(
    store: Store,
    text: Annotated[Path, typer.Option(help="Text vectors, from `sllmr encode`.")],
    to: To = None,
    config: Config = None,
    dry_run: DryRun = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Draw labelled examples with chains of thought, and find each row's: llm_cf.

    `examples`, `encode` and, for `source: llm`, `score` of the configuration say how.
    """
    start_tensorflow()
    from keras_sllmr.cli.offline_stages import estimate_texts, make_examples_table
    from keras_sllmr.store.text_vectors import TextVectors

    split, given = open_split(store), _given(config)
    if dry_run:
        return show(estimate_texts(split, given, "examples", seed=seed), json)
    vectors = TextVectors(text, split.store)
    made = make_examples_table(split, vectors, given, _required(to), seed=seed)
    show({"examples": str(to), **_told(made.manifest)}, json)


def _given(config: Path | None) -> DataConfig:
    return load_config(config) if config else DataConfig()


def _required(to: Path | None) -> Path:
    if to is None:
        raise ConfigError("`--to` must name the folder to write. Received: none")
    return to


def _told(manifest: dict[str, Any]) -> dict[str, Any]:
    return {**manifest["settings"], **manifest["counts"], **(manifest["cost"] or {})}
