"""What the commands share: common options, opening a store, showing a result."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keras_sllmr.cli.console import print_json

Store = Annotated[Path, typer.Argument(help="The store's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Seed = Annotated[int, typer.Option(help="Seed of every draw.")]
Config = Annotated[
    Path | None, typer.Option(help="A run's YAML file, for this stage's settings.")
]


Scores = Annotated[
    Path | None, typer.Option(help="Score table; sllmr, global and pointwise need it.")
]
Vectors = Annotated[
    Path | None, typer.Option(help="Text vectors, for the text fields and llm_cf.")
]
RowScores = Annotated[
    Path | None, typer.Option(help="Scores of the training rows; kd needs them.")
]
Knowledge = Annotated[
    Path | None, typer.Option(help="Vectors of users and items; kar needs them.")
]
Examples = Annotated[
    Path | None,
    typer.Option(help="Examples with chains of thought; llm_cf needs them."),
]


def open_split(store: Path) -> Any:
    """The split of a store."""
    from keras_sllmr.store.feature_store import FeatureStore
    from keras_sllmr.store.split import LeaveOneOut

    return LeaveOneOut(FeatureStore(store))


def show(result: dict[str, Any], json: bool) -> None:
    """A result as lines or as JSON."""
    if json:
        print_json(result)
        return
    from keras_sllmr.cli.summary import show_mapping

    show_mapping(result)
