"""The commands on models: train and export."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from keras_sllmr.cli.common import Config, Json, Seed, Store, open_split, show
from keras_sllmr.cli.config import load_config
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.settings import settings_of

app = typer.Typer()


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
    split = open_split(store)
    trained = stages.train_method(
        method,
        split,
        to,
        settings_of(TrainSettings, {"seed": seed, **values}, "train"),
        scores=ScoreTable(scores, split.store) if scores else None,
        text=TextVectors(text, split.store) if text else None,
    )
    best = trained.history["epochs"][trained.history["best_epoch"] - 1]
    show({"model": str(to), "best_epoch": int(best["epoch"]), **best}, json)


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

    path, checked = stages.export_method(
        TrainedModel(model), open_split(store).store, to, name, version=version
    )
    show({"export": str(path), **checked}, json)
