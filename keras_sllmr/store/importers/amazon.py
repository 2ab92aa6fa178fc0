"""Amazon reviews as published: 2014 and 2018 (McAuley, Ni et al.), 2023 (Hou et al.)."""

import os
from pathlib import Path
from typing import Any, NamedTuple

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


class _Layout(NamedTuple):
    """The keys of one edition's reviews."""

    user: str
    item: str
    order: str
    rating: str


# The editions of 2014 and 2018 count seconds, that of 2023 milliseconds.
_REVIEWS = (
    _Layout("reviewerID", "asin", "unixReviewTime", "overall"),
    _Layout("user_id", "parent_asin", "timestamp", "rating"),
)


def read_amazon(
    path: str | os.PathLike[str],
    meta: str | os.PathLike[str] | None = None,
    *,
    min_rating: float | None = None,
    on_bad: OnBad = "raise",
    min_events: int = 5,
    keep_unseen_items: bool = False,
    progress: Progress | None = None,
) -> RawData:
    """Reads Amazon reviews and product metadata, plain or gzip.

    The edition is told from the keys of the first record. An item's text is its
    title and brand; its attributes are "category=..." and "brand=...". The order is
    the review's time, in the edition's own unit. Items are what a review is about:
    `asin`, in 2023 `parent_asin`. Reviews and metadata of 2018 and 2023 hold
    repeated lines and products without metadata: import them with `on_bad="drop"`.

    Args:
        path: the reviews, such as `reviews_Beauty_5.json.gz`, or a folder that holds
            them and one `meta_*` file.
        meta: the metadata, such as `meta_Beauty.json.gz`. Not needed with a folder.
        min_rating: leaves out reviews with fewer stars. Defaults to None, all stay.
        on_bad: "raise" or "drop" what breaks a rule. Defaults to "raise".
        min_events: the fewest events a user needs. Defaults to 5.
        keep_unseen_items: whether items without reviews stay. Defaults to False.
        progress: called with (bytes read, bytes in all).

    Returns:
        The cleaned `RawData`.

    Raises:
        DataError: a file is missing, damaged or of another format, or breaks a rule
            of `keras_sllmr.store.clean.clean`.

    Example:
        >>> read_amazon("reviews_Beauty_5.json.gz", "meta_Beauty.json.gz")
        ... # doctest: +SKIP
    """
    check_policy(on_bad, min_events)
    reviews = Path(path)
    if reviews.is_dir():
        folder = reviews
        kinds = ("*.json", "*.json.gz", "*.jsonl", "*.jsonl.gz")
        reviews = pick(folder, *kinds, but_not="meta_*")
        meta = meta or pick(folder, "meta_*")
    elif meta is None:
        raise DataError(
            "Reviews need the metadata of their items. Received: "
            f"{reviews} without a meta file"
        )
    meta = Path(meta)
    reading = Reading([reviews, meta], on_bad=on_bad, progress=progress)
    layout, events, below = _read_reviews(reading, reviews, min_rating)
    items = _read_meta(reading, meta, layout.item)
    return clean(
        events.table(),
        items.table(),
        on_bad=on_bad,
        min_events=min_events,
        keep_unseen_items=keep_unseen_items,
        source=reading.source(
            "amazon",
            {"min_rating": min_rating},
            {
                "user": layout.user,
                "item": layout.item,
                "order": layout.order,
                "item_key": layout.item,
            },
        ),
        dropped=reading.dropped,
        notes={"ratings_below_threshold": below},
    )


def _read_reviews(
    reading: Reading, path: Path, min_rating: float | None
) -> tuple[_Layout, EventColumns, int]:
    events = EventColumns()
    below = 0
    layout: _Layout | None = None
    for line, record in reading.records(path):
        layout = layout or _layout(path, record)
        if min_rating is not None:
            rating = record.get(layout.rating)
            if not isinstance(rating, (int, float)):
                reading.malformed(
                    path, line, f"a number `{layout.rating}`", f"{rating}"
                )
                continue
            if rating < min_rating:
                below += 1
                continue
        events.add(line, *(record.get(key) for key in layout[:3]))
    if layout is None:
        raise DataError(f"{path} must hold reviews. Received: not one that can be read")
    return layout, events, below


def _layout(path: Path, record: dict[str, Any]) -> _Layout:
    for layout in _REVIEWS:
        if {layout.user, layout.item, layout.order} <= set(record):
            return layout
    wanted = " or ".join(str(list(layout[:3])) for layout in _REVIEWS)
    raise DataError(
        f"Reviews need the keys {wanted}. Received: {sorted(record)} in the first "
        f"record of {path}"
    )


def _read_meta(reading: Reading, path: Path, key: str) -> ItemColumns:
    items = ItemColumns()
    for line, record in reading.records(path):
        title = " ".join(texts(record.get("title")))
        brand = texts(record.get("brand") or record.get("store"))
        named = all(name.lower() in title.lower() for name in brand)
        items.add(
            line,
            record.get(key),
            title if named else " ".join([title, *brand]).strip(),
            [
                *labels("category", record.get("categories") or record.get("category")),
                *labels("brand", brand),
            ],
        )
    return items
