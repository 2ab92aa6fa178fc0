"""The commands up to the text vectors: import, stats, encode."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from keras_sllmr.cli.common import Config, Json, Seed, Store, open_split, show
from keras_sllmr.cli.config import EncodeConfig, ImportConfig, load_config
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.errors import ConfigError
from keras_sllmr.settings import settings_of

app = typer.Typer()

_COLUMN = (
    "tables: column of the {}' file as NAME:KIND, one of categorical, multi and "
    "numeric; may repeat."
)


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
        typer.Option(help="tables: Parquet, CSV or JSON Lines."),
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
    users: Annotated[
        Path | None, typer.Option(help="tables: file of users, for user columns.")
    ] = None,
    user_key: Annotated[
        str | None, typer.Option(help="tables: id column of the users' file.")
    ] = None,
    user_columns: Annotated[
        list[str] | None, typer.Option("--user-column", help=_COLUMN.format("users"))
    ] = None,
    item_columns: Annotated[
        list[str] | None, typer.Option("--item-column", help=_COLUMN.format("items"))
    ] = None,
    context_columns: Annotated[
        list[str] | None,
        typer.Option("--context-column", help=_COLUMN.format("interactions")),
    ] = None,
    min_count: Annotated[
        int | None,
        typer.Option(help="tables: rarer values of these columns become unknown."),
    ] = None,
    columns: Annotated[
        bool | None,
        typer.Option(
            "--columns", help="movielens: take the users' gender, age and occupation."
        ),
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
        "users": users,
        "user_key": user_key,
        "user_columns": _kinds(user_columns),
        "item_columns": _kinds(item_columns),
        "context_columns": _kinds(context_columns),
        "min_count": min_count,
        "columns": columns,
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
        "dropped": _told(made.manifest["dropped"], json),
        "notes": made.manifest["notes"],
    }
    show(result, json)


def _kinds(columns: list[str] | None) -> dict[str, str] | None:
    """Kinds by name from NAME:KIND."""
    pairs = [column.partition(":") for column in columns or []]
    kinds = {name: kind for name, _, kind in pairs}
    if not all(kinds.values()) or len(kinds) < len(pairs):
        raise ConfigError(
            "Columns must be given as NAME:KIND, each name once. Received: "
            f"{', '.join(columns or [])}"
        )
    return kinds or None


def _told(counts: dict[str, int], json: bool) -> dict[str, int]:
    """A person reads what happened, a script reads every key."""
    return {name: count for name, count in counts.items() if count or json}


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

    show(count(open_split(store), cold_max=cold_max, tail_share=tail_share), json)


@app.command()
def encode(
    store: Store,
    to: Annotated[Path, typer.Option(help="Folder of text vectors to write.")],
    config: Config = None,
    encoder: Annotated[
        Literal["minilm", "sentence-transformers", "openai"] | None,
        typer.Option(help="minilm is embedded; the others need --model."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The encoder's model.")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="openai: the endpoint, if it is not OpenAI.")
    ] = None,
    json: Json = False,
) -> None:
    """Encode the items' texts: MiniLM, a sentence transformer or an endpoint."""
    start_tensorflow()
    from keras_sllmr.cli import stages

    given = {"encoder": encoder, "model": model, "base_url": base_url}
    settings = settings_of(
        EncodeConfig,
        {
            **(load_config(config).encode.model_dump() if config else {}),
            **{name: value for name, value in given.items() if value is not None},
        },
        "encode",
    )
    made = stages.encode_items(open_split(store).store, to, settings)
    show({"text": str(to), **made.manifest["settings"]}, json)
