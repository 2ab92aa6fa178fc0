"""`sllmr tune`, the command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from keras_sllmr.cli.common import (
    Examples,
    Json,
    Knowledge,
    RowScores,
    Scores,
    Store,
    Vectors,
    open_split,
)
from keras_sllmr.cli.config import load_config
from keras_sllmr.cli.console import out, print_json, print_line, progress_bar
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.settings import settings_of
from keras_sllmr.training.method_names import Method

app = typer.Typer()


@app.command()
def tune(
    method: Annotated[Method, typer.Argument(help="What to tune.")],
    store: Store,
    config: Annotated[
        Path,
        typer.Option(
            help="A run's YAML file: `train` to start from, `tune` to choose."
        ),
    ],
    to: Annotated[Path, typer.Option(help="Folder of the search.")],
    trials: Annotated[
        int, typer.Option(help="All trials, those made before included.")
    ] = 20,
    scores: Scores = None,
    text: Vectors = None,
    row_scores: RowScores = None,
    knowledge: Knowledge = None,
    examples: Examples = None,
    keep: Annotated[
        Literal["best", "all"], typer.Option(help="Whose models to keep.")
    ] = "best",
    json: Json = False,
) -> None:
    """Search hyper-parameters by the validation AUC; `train --config` takes the best.

    A search that was killed goes on; one that is done goes on with more trials.
    """
    start_tensorflow()
    from keras_sllmr.training.offline_inputs import opened
    from keras_sllmr.training.settings import TrainSettings
    from keras_sllmr.training.trials import trial_rows
    from keras_sllmr.training.tuning import BEST, TRIALS, default_space
    from keras_sllmr.training.tuning import tune as tune_method

    run = load_config(config)
    settings = settings_of(TrainSettings, {"seed": run.seed, **run.train}, "train")
    space = run.tune or default_space(method, settings)
    split = open_split(store)
    tables = opened(
        {
            "scores": scores,
            "text": text,
            "row_scores": row_scores,
            "knowledge": knowledge,
            "examples": examples,
        },
        split.store,
    )
    with progress_bar(f"Tuning {method}") as progress:
        found = tune_method(
            method,
            split,
            to,
            settings=settings,
            space=space,
            trials=trials,
            **tables.tables,
            seed=run.seed,
            keep=keep,
            name=run.name,
            progress=progress,
        )
    rows = trial_rows(found.study)
    if json:
        print_json(
            {
                "best": next(row for row in rows if row["best"]),
                "trials": rows,
                "config": str(to / BEST),
            }
        )
        return
    out.print(trial_table(rows, list(space)))
    print_line(f"Trials: {to / TRIALS}")
    print_line(f"Best:   {to / BEST}, for `sllmr train --config`")


def trial_table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Table:
    """The trials and what each tried, the best in bold.

    Args:
        rows: of `training.trials.trial_rows`.
        names: dotted names of what was searched.
    """
    from keras_sllmr.evaluation.report.wording import number, seconds
    from keras_sllmr.evaluation.terminal import titled_table
    from keras_sllmr.training.search_space import value_of

    table = titled_table("Trials")
    table.add_column("trial", justify="right")
    table.add_column("state")
    for head in ("validation AUC", "epochs", "time"):
        table.add_column(head, justify="right")
    for name in names:
        table.add_column(Text(name.rpartition(".")[2]), justify="right")
    for row in rows:
        table.add_row(
            str(row["trial"]),
            row["state"],
            number(row["value"]),
            str(row["epochs"]),
            seconds(row["seconds"]),
            *(_shown(value_of(row["settings"], name)) for name in names),
            style="bold" if row["best"] else None,
        )
    errors = [f"{row['trial']}: {row['error']}" for row in rows if row["error"]]
    table.caption = Text("\n".join(["Trial 0 has the settings given.", *errors]))
    return table


def _shown(value: Any) -> Text:
    if value is None:
        return Text("-")
    return Text(f"{value:.4g}" if isinstance(value, float) else str(value))
