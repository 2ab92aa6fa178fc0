from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.errors import DataError
from keras_sllmr.store.history import history_before
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.training.batch import GUIDANCE, LABELLED, PROBES
from keras_sllmr.training.dataset import (
    BatchSettings,
    TrainingData,
    block_features,
    row_batches,
)

Scores = Callable[[str], ScoreTable]

SETTINGS = BatchSettings(rows=16, guidance_users=5, probe_users=3)


@pytest.fixture
def plain(world: Any) -> TrainingData:
    return TrainingData(world.split, world.tables, settings=SETTINGS, seed=3)


@pytest.fixture
def guided(world: Any, scores_of: Scores) -> TrainingData:
    return TrainingData(
        world.split, world.tables, scores=scores_of("right"), settings=SETTINGS, seed=3
    )


def _rows(plan: dict[str, np.ndarray], half: int) -> set[tuple[int, ...]]:
    names = ("user", "position", "item")
    columns = [plan[name][:, 8 * half : 8 * half + 8].ravel() for name in names]
    return set(zip(*(column.tolist() for column in columns), strict=True))


def _first(data: TrainingData, **options: Any) -> Any:
    return next(iter(data.dataset(**options)))


def test_plan_is_a_pure_function_of_seed_and_epoch(
    world: Any, plain: TrainingData
) -> None:
    twin = TrainingData(world.split, world.tables, settings=SETTINGS, seed=3)
    twin.plan(0)
    for name, values in plain.plan(4).items():
        np.testing.assert_array_equal(values, twin.plan(4)[name])


def test_epochs_and_seeds_differ(world: Any, plain: TrainingData) -> None:
    other = TrainingData(world.split, world.tables, settings=SETTINGS, seed=4)
    for plan in (plain.plan(1), other.plan(0)):
        assert (plan["user"] != plain.plan(0)["user"]).mean() > 0.8
        shared = _rows(plan, half=1) & _rows(plain.plan(0), half=1)
        assert len(shared) < 0.2 * len(_rows(plan, half=1))


