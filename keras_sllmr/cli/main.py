"""The `sllmr` command: one sub-command a stage, and `run` for all of them.

Heavy imports happen inside the commands, so that `--help` is quick.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from keras_sllmr.cli.config import (
    ExportConfig,
    ImportConfig,
    ScoreConfig,
    load_config,
    settings_of,
)
from keras_sllmr.cli.console import err, out, print_json
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.errors import ConfigError, SllmrError

app = typer.Typer(
    name="sllmr",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Improve a Keras ranking model with what a language model knows, at no cost "
    "in serving. Exit codes: 0 done, 2 a wrong setting, 3 bad data, 4 a missing, "
    "damaged or busy store, 5 a missing package.",
)

Store = Annotated[Path, typer.Argument(help="The store's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Seed = Annotated[int, typer.Option(help="Seed of every draw.")]
Config = Annotated[
    Path | None, typer.Option(help="A run's YAML file, for this stage's settings.")
]


@app.command("import")
def import_(
    store: Annotated[Path, typer.Option(help="The store to write.")],
    path: Annotated[
        Path | None,
        typer.Argument(
            help="File or folder of interactions; none for the embedded MovieLens-100K."
        ),
    ] = None,
    second: Annotated[
        Path | None,
        typer.Argument(help="File of items, when `path` is not a folder with both."),
    ] = None,
    format: Annotated[
        Literal["tables", "amazon", "movielens", "steam"],
        typer.Option(help="tables: Parquet or CSV."),
    ] = "tables",
    user: Annotated[str | None, typer.Option(help="tables: user column.")] = None,
    item: Annotated[str | None, typer.Option(help="tables: item column.")] = None,
    order: Annotated[
        str | None, typer.Option(help="tables: column of times or positions.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="tables: text column.")] = None,
    item_key: Annotated[
        str | None, typer.Option(help="tables: id column of the items' file.")
    ] = None,
    attributes: Annotated[
        list[str] | None,
        typer.Option("--attribute", help="tables: attribute column; may repeat."),
    ] = None,
    min_rating: Annotated[
        float | None, typer.Option(help="amazon, movielens: least rating kept.")
    ] = None,
    cut_users: Annotated[
        float | None, typer.Option(help="movielens: share of users cut short.")
    ] = None,
    cut_to: Annotated[
        int | None, typer.Option(help="movielens: events that a cut user keeps.")
    ] = None,
    min_events: Annotated[
        int, typer.Option(help="Users with fewer events are dropped and counted.")
    ] = 5,
    on_bad: Annotated[
        Literal["raise", "drop"],
        typer.Option(help="Bad rows: an error, or dropped and counted."),
    ] = "raise",
    keep_unseen_items: Annotated[
        bool, typer.Option(help="Keep items that nobody interacted with.")
    ] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Read interactions and items into a feature store."""
    start_tensorflow()
    from keras_sllmr.cli import stages

    chosen = {
        "user": user,
        "item": item,
        "order": order,
        "text": text,
        "item_key": item_key,
        "attributes": attributes,
        "min_rating": min_rating,
        "cut_users": cut_users,
        "cut_to": cut_to,
        "seed": seed if format == "movielens" else None,
        "min_events": min_events,
        "on_bad": on_bad,
        "keep_unseen_items": keep_unseen_items,
        **stages.second_file(format, second),
    }
    if path is None and format != "movielens":
        raise ConfigError(
            f"The format {format!r} needs a path; only movielens is embedded."
        )
    config = ImportConfig(
        format=format,
        path=path,
        options={name: value for name, value in chosen.items() if value is not None},
    )
    made = stages.import_store(config, store)
    result = {
        "store": str(store),
        "fingerprint": made.fingerprint,
        **made.manifest["counts"],
        "dropped": made.manifest["dropped"],
        "notes": made.manifest["notes"],
    }
    _show(result, json)


@app.command()
def stats(
    store: Store,
    cold_max: Annotated[
        int, typer.Option(help="Most history items of a cold training row.")
    ] = 3,
    tail_share: Annotated[
        float, typer.Option(help="Share of the catalogue in the long tail.")
    ] = 0.2,
    json: Json = False,
) -> None:
    """Count users, items, interactions, training rows, cold rows and tail items."""
    start_tensorflow()
    from keras_sllmr.store.stats import stats as count

    _show(count(_split(store), cold_max=cold_max, tail_share=tail_share), json)


@app.command()
def encode(
    store: Store,
    to: Annotated[Path, typer.Option(help="Folder of text vectors to write.")],
    json: Json = False,
) -> None:
    """Encode the items' texts with MiniLM."""
    start_tensorflow()
    from keras_sllmr.cli import stages

    made = stages.encode_items(_split(store).store, to)
    _show({"text": str(to), **made.manifest["settings"]}, json)


