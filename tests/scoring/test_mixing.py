from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.scoring.mixing import _mixed, mix_tables
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.score_table import ScoreTable

COLUMNS = ["user", "item", "score", "origin", "position", "label", "answers"]
A = [
    (1, 8, 1.0, "near", 3, -1, 1),
    (1, 9, 0.5, "probe", 2, 1, 0),
    (3, 1, 0.25, "near", 4, -1, 3),
    (30, 2, 0.5, "cold", 1, -1, 0),
]
B = [
    (1, 8, 0.5, "uniform", 3, -1, 2),
    (1, 9, 0.75, "probe", 2, 1, 1),
    (3, 2, 0.125, "tail", 4, -1, 1),
    (30, 2, 0.0, "cold", 1, -1, 0),
]


def _written(
    path: Path, store: FeatureStore, rows: list[Any], name: str = "a", **cost: Any
) -> ScoreTable:
    return ScoreTable.create(
        path,
        store,
        pd.DataFrame(rows, columns=COLUMNS),
        teacher={"name": name},
        settings={"candidates": {"seed": 1}},
        cost=cost,
    )


@pytest.fixture(scope="module")
def tables(
    small_store: FeatureStore, tmp_path_factory: pytest.TempPathFactory
) -> list[ScoreTable]:
    folder = tmp_path_factory.mktemp("tables")
    failed: dict[str, Any] = {
        "failed": {"refused": 1},
        "stopped_by": "max_usd",
        "ledger": {"usd": 9},
    }
    return [
        _written(folder / "a", small_store, A, usd=0.5, requests=3, **failed),
        _written(
            folder / "b", small_store, B, "b", usd=1.0, failed={"refused": 2, "late": 1}
        ),
    ]


def _columns(table: ScoreTable) -> tuple[list[Any], ...]:
    return tuple(
        getattr(table, name).tolist()
        for name in ("users", "items", "origins", "positions", "labels", "answers")
    )


@pytest.mark.parametrize("chunk", [1, 2, 4096])
def test_hand_computed(tmp_path: Path, tables: list[ScoreTable], chunk: int) -> None:
    mixed = mix_tables(tmp_path / "mixed", tables, weights=[1, 3], chunk=chunk)
    assert _columns(mixed) == (
        [1, 1, 3, 3, 30],
        [8, 9, 1, 2, 2],
        ["near", "probe", "near", "tail", "cold"],
        [3, 2, 4, 4, 1],
        [-1, 1, -1, -1, -1],
        [3, 1, 3, 1, 0],
    )
    # The imputed ½ of (1, 9) gives way to an answer; (30, 2) has none.
    assert mixed.scores.tolist() == [0.625, 0.75, 0.25, 0.125, 0.125]
    expected = [np.sqrt(3) / 8, 0, 0, 0, np.sqrt(3) / 8]
    np.testing.assert_allclose(mixed.spread, expected, rtol=1e-6)


def test_equal_weights_by_default(tmp_path: Path, tables: list[ScoreTable]) -> None:
    mixed = mix_tables(tmp_path / "mixed", tables)
    assert mixed.scores.tolist() == [0.75, 0.75, 0.25, 0.125, 0.25]


def test_provenance(tmp_path: Path, tables: list[ScoreTable]) -> None:
    manifest = mix_tables(tmp_path / "mixed", tables, weights=[1, 3]).manifest
    assert manifest["teacher"] == {
        "name": "a+b",
        "weights": [1.0, 3.0],
        "teachers": [{"name": "a"}, {"name": "b"}],
    }
    assert manifest["settings"]["tables"] == [
        {
            "fingerprint": table.manifest["fingerprint"],
            "counts": {"llm_score": 4, "missing": 0},
            "settings": {"candidates": {"seed": 1}},
        }
        for table in tables
    ]
    assert manifest["cost"] == {
        "usd": 1.5,
        "requests": 3,
        "failed": {"late": 1, "refused": 3},
        "problems": {},
        "stopped_by": "max_usd",
    }


def test_tables_without_scores(tmp_path: Path, small_store: FeatureStore) -> None:
    empty = [_written(tmp_path / name, small_store, []) for name in "ab"]
    assert len(mix_tables(tmp_path / "mixed", empty)) == 0


