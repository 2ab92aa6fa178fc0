"""`sllmr score`: make a score table; `inspect` and `mix` those that there are."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from keras_sllmr.cli.common import Config, Json, Seed, Store, open_split, show
from keras_sllmr.cli.config import DataConfig, ScoreConfig, load_config
from keras_sllmr.cli.console import print_json
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.errors import ConfigError
from keras_sllmr.settings import settings_of


class _TableByDefault(TyperGroup):
    """`sllmr score STORE …` is `sllmr score table STORE …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["table", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_TableByDefault,
    no_args_is_help=True,
    help="Score candidates into a table (`sllmr score STORE --to TABLE`), inspect one, "
    "or mix several.",
)


@app.command()
def table(
    store: Store,
    to: Annotated[Path | None, typer.Option(help="Score table to write.")] = None,
    text: Annotated[
        Path | None,
        typer.Option(help="Text vectors, from `sllmr encode`; not needed for tfidf."),
    ] = None,
    config: Config = None,
    teacher: Annotated[
        str | None, typer.Option(help="embedded, encoder, tfidf or llm.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="llm: the model's name.")] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="llm: an OpenAI-compatible endpoint. Its key is taken from "
            "the environment alone (OPENAI_API_KEY)."
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="llm: paper, paper_100, ranking, yes_no or a YAML file."),
    ] = None,
    permutations: Annotated[
        int | None, typer.Option(help="llm: orders that candidates are shown in.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="llm: requests under way at a time.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="llm: the endpoint's limit.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(help="llm: the endpoint's limit.")
    ] = None,
    max_usd: Annotated[
        float | None,
        typer.Option(help="llm: hard cap, over all runs with the same ledger."),
    ] = None,
    max_requests: Annotated[int | None, typer.Option(help="llm: likewise.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="llm: likewise.")] = None,
    prices: Annotated[
        Path | None, typer.Option(help="llm: a price file, before the packaged one.")
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(help="llm: whom to ask first: benefit, random or user."),
    ] = None,
    model_folder: Annotated[
        Path | None,
        typer.Option(
            "--trained",
            help="llm: a trained model, whose uncertainty counts in the benefit.",
        ),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="llm: file of the answers. Defaults to TO.ledger.sqlite."),
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="llm: ask through the Batch API.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="llm: print what it would cost; send nothing."),
    ] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Draw candidates and have a teacher score them, into a score table."""
    given = {
        "model": model,
        "base_url": base_url,
        "template": template,
        "permutations": permutations,
        "prices": None if prices is None else str(prices),
    }
    transport = {
        "concurrency": concurrency,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
    }
    caps = {
        "max_usd": max_usd,
        "max_requests": max_requests,
        "max_tokens": max_tokens,
    }
    before = load_config(config).score if config else ScoreConfig()
    llm = {**before.llm, **_given(given)}
    for name, values in (("transport", transport), ("caps", caps)):
        llm[name] = {**llm.get(name, {}), **_given(values)}
    changes = {"teacher": teacher, "order": order, "batch": batch or None}
    settings = settings_of(
        ScoreConfig, {**before.model_dump(), **_given(changes), "llm": llm}, "score"
    )
    if to is None and not dry_run:
        raise ConfigError("`--to` must name the score table to write. Received: none")
    _score(store, to, text, settings, seed, ledger, model_folder, dry_run, json)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _score(
    store: Path,
    to: Path | None,
    text: Path | None,
    settings: ScoreConfig,
    seed: int,
    ledger: Path | None,
    trained: Path | None,
    dry_run: bool,
    json: bool,
) -> None:
    start_tensorflow()
    from keras_sllmr.cli.score_stage import ScoreStage
    from keras_sllmr.store.text_vectors import TextVectors

    split = open_split(store)
    vectors = None if text is None else TextVectors(text, split.store)
    stage = ScoreStage(split, vectors, settings, seed)
    if dry_run or to is None:
        return show(stage.estimate(), json)
    made = stage.score(to, ledger=ledger, trained=trained)
    _show_table(made, split, json)


@app.command()
def rows(
    store: Store,
    to: Annotated[Path, typer.Option(help="Folder of the scores to write.")],
    text: Annotated[
        Path | None,
        typer.Option(help="Text vectors, from `sllmr encode`; not needed for tfidf."),
    ] = None,
    config: Config = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Score every training row, sampled negatives included: what kd imitates."""
    start_tensorflow()
    import numpy as np

    from keras_sllmr.cli.offline_stages import make_row_scores
    from keras_sllmr.store.text_vectors import TextVectors

    split = open_split(store)
    vectors = None if text is None else TextVectors(text, split.store)
    given = load_config(config) if config else DataConfig()
    made = make_row_scores(split, vectors, given, to, seed=seed)
    scores = made.scores
    found = {
        "row_scores": str(to),
        "teacher": made.manifest["teacher"]["name"],
        "rows": int(scores.size),
        "answered": float(np.isfinite(scores).mean()),
        **made.manifest["cost"],
    }
    show(found, json)


@app.command()
def inspect(
    store: Store,
    table: Annotated[Path, typer.Argument(help="The score table's folder.")],
    json: Json = False,
) -> None:
    """Show coverage, distributions, agreement on probes, cost and failures."""
    start_tensorflow()
    from keras_sllmr.store.score_table import ScoreTable

    split = open_split(store)
    _show_table(ScoreTable(table, split.store), split, json)


def _show_table(table: Any, split: Any, json: bool) -> None:
    from keras_sllmr.cli.inspection_view import show_inspection
    from keras_sllmr.scoring.inspection import inspect_table

    found = inspect_table(table, split)
    if json:
        print_json(found)
    else:
        show_inspection(found)


@app.command()
def mix(
    store: Store,
    tables: Annotated[list[Path], typer.Argument(help="Score tables of this store.")],
    to: Annotated[Path, typer.Option(help="Score table to write.")],
    weights: Annotated[
        list[float] | None,
        typer.Option("--weight", help="One a table, in their order. Equal if none."),
    ] = None,
    json: Json = False,
) -> None:
    """Mix score tables by weight: the weighted mean where they have a score."""
    start_tensorflow()
    from keras_sllmr.scoring.mixing import mix_tables
    from keras_sllmr.store.score_table import ScoreTable

    split = open_split(store)
    opened = [ScoreTable(path, split.store) for path in tables]
    made = mix_tables(to, opened, weights=weights)
    _show_table(made, split, json)