def test_each_positive_comes_once_an_epoch(world: Any, plain: TrainingData) -> None:
    train = world.split.train
    everything = set(zip(train.users, train.positions, train.items, strict=True))
    plan = plain.plan(0)
    assert plan["user"].shape == (len(train) // 8, 16)
    assert _rows(plan, half=0) <= everything
    assert len(_rows(plan, half=0)) == len(train) // 8 * 8


def test_what_an_epoch_leaves_out_comes_in_another(
    world: Any, plain: TrainingData
) -> None:
    assert len(world.split.train) % 8
    drawn = set().union(*(_rows(plain.plan(epoch), half=0) for epoch in range(4)))
    assert len(drawn) == len(world.split.train)


def test_negatives_are_unseen_and_share_the_positives_history(
    world: Any, plain: TrainingData
) -> None:
    plan = plain.plan(2)
    for name in ("user", "position"):
        np.testing.assert_array_equal(plan[name][:, :8], plan[name][:, 8:])
    users, drawn = plan["user"][:, 8:], plan["item"][:, 8:]
    assert not world.split.seen(users, drawn).any()
    assert drawn.min() >= 1 and drawn.max() <= world.split.store.n_items


def test_a_batch_larger_than_the_data(world: Any) -> None:
    data = TrainingData(world.split, world.tables, settings=BatchSettings(rows=4096))
    assert (data.positives, data.steps_per_epoch) == (len(world.split.train), 1)
    assert data.plan(0)["user"].shape == (1, 2 * len(world.split.train))


def test_first_batch_is_the_plans(world: Any, plain: TrainingData) -> None:
    features, labels = _first(plain, first_epoch=2)
    plan = plain.plan(2)
    expected = world.tables.features(
        *(plan[name][0] for name in ("user", "position", "item"))
    )
    assert set(features) == set(world.spec.inputs())
    for name, values in features.items():
        np.testing.assert_array_equal(values, expected[name])
    np.testing.assert_array_equal(labels[:, 0], [1] * 8 + [0] * 8)


def test_batches_follow_the_plans_over_the_epochs(plain: TrainingData) -> None:
    steps = plain.steps_per_epoch
    batches = plain.dataset(first_epoch=1).take(2 * steps)
    items = np.stack([features["item"] for features, _ in batches])
    expected = np.concatenate([plain.plan(1)["item"], plain.plan(2)["item"]])
    np.testing.assert_array_equal(items, expected)


def test_shapes_of_a_guided_batch(world: Any, guided: TrainingData) -> None:
    batch, labels = _first(guided)
    assert labels.shape == (16, 1)
    assert batch[LABELLED]["history"].shape == (16, 4)
    for name, users in ((GUIDANCE, 5), (PROBES, 3)):
        block, width = batch[name], guided.blocks[name][0].items.shape[1]
        for key in ("score", "valid", "label"):
            assert block[key].shape == (users, width)
        assert set(block["signals"]) == {"cold", "tail"}
        assert block["signals"]["cold"].shape == (users, width)
        assert set(block["features"]) == set(batch[LABELLED])
        assert block["features"]["item"].shape == (users, width)
        assert block["features"]["history"].shape == (users, width, 4)
        assert block["features"]["history_attributes"].shape[:2] == (users, width)
    assert guided.dataset().element_spec[0][LABELLED]["item"].shape == (16,)


def test_every_block_comes_once_before_any_comes_twice(guided: TrainingData) -> None:
    rows = guided.plan(0)[GUIDANCE].ravel()
    size = len(guided.blocks[GUIDANCE][0])
    cycles = np.split(rows, range(size, len(rows), size))
    assert len(cycles) == 3
    for cycle in cycles:
        assert len(set(cycle)) == len(cycle)
    assert cycles[0].tolist() != cycles[1].tolist()


def test_labelled_rows_do_not_depend_on_the_scores(
    plain: TrainingData, guided: TrainingData
) -> None:
    for name, values in plain.plan(1).items():
        np.testing.assert_array_equal(values, guided.plan(1)[name])


def test_a_block_holds_what_the_table_says(
    world: Any, guided: TrainingData, scores_of: Scores
) -> None:
    block = _first(guided)[0][GUIDANCE]
    rows = guided.plan(0)[GUIDANCE][0]
    users = guided.blocks[GUIDANCE][0].users[rows]
    items, valid = block["features"]["item"].numpy(), block["valid"].numpy()
    scores, found = scores_of("right").lookup(users[:, None] + 0 * items, items)
    assert (found[valid]).all() and (items > 0).tolist() == valid.tolist()
    np.testing.assert_array_equal(block["score"].numpy()[valid], scores[valid])
    assert (block["label"].numpy() == -1).all()
    cold = world.split.train_lengths[users] <= 3
    np.testing.assert_array_equal(block["signals"]["cold"][:, 0], cold)


def test_the_history_of_a_probe_ends_before_the_hidden_positive(
    world: Any, guided: TrainingData
) -> None:
    blocks = guided.blocks[PROBES][0]
    everything = np.arange(len(blocks))
    block = block_features(blocks, world.tables, everything)
    items, history = (block["features"][name].numpy() for name in ("item", "history"))
    positive = items[block["label"].numpy() == 1]
    assert len(positive) == len(blocks)
    assert (blocks.positions == world.split.train_lengths[blocks.users] - 1).all()
    np.testing.assert_array_equal(
        positive,
        [
            world.split.store.events.row(user)[position]
            for user, position in zip(blocks.users, blocks.positions, strict=True)
        ],
    )
    shown = history_before(
        world.split.store.events, blocks.users, blocks.positions, length=4
    )
    np.testing.assert_array_equal(history, np.repeat(shown[:, None], 5, axis=1))
    assert not (history == positive[:, None, None]).any()


def test_coverage_is_the_share_of_rows_with_a_score(
    plain: TrainingData, guided: TrainingData, scores_of: Scores
) -> None:
    table, plan = scores_of("right"), guided.plan(0)
    scored = set(zip(table.users, table.items, strict=True))
    pairs = list(zip(plan["user"].ravel(), plan["item"].ravel(), strict=True))
    share = sum(pair in scored for pair in pairs) / len(pairs)
    assert 0 < share < 1 and guided.coverage() == pytest.approx(share)
    assert plain.coverage() == 0


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
        TrainingData(world.split, world.tables, scores=table)


def test_row_batches_keep_the_order(world: Any) -> None:
    targets = world.split.validation
    batches = list(row_batches(world.tables, targets, targets.items, batch=16))
    assert [len(batch["item"]) for batch in batches] == [16, 16, 8]
    expected = world.tables.features(targets.users, targets.positions, targets.items)
    for name, values in expected.items():
        parts = np.concatenate([batch[name] for batch in batches])
        np.testing.assert_array_equal(parts, values)
