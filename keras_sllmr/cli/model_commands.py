"""The commands on models: train and export."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keras_sllmr.cli.common import (
    Config,
    Examples,
    Json,
    Knowledge,
    RowScores,
    Scores,
    Seed,
    Store,
    Vectors,
    open_split,
    show,
)
from keras_sllmr.cli.config import load_config
from keras_sllmr.cli.console import err
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.errors import ConfigError
from keras_sllmr.settings import settings_of
from keras_sllmr.training.method_names import Method
from keras_sllmr.training.strategy_names import StrategyName

app = typer.Typer()


@app.command()
def train(
    method: Annotated[Method, typer.Argument(help="What to train.")],
    store: Store,
    to: Annotated[Path, typer.Option(help="Model folder to write.")],
    scores: Scores = None,
    text: Vectors = None,
    row_scores: RowScores = None,
    knowledge: Knowledge = None,
    examples: Examples = None,
    config: Config = None,
    seed: Seed = 0,
    epochs: Annotated[int | None, typer.Option(help="Epochs at most.")] = None,
    weight: Annotated[
        float | None, typer.Option(help="λ, the regulariser's weight.")
    ] = None,
    strategy: Annotated[
        StrategyName,
        typer.Option(help="Devices or machines to train on; see docs/distributed.md."),
    ] = "none",
    timeout: Annotated[
        float, typer.Option(help="Seconds that workers wait for one another.")
    ] = 600.0,
    data_service: Annotated[
        str | None,
        typer.Option(help="tf.data service that gathers features: grpc://HOST:PORT."),
    ] = None,
    backup_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between backups within an epoch.")
    ] = None,
    json: Json = False,
) -> None:
    """Train a backbone: plain, with gated LLM guidance or by a baseline."""
    if strategy not in ("none", "mirrored"):
        err.print(
            f"Joining the other processes of TF_CONFIG, for {timeout:g} s at most"
        )
    spread = start_tensorflow(lambda: _strategy(strategy, timeout))
    from keras_sllmr.cli import stages
    from keras_sllmr.training.offline_inputs import opened
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
        inputs=opened(
            {
                "scores": scores,
                "text": text,
                "row_scores": row_scores,
                "knowledge": knowledge,
                "examples": examples,
            },
            split.store,
        ),
        strategy=spread,
        data_service=data_service,
        backup_every=backup_every,
    )
    best = trained.history["epochs"][trained.history["best_epoch"] - 1]
    show({"model": str(to), "best_epoch": int(best["epoch"]), **best}, json)


def _strategy(name: StrategyName, timeout: float) -> Any:
    from keras_sllmr.training.strategies import serve, strategy_named

    if serve(name):
        raise typer.Exit()
    return strategy_named(name, timeout=timeout)


@app.command()
def export(
    store: Store,
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    name: Annotated[str | None, typer.Option(help="Name of the served model.")] = None,
    to: Annotated[Path, typer.Option(help="Folder of all exports.")] = Path(
        "saved_models"
    ),
    version: Annotated[
        int | None, typer.Option(help="Version; the next free one by default.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="New label of the version, e.g. canary.")
    ] = None,
    base_path: Annotated[
        str | None,
        typer.Option(help="Its folder as the server sees it; /models/NAME by default."),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(help="metrics.json or comparison.json, for the model card."),
    ] = None,
    dense_ids: Annotated[
        bool, typer.Option("--dense-ids", help="Rank by the store's indices, too.")
    ] = False,
    check: Annotated[
        Path | None, typer.Option(help="Only compare this export with the model.")
    ] = None,
    json: Json = False,
) -> None:
    """Export a model's bare backbone for TensorFlow Serving, once it has been checked.

    The check loads the export in a fresh process and compares every signature with the
    Keras model on held-out rows; an export that differs is not put in place.
    """
    if (name is None) == (check is None):
        raise ConfigError(
            "Give the new export's --name, or an export to --check. Received: "
            f"{'neither' if name is None else 'both'}"
        )
    start_tensorflow()
    from keras_sllmr.cli import stages
    from keras_sllmr.training.trained_model import TrainedModel

    trained, opened = TrainedModel(model), open_split(store).store
    if check is not None:
        checked = stages.check_method(trained, opened, check)
        show({"export": str(check), **checked}, json)
        return
    path, checked = stages.export_method(
        trained,
        opened,
        to,
        str(name),
        version=version,
        labels=label or (),
        base_path=base_path,
        metrics=stages.metrics_for(trained, metrics) if metrics else None,
        dense_ids=dense_ids,
    )
    show({"export": str(path), **checked}, json)


@app.command()
def label(
    export: Annotated[Path, typer.Argument(help="An exported version's folder.")],
    labels: Annotated[list[str], typer.Argument(help="E.g. stable.")],
    json: Json = False,
) -> None:
    """Move labels to an exported version that the server has loaded."""
    from keras_sllmr.serving.server_config import label_version

    show({"labels": label_version(export, labels)}, json)
