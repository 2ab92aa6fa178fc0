"""Steam reviews and games as published by UCSD (Kang and McAuley, 2018)."""

import datetime
import functools
import os
from pathlib import Path
from typing import Any

from keras_sllmr.errors import DataError
from keras_sllmr.store.clean import OnBad, check_policy, clean
from keras_sllmr.store.importers._columns import (
    EventColumns,
    ItemColumns,
    labels,
    texts,
)
from keras_sllmr.store.importers._files import Progress, Reading, pick
from keras_sllmr.store.raw import RawData


def read_steam(
    path: str | os.PathLike[str],
    games: str | os.PathLike[str] | None = None,
    *,
    on_bad: OnBad = "raise",
    min_events: int = 5,
    keep_unseen_items: bool = False,
    progress: Progress | None = None,
) -> RawData:
    """Reads `steam_reviews.json.gz` and `steam_games.json.gz`, packed or not.

    A user is a `username`, an item a `product_id`, and the order the review's date in
    seconds since 1970; a day's reviews come in the order of their items. An item's
    text is its name, developer and genres; its attributes are "genre=...", "tag=..."
    and "developer=...". The published files hold repeated reviews, and reviews of
    games that are not listed: import them with `on_bad="drop"`.

    Args:
        path: the reviews, or a folder that holds both files.
        games: the games. Not needed with a folder.
        on_bad: "raise" or "drop" what breaks a rule. Defaults to "raise".
        min_events: the fewest events a user needs. Defaults to 5.
        keep_unseen_items: whether games without reviews stay. Defaults to False.
        progress: called with (bytes read, bytes in all).

    Returns:
        The cleaned `RawData`.

    Raises:
        DataError: a file is missing, damaged or of another format, or breaks a rule
            of `keras_sllmr.store.clean.clean`.

    Example:
        >>> read_steam("data/steam", on_bad="drop")  # doctest: +SKIP
    """
    check_policy(on_bad, min_events)
    reviews = Path(path)
    if reviews.is_dir():
        folder = reviews
        reviews = pick(folder, "*reviews*.json", "*reviews*.json.gz")
        games = games or pick(folder, "*games*.json", "*games*.json.gz")
    elif games is None:
        raise DataError(
            f"Reviews need the table of games. Received: {reviews} without one"
        )
    games = Path(games)
    reading = Reading([reviews, games], on_bad=on_bad, progress=progress)
    events = EventColumns()
    for line, record in reading.records(reviews):
        date = _seconds(str(record.get("date")))
        events.add(line, record.get("username"), record.get("product_id"), date)
    items = ItemColumns()
    for line, record in reading.records(games):
        items.add(line, record.get("id"), _game_text(record), _game_labels(record))
    return clean(
        events.table(),
        items.table(),
        on_bad=on_bad,
        min_events=min_events,
        keep_unseen_items=keep_unseen_items,
        source=reading.source(
            "steam",
            {},
            {
                "user": "username",
                "item": "product_id",
                "order": "date",
                "item_key": "id",
            },
        ),
        dropped=reading.dropped,
    )


@functools.cache
def _seconds(date: str) -> float:
    """Seconds since 1970 of a day such as "2018-01-05", NaN when it is none."""
    try:
        day = datetime.datetime.strptime(date, "%Y-%m-%d")
    except ValueError:
        return float("nan")
    return day.replace(tzinfo=datetime.timezone.utc).timestamp()


def _game_text(record: dict[str, Any]) -> str:
    name = record.get("app_name") or record.get("title")
    return " ".join(texts([name, record.get("developer"), record.get("genres")]))


def _game_labels(record: dict[str, Any]) -> list[str]:
    return [
        *labels("genre", record.get("genres")),
        *labels("tag", record.get("tags")),
        *labels("developer", record.get("developer")),
    ]
