from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.calibration import to_unit_interval
from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.embedded import embedded_teacher
from keras_sllmr.scoring.job import AskingBlocks, score_candidates
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.reliability import describe_table
from keras_sllmr.scoring.sampler import CandidateSampler
from keras_sllmr.scoring.teachers.llm import LLMTeacher
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
    probed = shop.train_lengths >= 2
    steps = [users + int(probed[: users + 1].sum()) for users in (30, 40)]
    assert seen == [(done, 40 + probed.sum()) for done in steps]


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
    assert described["name"] == "encoder+tfidf"
    assert described["pairs"] == sum(described["origins"].values()) == len(table)
    assert described["coverage"] == pytest.approx(len(table) / (40 * 60))
    assert 0 <= described["reliability"]["accuracy"] <= 1


def test_description_without_probes(
    tmp_path: Path, shop: LeaveOneOut, teacher: MixtureTeacher
) -> None:
    settings = SETTINGS.model_copy(update={"probe_negatives": 0})
    table = score_candidates(shop, teacher, tmp_path / "scores", settings=settings)
    assert describe_table(table, shop)["reliability"] is None


ASKED = SETTINGS.model_copy(update={"near": 0, "tail_near": 0.0})


@pytest.fixture
def asked(
    shop: LeaveOneOut, endpoint: Callable[..., Any], tmp_path: Path
) -> Iterator[Callable[..., LLMTeacher]]:
    """Makes teachers on one endpoint and one ledger."""
    served = endpoint()
    opened: list[LLMTeacher] = []

    def make(**settings: Any) -> LLMTeacher:
        transport = {"concurrency": 4, "backoff": 0.01}
        values = {"model": "local", "base_url": served.base_url, "transport": transport}
        opened.append(
            LLMTeacher.open(
                shop.store.item_texts,
                tmp_path / "ledger.sqlite",
                LLMSettings(**values | settings),
            )
        )
        return opened[-1]

    yield make
    for teacher in opened:
        teacher.ledger.close()


def test_an_asked_teacher(
    shop: LeaveOneOut,
    asked: Callable[..., LLMTeacher],
    local_endpoint: Any,
    tmp_path: Path,
) -> None:
    seen: list[tuple[int, int]] = []
    table = score_candidates(
        shop,
        asked(),
        tmp_path / "scores",
        settings=ASKED,
        calibration="none",
        progress=lambda *at: seen.append(at),
    )
    texts = shop.store.item_texts[table.items]
    right = [local_endpoint.score_of(text) for text in texts]
    np.testing.assert_allclose(table.scores, right, atol=1e-6)
    rows = 40 + int((shop.train_lengths >= 2).sum())
    assert seen[-1] == (2 * rows, 2 * rows) and (rows, 2 * rows) in seen
    counts, cost = table.manifest["counts"], table.manifest["cost"]
    assert cost["pairs"] == counts["llm_score"] + counts["missing"]
    # Items without text, or after a history without any, have no score.
    users, known = np.arange(1, 41), shop.store.item_texts != ""
    missing = unasked = 0
    for histories, items in AskingBlocks(CandidateSampler(shop, ASKED), users):
        mute = ~known[histories].any(axis=1, keepdims=True)
        missing += int(((~known[items] | mute) & (items > 0)).sum())
        unasked += int(mute.sum())
    assert counts["missing"] == missing > unasked > 0
    assert cost["requests"] == rows - unasked == cost["ledger"]["requests"]
    assert cost["failed"] == {} == cost["problems"] and cost["stopped_by"] is None
    # Again, of another chunk and order: nothing is sent, and the table is the same.
    again = score_candidates(
        shop,
        asked(),
        tmp_path / "again",
        settings=ASKED,
        calibration="none",
        chunk=7,
        order=users[::-1],
    )
    assert again.manifest["fingerprint"] == table.manifest["fingerprint"]
    assert again.manifest["cost"]["ledger"] == cost["ledger"]


@pytest.mark.parametrize("most", [0, 9, 10])
def test_under_a_cap_the_first_of_the_order_are_scored(
    shop: LeaveOneOut, asked: Callable[..., LLMTeacher], tmp_path: Path, most: int
) -> None:
    order = 1 + np.random.default_rng(0).permutation(40)
    transport = {"concurrency": 1}
    teacher = asked(caps={"max_requests": most}, transport=transport)
    settings = ASKED.model_copy(update={"probe_negatives": 0})
    table = score_candidates(
        shop,
        teacher,
        tmp_path / "scores",
        settings=settings,
        calibration="none",
        order=order,
        chunk=6,
    )
    assert set(table.users) == set(order[:most])
    cost, counts = table.manifest["cost"], table.manifest["counts"]
    assert cost["stopped_by"] == "max_requests"
    assert cost["failed"] == {"not asked": 40 - most}
    assert cost["requests"] == most
    assert cost["pairs"] == counts["llm_score"] + counts["missing"]
    # With more to spend it goes on.
    rest = score_candidates(
        shop,
        asked(caps={"max_requests": most + 5}, transport=transport),
        tmp_path / "scores",
        settings=settings,
        calibration="none",
        order=order,
    )
    assert set(rest.users) == set(order[: most + 5])


def test_scores_are_calibrated_by_user_and_half_stands_for_missing(
    shop: LeaveOneOut, asked: Callable[..., LLMTeacher], tmp_path: Path
) -> None:
    table = score_candidates(
        shop,
        asked(permutations=2),
        tmp_path / "scores",
        settings=ASKED,
        calibration="minmax",
        missing="half",
    )
    counts = table.manifest["counts"]
    assert counts["missing"] == 0
    assert counts["llm_score"] == table.manifest["cost"]["pairs"]
    blank = shop.store.item_texts[table.items] == ""
    unknown = table.answers == 0
    assert blank.any() and unknown[blank].all() and (table.answers[~unknown] == 2).all()
    assert (table.scores[unknown] == 0.5).all()
    for user in np.unique(table.users[~unknown]):
        proper = (table.users == user) & (table.labels < 0) & ~unknown
        assert (table.scores[proper].min(), table.scores[proper].max()) == (0, 1)


def test_near_candidates_need_a_screen(
    shop: LeaveOneOut,
    teacher: MixtureTeacher,
    asked: Callable[..., LLMTeacher],
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="need a `screen`"):
        score_candidates(shop, asked(), tmp_path / "scores", settings=SETTINGS)
    table = score_candidates(
        shop,
        asked(),
        tmp_path / "scores",
        settings=SETTINGS,
        screen=teacher,
        calibration="rank",
    )
    assert (table.origins == "near").any()


def test_a_fifth_of_what_is_asked_are_probes_of_users_at_random(
    shop: LeaveOneOut, teacher: MixtureTeacher
) -> None:
    sampler = CandidateSampler(shop, SETTINGS, screen=teacher)
    # Who comes first says nothing about who is probed first.
    order = np.arange(1, 41)[::-1]
    blocks = AskingBlocks(sampler, order, chunk=8)
    rows = [(len(items), items.shape[1]) for _, items in blocks]
    width = sampler.probes(order).items.shape[1]
    assert [many for many, columns in rows if columns != width] == [8] * 5
    probes = [many for many, columns in rows if columns == width]
    assert probes[:5] == [2] * 5
    assert sum(probes) == (shop.train_lengths[order] >= 2).sum()
    again = [items for _, items in blocks]
    for items, (_, before) in zip(again, blocks, strict=True):
        np.testing.assert_array_equal(items, before)