@app.command()
def score(
    store: Store,
    text: Annotated[Path, typer.Option(help="Text vectors, from `sllmr encode`.")],
    to: Annotated[Path, typer.Option(help="Score table to write.")],
    config: Config = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Draw candidates and have a teacher score them, into a score table."""
    start_tensorflow()
    from keras_sllmr.cli import stages
    from keras_sllmr.scoring.reliability import describe_table
    from keras_sllmr.store.text_vectors import TextVectors

    split = _split(store)
    settings = load_config(config).score if config else ScoreConfig()
    vectors = TextVectors(text, split.store)
    table = stages.score(split, vectors, settings, to, seed)
    _show(describe_table(table, split), json)


@app.command()
def train(
    method: Annotated[Literal["none", "sllmr"], typer.Argument(help="What to train.")],
    store: Store,
    to: Annotated[Path, typer.Option(help="Model folder to write.")],
    scores: Annotated[
        Path | None, typer.Option(help="Score table; sllmr needs it.")
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="Text vectors, for the text fields.")
    ] = None,
    config: Config = None,
    seed: Seed = 0,
    epochs: Annotated[int | None, typer.Option(help="Epochs at most.")] = None,
    weight: Annotated[
        float | None, typer.Option(help="λ, the regulariser's weight.")
    ] = None,
    json: Json = False,
) -> None:
    """Train a backbone, plain or with gated LLM guidance."""
    start_tensorflow()
    from keras_sllmr.cli import stages
    from keras_sllmr.store.score_table import ScoreTable
    from keras_sllmr.store.text_vectors import TextVectors
    from keras_sllmr.training.settings import TrainSettings

    values: dict[str, Any] = dict(load_config(config).train) if config else {}
    if not text and config is None:
        values["backbone"] = {"text": False}
    if epochs is not None:
        values["epochs"] = epochs
    if weight is not None:
        values["selective"] = {**values.get("selective", {}), "weight": weight}
    split = _split(store)
    trained = stages.train_method(
        method,
        split,
        to,
        settings_of(TrainSettings, {"seed": seed, **values}, "train"),
        scores=ScoreTable(scores, split.store) if scores else None,
        text=TextVectors(text, split.store) if text else None,
    )
    best = trained.history["epochs"][trained.history["best_epoch"] - 1]
    _show({"model": str(to), "best_epoch": int(best["epoch"]), **best}, json)


@app.command()
def evaluate(
    store: Store,
    models: Annotated[
        list[Path], typer.Argument(help="Model folders; the first is the baseline.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="Folder for metrics and per-row values.")
    ] = None,
    full: Annotated[
        bool, typer.Option(help="Rank against the whole catalogue too.")
    ] = True,
    config: Config = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare models on all, cold-user and long-tail test rows."""
    start_tensorflow()
    import tempfile

    from keras_sllmr.cli import stages
    from keras_sllmr.evaluation import evaluate as job
    from keras_sllmr.evaluation.terminal import comparison_table
    from keras_sllmr.io.atomic import write_json
    from keras_sllmr.training.trained_model import TrainedModel

    names = [path.name for path in models]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"Model folders must have different names. Received: {', '.join(names)}"
        )
    values = load_config(config).evaluate if config else {}
    values = {"seed": seed, **values, **({} if full else {"full": False})}
    settings = settings_of(job.EvaluationSettings, values, "evaluate")
    rows = job.TestRows(_split(store), settings)
    with tempfile.TemporaryDirectory() as scratch:
        folder = to or Path(scratch)
        for name, path in zip(names, models, strict=True):
            stages.evaluate_method(TrainedModel(path), rows, folder / f"{name}.npz")
        metrics = job.summarise(
            rows,
            {name: job.load_values(folder / f"{name}.npz") for name in names},
            labels=stages.method_labels(names),
            baseline=names[0],
        )
        if to:
            write_json(to / "metrics.json", metrics)
    if json:
        print_json(metrics)
    else:
        out.print(comparison_table(metrics))


@app.command()
def export(
    store: Store,
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    name: Annotated[str, typer.Option(help="Name of the served model.")],
    to: Annotated[Path, typer.Option(help="Folder of all exports.")] = Path(
        "saved_models"
    ),
    version: Annotated[
        int | None, typer.Option(help="Version; the next free one by default.")
    ] = None,
    json: Json = False,
) -> None:
    """Export a model's bare backbone for TensorFlow Serving, and check the export."""
    start_tensorflow()
    from keras_sllmr.cli import stages
    from keras_sllmr.training.trained_model import TrainedModel

    config = settings_of(ExportConfig, {"folder": to, "version": version}, "export")
    path, checked = stages.export_method(
        TrainedModel(model), _split(store).store, config, name
    )
    _show({"export": str(path), **checked}, json)


@app.command()
def doctor(json: Json = False) -> None:
    """Show versions, Keras mode, cores, paths and which optional parts are there."""
    from keras_sllmr.cli.doctor import diagnose

    report = diagnose()
    _show(report, json)
    if report["problems"]:
        raise typer.Exit(5)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="The run's YAML file.")],
    data: Annotated[
        Path | None, typer.Option(help="Source data, in place of `import.path`.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    force: Annotated[bool, typer.Option(help="Run every stage again.")] = False,
    json: Json = False,
) -> None:
    """Run every stage of a configuration; stages that are up to date are skipped."""
    start_tensorflow()
    from keras_sllmr.cli.run import run as run_all
    from keras_sllmr.cli.summary import show_run

    settings = load_config(config, data=data)

    def announce(name: str, skipped: bool) -> None:
        err.print(f"{'up to date' if skipped else 'running':>10}  {name}")

    metrics = run_all(settings, runs / settings.name, force=force, announce=announce)
    if json:
        print_json(metrics)
    else:
        show_run(metrics, runs / settings.name)


def _split(store: Path) -> Any:
    from keras_sllmr.store.feature_store import FeatureStore
    from keras_sllmr.store.split import LeaveOneOut

    return LeaveOneOut(FeatureStore(store))


def _show(result: dict[str, Any], json: bool) -> None:
    if json:
        print_json(result)
        return
    from keras_sllmr.cli.summary import show_mapping

    show_mapping(result)


def main() -> None:
    """Runs the command; a known error is one line and an exit code."""
    try:
        app()
    except SllmrError as error:
        err.print(f"[bold red]Error:[/] {_escaped(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("Interrupted. Run it again to go on.")
        sys.exit(130)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