def test_agrees_with_mixing_pair_by_pair(
    tmp_path: Path, small_store: FeatureStore
) -> None:
    rng = np.random.default_rng(4)
    drawn = rng.random((3, 30, 12)).astype(np.float32)
    drawn[rng.random(drawn.shape) < 0.4] = np.nan
    rows = [
        [
            (u + 1, i + 1, score, "near", 2, -1, 1)
            for (u, i), score in np.ndenumerate(one)
        ]
        for one in drawn
    ]
    parts = [
        _written(tmp_path / str(place), small_store, one)
        for place, one in enumerate(rows)
    ]
    mixed = mix_tables(tmp_path / "mixed", parts, weights=[1, 5, 2])
    weights = np.array([1.0, 5, 2])
    pairs = list(zip(mixed.users - 1, mixed.items - 1, strict=True))
    assert len(mixed) == (~np.isnan(drawn)).any(axis=0).sum()
    for place, (user, item) in enumerate(pairs):
        known = ~np.isnan(drawn[:, user, item])
        scores = drawn[known, user, item].astype(float)
        mean = np.average(scores, weights=weights[known])
        variance = np.average((scores - mean) ** 2, weights=weights[known])
        assert mixed.scores[place] == pytest.approx(mean)
        assert mixed.spread[place] == pytest.approx(np.sqrt(variance), abs=1e-7)
        assert mixed.answers[place] == known.sum()
    turned = mix_tables(tmp_path / "turned", parts[::-1], weights=[4, 10, 2])
    np.testing.assert_allclose(turned.scores, mixed.scores, rtol=1e-6)


@given(
    scores=st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3),
    weights=st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_a_mixture_is_between_its_parts(
    scores: list[float], weights: list[float]
) -> None:
    rows = pd.DataFrame([(1, 2, s, "near", 2, -1, 1) for s in scores], columns=COLUMNS)
    mixed = _mixed(rows.assign(table=range(3)), [], np.array(weights)).iloc[0]
    # In [0, 1] without any tolerance, or the table would not take it.
    assert 0 <= mixed["score"] <= 1
    assert min(scores) - 1e-12 <= mixed["score"] <= max(scores) + 1e-12
    assert 0 <= mixed["spread"] <= (max(scores) - min(scores)) / 2 + 1e-12


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (4, 4, "position 3 and label -1 in .*a, position 4 and label -1 in .*b"),
        (5, 0, "position 3 and label -1 in .*a, position 3 and label 0 in .*b"),
    ],
)
def test_other_candidates(
    tmp_path: Path, small_store: FeatureStore, column: int, value: int, message: str
) -> None:
    first, later = list(B[0]), list(B[1])
    first[column], later[5] = value, 0
    parts = [
        _written(tmp_path / "a", small_store, A),
        _written(tmp_path / "b", small_store, [later, first]),
    ]
    with pytest.raises(DataError, match=f"user 'u01' and item 'i08' with {message}"):
        mix_tables(tmp_path / "mixed", parts)
    assert not (tmp_path / "mixed").exists()


@pytest.mark.parametrize(
    "weights", [[1], [1, 0], [1, -1], [1, float("nan")], [1, float("inf")], []]
)
def test_wrong_weights(
    tmp_path: Path, tables: list[ScoreTable], weights: list[float]
) -> None:
    with pytest.raises(ConfigError, match="one positive number a table. Received"):
        mix_tables(tmp_path / "mixed", tables, weights=weights)


def test_one_table_is_no_mixture(tmp_path: Path, tables: list[ScoreTable]) -> None:
    with pytest.raises(ConfigError, match="two tables or more. Received: 1"):
        mix_tables(tmp_path / "mixed", tables[:1])


def test_does_not_replace_its_parts(tables: list[ScoreTable]) -> None:
    with pytest.raises(ConfigError, match="Choose another folder"):
        mix_tables(tables[1].path, tables)


def test_tables_of_two_stores(
    tmp_path: Path, tables: list[ScoreTable], column_store: FeatureStore
) -> None:
    other = _written(tmp_path / "b", column_store, B)
    with pytest.raises(StoreError, match="must be of one store. Received"):
        mix_tables(tmp_path / "mixed", [tables[0], other])
