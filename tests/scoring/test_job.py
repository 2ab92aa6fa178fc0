from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from keras_sllmr.scoring.calibration import to_unit_interval
from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.embedded import embedded_teacher
from keras_sllmr.scoring.job import score_candidates
from keras_sllmr.scoring.reliability import describe_table
from keras_sllmr.scoring.sampler import CandidateSampler
from keras_sllmr.scoring.teachers.mixture import MixtureTeacher
from keras_sllmr.store.history import history_before
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors

SETTINGS = CandidateSettings(near=4, near_pool=20, popular_pool=20, history=5, seed=1)

Score = Callable[..., ScoreTable]


@pytest.fixture(scope="module")
def teacher(shop: LeaveOneOut, vectors: TextVectors) -> MixtureTeacher:
    return embedded_teacher(shop, vectors, history=5)


@pytest.fixture(scope="module")
def table(
    shop: LeaveOneOut, teacher: MixtureTeacher, tmp_path_factory: pytest.TempPathFactory
) -> ScoreTable:
    path = tmp_path_factory.mktemp("job") / "scores"
    return score_candidates(shop, teacher, path, settings=SETTINGS)


def test_scores_are_the_teachers_before_the_position(
    shop: LeaveOneOut, teacher: MixtureTeacher, table: ScoreTable
) -> None:
    shown = history_before(shop.store.events, table.users, table.positions, length=5)
    expected = to_unit_interval(teacher.score(shown, table.items[:, None]))[:, 0]
    np.testing.assert_allclose(table.scores, expected, rtol=1e-5)
    hidden = shop.train_lengths[table.users] - (table.labels >= 0)
    np.testing.assert_array_equal(table.positions, hidden)


def test_holds_the_pairs_that_got_an_answer(
    shop: LeaveOneOut, teacher: MixtureTeacher, table: ScoreTable
) -> None:
    users = np.arange(1, shop.store.n_users + 1)
    parts = CandidateSampler(shop, SETTINGS, screen=teacher).draw(users)
    asked = sum(int((part.items > 0).sum()) for part in parts)
    counts = table.manifest["counts"]
    assert counts["llm_score"] + counts["missing"] == asked
    assert counts["missing"] > 0 and len(table) == counts["llm_score"]
    assert (shop.store.item_texts[table.items] != "").all()
    origins = {"near", "popular", "tail", "tail_near", "uniform", "cold", "probe"}
    assert set(table.origins) == origins
    assert set(table.labels[table.origins == "probe"]) == {0, 1}
    assert set(table.labels[table.origins != "probe"]) == {-1}


@pytest.mark.parametrize("chunk", [1, 7])
def test_chunks_do_not_change_the_table(
    tmp_path: Path,
    shop: LeaveOneOut,
    teacher: MixtureTeacher,
    table: ScoreTable,
    chunk: int,
) -> None:
    again = score_candidates(
        shop, teacher, tmp_path / "scores", settings=SETTINGS, chunk=chunk
    )
    assert again.manifest["fingerprint"] == table.manifest["fingerprint"]
    np.testing.assert_array_equal(again.scores, table.scores)


def test_progress_counts_rows(
    tmp_path: Path, shop: LeaveOneOut, teacher: MixtureTeacher
) -> None:
    seen: list[tuple[int, int]] = []
    score_candidates(
        shop,
        teacher,
        tmp_path / "scores",
        settings=SETTINGS,
        chunk=30,
        progress=lambda done, total: seen.append((done, total)),
    )
    probed = int((shop.train_lengths >= 2).sum())
    steps = [30, 40, 70, 40 + probed]
    assert seen == [(done, 40 + probed) for done in steps]


def test_manifest_says_how_the_scores_were_made(
    teacher: MixtureTeacher, table: ScoreTable
) -> None:
    manifest = table.manifest
    assert manifest["teacher"] == teacher.describe()
    assert manifest["settings"]["candidates"] == SETTINGS.model_dump()
    assert manifest["cost"]["pairs"] == len(table) + manifest["counts"]["missing"]
    assert manifest["cost"]["usd"] == 0


def test_description(shop: LeaveOneOut, table: ScoreTable) -> None:
    described = describe_table(table, shop)
    assert described["name"] == "minilm+tfidf"
    assert described["pairs"] == sum(described["origins"].values()) == len(table)
    assert described["coverage"] == pytest.approx(len(table) / (40 * 60))
    assert 0 <= described["reliability"]["accuracy"] <= 1


def test_description_without_probes(
    tmp_path: Path, shop: LeaveOneOut, teacher: MixtureTeacher
) -> None:
    settings = SETTINGS.model_copy(update={"probe_negatives": 0})
    table = score_candidates(shop, teacher, tmp_path / "scores", settings=settings)
    assert describe_table(table, shop)["reliability"] is None
