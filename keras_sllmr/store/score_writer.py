"""Writes LLM score tables frame by frame, so that a job may be of any size."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from keras_sllmr.errors import DataError
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.lock import exclusive
from keras_sllmr.io.tfrecord import examples, write_shards
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.manifest import require_replaceable, write_manifest
from keras_sllmr.store.schema import SCORE_VERSION, write_schema

#: labels of a pair: nothing known, a probe's sampled negative, its hidden positive.
UNKNOWN, NEGATIVE, POSITIVE = -1, 0, 1
_COLUMNS = ("user", "item", "score", "origin", "position", "label")
# What a score is that says nothing of its answers: a single one.
_DEFAULTS = {"spread": 0.0, "answers": 1}
_TYPES = {
    "user": np.int64,
    "item": np.int64,
    "score": np.float64,
    "position": np.int64,
    "label": np.int64,
    "spread": np.float64,
    "answers": np.int64,
}
_MOST_ANSWERS = 2**31 - 1

T = TypeVar("T")


def write_score_table(
    path: str | os.PathLike[str],
    store: FeatureStore,
    frames: Iterable[pd.DataFrame],
    *,
    teacher: dict[str, Any],
    settings: dict[str, Any],
    cost: dict[str, Any] | Callable[[], dict[str, Any]],
    missing: dict[str, int] | Callable[[], dict[str, int]] | None = None,
    shard_size: int = 100_000,
) -> None:
    """Writes a score table frame by frame, whole or not at all.

    The shards hold the scores by user and item, `shard_size` each, whatever the frames
    that they came in; one frame is in memory at a time.

    Args:
        path: the table's folder; an older table there is replaced.
        store: the feature store.
        frames: their users ascend from frame to frame, and none is in two. Columns
            `user`, `item` (indices), `score` in [0, 1], `origin` (str), `position` (up
            to the number of the user's events), `label` (−1, 0 or 1), and if need be
            `spread` (≥ 0; else 0) and `answers` (≥ 0; else 1), the standard deviation
            over the answers that a score averages and their number. Rows whose score
            is NaN are missing: they are counted and left out.
        teacher: name, model and prompt hash.
        settings: everything else that shaped the scores.
        cost: requests, tokens, price; or what gives it when all frames are written.
        missing: how many scores are missing for which reason; or what gives it then.
        shard_size: int. Records a shard. Defaults to `100_000`.

    Raises:
        DataError: on duplicate pairs, values out of their range or frames out of order.
        StoreError: when something other than a score table is there, another job writes
            it, or the disk is full.
    """
    counts: dict[str, int] = {}
    require_replaceable(path, kind="llm_score")
    with exclusive(path), replace_folder(path) as folder:
        write_schema(folder / "schema.pbtxt")
        write_shards(
            folder / "views" / "llm_score",
            score_records(frames, store, counts),
            shard_size=shard_size,
        )
        finish_score_table(
            folder,
            store,
            counts=counts,
            teacher=teacher,
            settings=settings,
            cost=_given(cost),
            missing=None if missing is None else _given(missing),
        )


def finish_score_table(
    folder: Path,
    store: FeatureStore,
    *,
    counts: dict[str, int],
    teacher: dict[str, Any],
    settings: dict[str, Any],
    cost: dict[str, Any],
    missing: dict[str, int] | None = None,
) -> None:
    """Writes the manifest over a folder's shards and schema.

    Args:
        folder: the table, still beside its final place.
        store: the feature store.
        counts: scores and missing ones.
        teacher: see `write_score_table`, as are the next two.
        settings: everything else that shaped the scores.
        cost: requests, tokens, price.
        missing: how many scores are missing for which reason, if that is known.
    """
    write_manifest(
        folder,
        kind="llm_score",
        schema_version=SCORE_VERSION,
        parent={"store": store.fingerprint},
        settings=settings,
        counts=counts,
        teacher=teacher,
        cost=cost,
        **({} if missing is None else {"missing": missing}),
    )


def _given(value: T | Callable[[], T]) -> T:
    return value() if callable(value) else value


def score_records(
    frames: Iterable[pd.DataFrame], store: FeatureStore, counts: dict[str, int]
) -> Iterator[bytes]:
    """Serialised scores in order; counts them and the missing ones.

    Args:
        frames: as for `write_score_table`, as are the errors.
        store: the feature store, or a slice of it with its own indices.
        counts: gets `llm_score` and `missing`.
    """
    last = 0
    for name in ("llm_score", "missing"):
        counts.setdefault(name, 0)
    for rows in frames:
        scored = _checked(rows, store)
        counts["llm_score"] += len(scored)
        counts["missing"] += len(rows) - len(scored)
        if not len(scored):
            continue
        users = scored["user"].to_numpy()
        if users[0] <= last:
            raise DataError(
                "Frames of scores must come by ascending users, and no user in two of "
                f"them. Received: user {users[0]} after user {last}."
            )
        last = int(users[-1])
        yield from examples(
            {
                "user_id": store.user_ids[users].tolist(),
                "item_id": store.item_ids[scored["item"]].tolist(),
                "origin": scored["origin"].tolist(),
                "score": scored["score"].to_numpy(),
                "spread": scored["spread"].to_numpy(),
                **{
                    name: scored[name].tolist()
                    for name in ("position", "label", "answers")
                },
            }
        )


def _checked(rows: pd.DataFrame, store: FeatureStore) -> pd.DataFrame:
    """The scored rows by user and item."""
    lacking = [name for name in _COLUMNS if name not in rows]
    if lacking:
        raise DataError(
            f"Scores need the columns {list(_COLUMNS)}. Received: {list(rows.columns)}, "
            f"without {lacking}."
        )
    scored = rows[rows["score"].notna()]
    scored = scored.assign(
        **{name: value for name, value in _DEFAULTS.items() if name not in rows}
    )
    _require_range(scored["score"], 0, 1, "LLM scores must be in [0, 1].")
    _require_range(
        scored["spread"],
        0,
        np.finfo(np.float32).max,
        "`spread` of a score must be a finite number from 0.",
    )
    for name, low, high in (
        ("user", 1, store.n_users),
        ("item", 1, store.n_items),
        ("position", 0, int(store.events.lengths.max())),
        ("label", UNKNOWN, POSITIVE),
        ("answers", 0, _MOST_ANSWERS),
    ):
        rule = f"`{name}` of a score must be a whole number from {low} to {high}."
        _require_range(scored[name], low, high, rule, whole=True)
    scored = scored.astype(_TYPES).assign(origin=scored["origin"].map(str))
    scored = scored.sort_values(["user", "item"])
    _require_range(
        scored["position"],
        0,
        store.events.lengths[scored["user"]],
        "`position` of a score must be at most the number of the user's events.",
    )
    twice = int(scored.duplicated(["user", "item"]).sum())
    if twice:
        raise DataError(
            f"A score table holds one score a (user, item). Received: {twice} duplicates."
        )
    return scored


def _require_range(
    column: pd.Series,
    low: int,
    high: int | np.ndarray,
    rule: str,
    *,
    whole: bool = False,
) -> None:
    values = column.to_numpy(np.float64)
    bad = ~((values >= low) & (values <= high))
    if whole:
        bad |= values != np.floor(values)
    if bad.any():
        raise DataError(f"{rule} Received: {values[bad][0]:g} in {bad.sum()} rows.")
