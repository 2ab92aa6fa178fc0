"""Several score tables of one store as one, by weight."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.scoring.teachers.mixture import mixture_weights
from keras_sllmr.store.score_table import ScoreTable, write_score_table

# Below it, a standard deviation is that of equal scores but for rounding.
_ROUNDING = 1e-7


def mix_tables(
    path: str | os.PathLike[str],
    tables: Sequence[ScoreTable],
    *,
    weights: Sequence[float] | None = None,
    chunk: int = 4096,
) -> ScoreTable:
    r"""Writes the weighted mean of score tables, over those that have a score.

    A pair is in the mixture when it is in some table. With the scores s of the tables k
    that have it, \(s = \sum_k w_k s_k / \sum_k w_k\), and its spread is
    \(\sqrt{\sum_k w_k (s_k - s)^2 / \sum_k w_k}\). Imputed scores, which no answer
    stands behind, count only where all of a pair's are imputed. The answers are summed;
    the origin is the first table's that has the pair. A pair of one table alone keeps
    its score, so bring tables to one calibration first.

    Args:
        path: the mixture's folder.
        tables: two or more, of one store and the same candidates: a pair has the same
            position and label wherever it is.
        weights: positive floats, one a table. Defaults to equal weights.
        chunk: int. Users at a time; does not change the result. Defaults to `4096`.

    Returns:
        The mixture, opened. Its cost is the tables' summed, but for the totals of their
        ledgers, as several may have used one.

    Raises:
        ConfigError: on fewer than two tables, a wrong weight, or when `path` is one of
            the tables.
        DataError: when a pair's position or label differs between tables.
        StoreError: when the tables are of several stores, or as for
            `write_score_table`.

    Example:
        >>> mix_tables("mixed", [tfidf, minilm], weights=[1, 3])  # doctest: +SKIP
    """
    if len(tables) < 2:
        raise ConfigError(
            f"A mixture needs two tables or more. Received: {len(tables)}"
        )
    weights = mixture_weights(weights, len(tables), of="table")
    _require_one_store(tables)
    if any(Path(path).resolve() == table.path.resolve() for table in tables):
        raise ConfigError(
            f"A mixture must not replace a table that it is made of. Received: {path}. "
            "Choose another folder."
        )
    manifests = [table.manifest for table in tables]
    about = ("fingerprint", "counts", "settings")
    write_score_table(
        path,
        tables[0].store,
        _frames(tables, np.array(weights, np.float64), chunk),
        teacher={
            "name": "+".join(manifest["teacher"]["name"] for manifest in manifests),
            "weights": weights,
            "teachers": [manifest["teacher"] for manifest in manifests],
        },
        settings={
            "tables": [
                {name: manifest[name] for name in about} for manifest in manifests
            ]
        },
        cost=_summed([manifest.get("cost", {}) for manifest in manifests]),
    )
    return ScoreTable(path, tables[0].store)


def _require_one_store(tables: Sequence[ScoreTable]) -> None:
    first = tables[0]
    for table in tables[1:]:
        if table.store.fingerprint != first.store.fingerprint:
            raise StoreError(
                "Tables to mix must be of one store. Received: the store "
                f"{first.store.fingerprint[:12]} of {first.path}, and "
                f"{table.store.fingerprint[:12]} of {table.path}. Score one of the "
                "stores with both teachers."
            )


def _frames(
    tables: Sequence[ScoreTable], weights: np.ndarray, chunk: int
) -> Iterator[pd.DataFrame]:
    for start in range(1, tables[0].store.n_users + 1, chunk):
        parts = []
        for place, table in enumerate(tables):
            # The rows are by user.
            low, high = np.searchsorted(table.users, [start, start + chunk])
            parts.append(_rows(table, slice(low, high)).assign(table=place))
        yield _mixed(pd.concat(parts, ignore_index=True), tables, weights)


def _rows(table: ScoreTable, rows: slice) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user": table.users[rows],
            "item": table.items[rows],
            "score": table.scores[rows].astype(np.float64),
            "origin": table.origins[rows],
            "position": table.positions[rows],
            "label": table.labels[rows],
            "answers": table.answers[rows],
        }
    )


def _mixed(
    rows: pd.DataFrame, tables: Sequence[ScoreTable], weights: np.ndarray
) -> pd.DataFrame:
    """One row a pair, of rows table by table."""
    pair = rows.groupby(["user", "item"], sort=True).ngroup().to_numpy()
    first = rows.assign(pair=pair).drop_duplicates("pair").sort_values("pair")
    _require_same_candidates(rows, first, pair, tables)
    scores, answers = rows["score"].to_numpy(), rows["answers"].to_numpy()
    answered = answers > 0
    imputed_alone = np.bincount(pair, answered)[pair] == 0
    weight = np.where(answered | imputed_alone, weights[rows["table"]], 0)
    total = np.bincount(pair, weight)
    mean = np.bincount(pair, weight * scores) / total
    spread = np.sqrt(np.bincount(pair, weight * (scores - mean[pair]) ** 2) / total)
    return first.assign(
        score=mean,
        spread=np.where(spread > _ROUNDING, spread, 0),
        answers=np.bincount(pair, answers).astype(np.int64),
    )


def _require_same_candidates(
    rows: pd.DataFrame,
    first: pd.DataFrame,
    pair: np.ndarray,
    tables: Sequence[ScoreTable],
) -> None:
    kept = first.iloc[pair]
    differ = np.zeros(len(rows), bool)
    for name in ("position", "label"):
        differ |= rows[name].to_numpy() != kept[name].to_numpy()
    if not differ.any():
        return
    worst = int(np.flatnonzero(differ)[np.argmin(pair[differ])])
    store = tables[0].store
    one, other = kept.iloc[worst], rows.iloc[worst]
    raise DataError(
        "Tables to mix must be of the same candidates: a pair has one position and "
        f"label. Received: user {store.user_ids[one['user']]!r} and item "
        f"{store.item_ids[one['item']]!r} with position {one['position']} and label "
        f"{one['label']} in {tables[one['table']].path}, position {other['position']} "
        f"and label {other['label']} in {tables[other['table']].path}. Score them with "
        "the same settings of the candidates and the same seed."
    )


def _summed(costs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    figures: Counter[str] = Counter()
    for cost in costs:
        figures.update(
            {name: part for name, part in cost.items() if isinstance(part, int | float)}
        )
    kinds: dict[str, Counter[str]] = {"failed": Counter(), "problems": Counter()}
    for name, counts in kinds.items():
        for cost in costs:
            counts.update(cost.get(name, {}))
    stopped = {cost["stopped_by"] for cost in costs if cost.get("stopped_by")}
    return {
        **figures,
        **{name: dict(sorted(counts.items())) for name, counts in kinds.items()},
        "stopped_by": ", ".join(sorted(stopped)) or None,
    }
