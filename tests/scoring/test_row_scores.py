from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.scoring.calibration import to_unit_interval
from keras_sllmr.scoring.embedded import embedded_teacher
from keras_sllmr.scoring.row_scores import RowBlocks, score_rows
from keras_sllmr.scoring.teachers.base import AskedTeacher, Opinion
from keras_sllmr.store.history import history_before
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.store.training_rows import TrainingRows


@pytest.mark.parametrize("chunk", [7, 4096])
def test_the_embedded_teachers_scores(
    shop: LeaveOneOut, vectors: TextVectors, tmp_path: Path, chunk: int
) -> None:
    teacher, told = embedded_teacher(shop, vectors, history=5), []
    table = score_rows(
        shop,
        teacher,
        tmp_path / "rows",
        sets=2,
        seed=1,
        history=5,
        chunk=chunk,
        progress=lambda done, total: told.append((done, total)),
    )
    rows = table.rows(shop)
    shown = history_before(shop.store.events, rows.users, rows.positions, length=5)
    expected = to_unit_interval(teacher.score(shown, rows.items))
    np.testing.assert_allclose(table.scores, expected, rtol=1e-5)
    # Every tenth item has no text, and so no score.
    assert np.isnan(table.scores[rows.items % 10 == 0]).all()
    assert table.manifest["missing"] > 0
    assert told[-1] == (len(rows), len(rows)) and told == sorted(told)
    manifest = table.manifest
    assert manifest["teacher"] == teacher.describe()
    assert manifest["cost"]["pairs"] == rows.items.size
    assert manifest["cost"]["usd"] == 0
    assert manifest["settings"] == {
        "history": 5,
        "calibration": "sigmoid",
        "missing": "drop",
        "rows": {"sets": 2, "seed": 1},
    }


def test_missing_scores_may_be_a_half(
    shop: LeaveOneOut, vectors: TextVectors, tmp_path: Path
) -> None:
    teacher = embedded_teacher(shop, vectors)
    table = score_rows(shop, teacher, tmp_path / "rows", sets=1, missing="half")
    unknown = table.rows(shop).items % 10 == 0
    assert (table.scores[unknown] == 0.5).all() and table.manifest["missing"] == 0


class Asked:
    """Answers only what it was asked before: the mean id of what it is shown."""

    name = "asked"

    def __init__(self) -> None:
        self.ledger: dict[tuple[bytes, bytes], np.ndarray] = {}
        self.blocks: list[int] = []

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def ask(
        self,
        blocks: Iterable[tuple[np.ndarray, np.ndarray]],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, Any]:
        done = 0
        for (histories, items), again in zip(blocks, blocks, strict=True):
            np.testing.assert_array_equal(items, again[1])
            self.blocks.append(len(items))
            for shown, wanted in zip(histories, items, strict=True):
                key = (shown.tobytes(), wanted.tobytes())
                self.ledger[key] = np.full(len(wanted), shown.mean() / 100)
            done += len(items)
            assert progress is not None
            progress(done)
        return {}

    def opinion(self, histories: np.ndarray, candidates: np.ndarray) -> Opinion:
        raise AssertionError("spread and answers of rows are not kept")

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        rows = zip(histories, candidates, strict=True)
        return np.stack([self.ledger[h.tobytes(), c.tobytes()] for h, c in rows])

    def report(self) -> dict[str, Any]:
        return {"requests": len(self.ledger), "usd": 0.25}


def test_a_teacher_is_asked_about_every_row_first(
    shop: LeaveOneOut, tmp_path: Path
) -> None:
    teacher, told = Asked(), []
    assert isinstance(teacher, AskedTeacher)
    table = score_rows(
        shop,
        teacher,
        tmp_path / "rows",
        sets=2,
        history=3,
        calibration="none",
        progress=lambda done, total: told.append((done, total)),
    )
    rows = table.rows(shop)
    shown = history_before(shop.store.events, rows.users, rows.positions, length=3)
    expected = np.repeat(shown.mean(axis=1, keepdims=True) / 100, 3, axis=1)
    np.testing.assert_allclose(table.scores, expected, rtol=1e-6)
    assert sum(teacher.blocks) == len(rows) and max(teacher.blocks) == 64
    assert told[-1] == (2 * len(rows), 2 * len(rows)) and told == sorted(told)
    cost = table.manifest["cost"]
    assert cost["pairs"] == 3 * len(rows) and cost["usd"] == 0.25
    assert 0 < cost["requests"] <= len(rows)


def test_rows_are_shown_what_came_before_them_alone(shop: LeaveOneOut) -> None:
    rows = TrainingRows(shop, sets=1)
    order = np.arange(len(rows))[::-1]
    blocks = list(RowBlocks(rows, order, history=20, chunk=10))
    shown = np.concatenate([histories for histories, _ in blocks])
    items = np.concatenate([wanted for _, wanted in blocks])
    np.testing.assert_array_equal(items, rows.items[::-1])
    for row, history in zip(order, shown, strict=True):
        events = shop.store.events.row(rows.users[row])
        before = events[: rows.positions[row]].tolist()
        assert [item for item in history if item] == before
        # Nobody has an item twice, so the target and what follows are not there.
        assert rows.items[row, 0] not in history
