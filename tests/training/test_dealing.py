from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.errors import DataError
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.dealing import Dealt, deal
from keras_sllmr.training.guidance import GuidanceBlocks

Scores = Callable[[str], ScoreTable]


def _deal(world: Any, scores: ScoreTable, **options: Any) -> Dealt:
    return deal(world.split, scores, settings=BatchSettings(), seed=3, **options)


def _users(blocks: GuidanceBlocks) -> set[int]:
    assert len(set(blocks.users)) == len(blocks)
    return set(blocks.users)


def test_who_gets_which_probes(world: Any, scores_of: Scores) -> None:
    table = scores_of("right")
    everything = _users(GuidanceBlocks.of(table, probes=True))
    assert len(everything) == 40
    for most, learn, judge in ((2000, 15, 5), (8, 6, 2), (2, 1, 1)):
        settings = BatchSettings(gate_probes=most)
        dealt = deal(world.split, table, settings=settings)
        learnt, held = _users(dealt.probes), _users(dealt.held_out)
        assert (len(learnt), len(held)) == (learn, judge)
        assert learnt | held <= everything and not learnt & held
        again = deal(world.split, table, settings=settings)
        assert _users(again.held_out) == held


def test_labelled_pairs_are_those_of_the_other_probes(
    world: Any, scores_of: Scores
) -> None:
    table = scores_of("right")
    dealt = _deal(world, table, labelled_pairs=True)
    alone = _deal(world, table)
    guidance, before = dealt.guidance, alone.guidance
    assert len(guidance) == len(before) + 20
    for name in ("users", "positions"):
        np.testing.assert_array_equal(
            getattr(guidance, name)[: len(before)], getattr(before, name)
        )
    assert (before.labels == -1).all()
    more = guidance.take(np.arange(len(before), len(guidance)))
    assert (more.labels == 1).sum() == 20
    shown = _users(dealt.probes) | _users(dealt.held_out)
    assert not _users(more) & shown


def test_too_few_probes(tmp_path: Any, world: Any) -> None:
    rows = [
        {"user": user, "item": item, "score": item / 100, "position": 1, "label": label}
        for user in (1, 2, 3)
        for item, label in ((50, -1), (51, -1), (52, 1), (53, 0))
    ]
    table = ScoreTable.create(
        tmp_path / "scores",
        world.split.store,
        pd.DataFrame(rows).assign(origin="x"),
        teacher={},
        settings={},
        cost={},
    )
    with pytest.raises(DataError, match="at least 4 users. Received: 3"):
        _deal(world, table)


def test_shuffled_scores(world: Any, scores_of: Scores) -> None:
    lengths = world.split.train_lengths
    right = _deal(world, scores_of("right"))
    for least in (0, 6, 99):
        dealt = _deal(world, scores_of("right"), shuffled_from=least)
        for name in ("guidance", "probes", "held_out"):
            block, kept = getattr(dealt, name), getattr(right, name)
            moved = (block.scores != kept.scores).any(axis=1)
            assert not moved[lengths[block.users] < least].any()
            chosen = lengths[block.users] >= least
            assert not chosen.any() or moved[chosen].mean() > 0.5


@pytest.mark.parametrize(
    ("label", "found"), [(-1, "0 probe scores"), (1, "0 candidate scores")]
)
def test_no_pair_to_learn_from(
    tmp_path: Any, world: Any, label: int, found: str
) -> None:
    rows = pd.DataFrame(
        {"user": [1, 1], "item": [5, 6], "score": [0.25, 0.5], "origin": ["x"] * 2}
    )
    table = ScoreTable.create(
        tmp_path / "scores",
        world.split.store,
        rows.assign(position=1, label=label),
        teacher={},
        settings={},
        cost={},
    )
    with pytest.raises(DataError, match=f"scored differently. Received: {found}"):
        _deal(world, table)
