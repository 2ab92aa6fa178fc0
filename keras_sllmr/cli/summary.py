"""Results on the terminal."""

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from keras_sllmr.cli.console import out, print_line
from keras_sllmr.evaluation.terminal import comparison_table, stage_table
from keras_sllmr.serving.export import export_manifest
from keras_sllmr.serving.recommend import recommend
from keras_sllmr.store.feature_store import FeatureStore


def show_mapping(values: dict[str, Any]) -> None:
    """A nested mapping as aligned lines."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _flat(values):
        table.add_row(Text(name), Text(str(value)))
    out.print(table)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list) or value:
            rows.append((f"{prefix}{name}", value))
    return rows


def show_run(metrics: dict[str, Any], folder: Path) -> None:
    """The comparison, the stages' times, where the results are, and a user's top 10."""
    out.print(comparison_table(metrics))
    out.print(stage_table(metrics))
    store = FeatureStore(folder / "store")
    show_recommendations(store, Path(metrics["export"]))
    print_line(f"Metrics: {folder / 'metrics.json'}")
    print_line(f"Report:  {folder / 'report.html'}")
    print_line(f"Export:  {metrics['export']}")


def show_recommendations(store: FeatureStore, export: Path, *, user: int = 1) -> None:
    """Calls the exported model once: the top 10 of one user, by title."""
    history = store.events.row(user)
    unseen = sorted(set(range(1, store.n_items + 1)) - set(history.tolist()))
    features = export_manifest(export)["settings"]["features"]
    top = recommend(
        export,
        [str(item) for item in store.item_ids[history]],
        [str(item) for item in store.item_ids[unseen]],
        k=10,
        columns={
            column["name"]: store.columns[column["name"]].cell(user)
            for column in features.get("columns", ())
            if column["entity"] == "user"
        },
    )
    last = "; ".join(str(text) for text in store.item_texts[history[-3:]])
    table = Table(
        title=f"Top 10 of user {store.user_ids[user]}, from the exported model",
        caption=f"last events: {last}",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("#", justify="right")
    table.add_column("title")
    table.add_column("score", justify="right")
    for place, (item, score) in enumerate(top, start=1):
        text = str(store.item_texts[store.item_index[item]])
        table.add_row(str(place), Text(text or item), f"{score:.3f}")
    out.print(table)
