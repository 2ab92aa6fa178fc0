from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.store.history import history_before
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.training.batch import GUIDANCE, LABELLED, PROBES
from keras_sllmr.training.dataset import BatchSettings, TrainingData, row_batches
from keras_sllmr.training.guidance import GuidanceBlocks
from keras_sllmr.training.signals import ITEM_SIGNALS

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


def _data(world: Any, **options: Any) -> TrainingData:
    """Without scores, in batches of eight positives."""
    scores = options.pop("scores", None)
    others = {
        name: options.pop(name)
        for name in ("labelled_pairs", "shuffled_from")
        if name in options
    }
    negatives = options.get("negatives", 1)
    settings = BatchSettings(
        **{
            "rows": 8 * (1 + negatives),
            "guidance_users": 5,
            "probe_users": 3,
            **options,
        }
    )
    return TrainingData(
        world.split,
        world.tables,
        scores=scores,
        settings=settings,
        seed=3,
        **others,
    )


def _rows(plan: dict[str, np.ndarray], column: int) -> set[tuple[int, ...]]:
    """Of the positives (column 0) or of a negative: users, positions and items."""
    columns = [plan["user"], plan["position"], plan["item"][..., column]]
    return set(zip(*(values.ravel().tolist() for values in columns), strict=True))


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
        shared = _rows(plan, column=1) & _rows(plain.plan(0), column=1)
        assert len(shared) < 0.2 * len(_rows(plan, column=1))


def test_each_positive_comes_once_an_epoch(world: Any, plain: TrainingData) -> None:
    train = world.split.train
    everything = set(zip(train.users, train.positions, train.items, strict=True))
    plan = plain.plan(0)
    assert plan["user"].shape == plan["position"].shape == (len(train) // 8, 8)
    assert plan["item"].shape == (len(train) // 8, 8, 2)
    assert _rows(plan, column=0) <= everything
    assert len(_rows(plan, column=0)) == len(train) // 8 * 8


def test_what_an_epoch_leaves_out_comes_in_another(
    world: Any, plain: TrainingData
) -> None:
    assert len(world.split.train) % 8
    drawn = set().union(*(_rows(plain.plan(epoch), column=0) for epoch in range(4)))
    assert len(drawn) == len(world.split.train)


def test_negatives_are_unseen(world: Any, plain: TrainingData) -> None:
    plan = plain.plan(2)
    drawn = plan["item"][..., 1:]
    assert not world.split.seen(plan["user"][..., None], drawn).any()
    assert drawn.min() >= 1 and drawn.max() <= world.split.store.n_items


def test_several_negatives(world: Any, plain: TrainingData) -> None:
    data = _data(world, negatives=3)
    assert (data.positives, data.rows) == (8, 32)
    plan = data.plan(2)
    drawn = plan["item"][..., 1:]
    assert drawn.shape == (data.steps_per_epoch, 8, 3)
    assert not world.split.seen(plan["user"][..., None], drawn).any()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (drawn[..., a] != drawn[..., b]).mean() > 0.9
    # The positives and the first negative are the same, however many there are.
    np.testing.assert_array_equal(plan["item"][..., :2], plain.plan(2)["item"])
    np.testing.assert_array_equal(plan["user"], plain.plan(2)["user"])


def test_in_batch_negatives(world: Any) -> None:
    """The next two positives of the batch, in a circle, or else a uniform draw."""
    options = {"negatives": 2, "negative_sampling": "in_batch"}
    plan = _data(world, **options).plan(1)
    uniform = _data(world, negatives=2).plan(1)
    users, items, seen = plan["user"], plan["item"], world.split.seen
    np.testing.assert_array_equal(users, uniform["user"])
    np.testing.assert_array_equal(items[..., 0], uniform["item"][..., 0])
    taken = 0
    for step in range(len(users)):
        for row in range(8):
            user = users[step, row]
            for k in (1, 2):
                other = items[step, (row + k) % 8, 0]
                if seen(user, other):
                    other = uniform["item"][step, row, k]
                else:
                    taken += 1
                assert items[step, row, k] == other
    assert not seen(users[..., None], items[..., 1:]).any()
    assert 0.5 < taken / users.size / 2 < 1


def test_in_batch_negatives_of_a_batch_of_one(world: Any) -> None:
    """Its own positive is no negative."""
    one = {"rows": 2, "negatives": 1}
    plan = _data(world, **one, negative_sampling="in_batch").plan(0)
    np.testing.assert_array_equal(plan["item"], _data(world, **one).plan(0)["item"])


def test_no_room_for_the_negatives(world: Any) -> None:
    with pytest.raises(ConfigError, match="`rows` must hold.*rows=4, negatives=4"):
        _data(world, rows=4, negatives=4)
    assert _data(world, rows=5, negatives=4).positives == 1


def test_a_batch_larger_than_the_data(world: Any) -> None:
    data = TrainingData(world.split, world.tables, settings=BatchSettings(rows=4096))
    assert (data.positives, data.steps_per_epoch) == (len(world.split.train), 1)
    assert data.rows == 2 * data.positives
    assert data.plan(0)["item"].shape == (1, data.positives, 2)


def test_first_batch_is_the_plans(world: Any, plain: TrainingData) -> None:
    features, labels = _first(plain, first_epoch=2)
    assert set(features) == {LABELLED}
    block = features[LABELLED]
    assert set(block) == {"user", "item"}
    plan = {name: values[0] for name, values in plain.plan(2).items()}
    assert set(block["user"]) | set(block["item"]) == set(world.spec.inputs())
    expected = {
        "user": world.tables.user_features(plan["user"], plan["position"]),
        "item": world.tables.item_features(plan["item"]),
    }
    for side, values in expected.items():
        assert set(block[side]) == set(values)
        for name in values:
            np.testing.assert_array_equal(block[side][name], values[name])
    np.testing.assert_array_equal(labels, [[1, 0]] * 8)


def test_labels_of_several_negatives(world: Any) -> None:
    _, labels = _first(_data(world, negatives=3))
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, [[1, 0, 0, 0]] * 8)


def test_batches_follow_the_plans_over_the_epochs(plain: TrainingData) -> None:
    steps = plain.steps_per_epoch
    batches = plain.dataset(first_epoch=1).take(2 * steps)
    items = np.stack([x[LABELLED]["item"]["item"] for x, _ in batches])
    expected = np.concatenate([plain.plan(1)["item"], plain.plan(2)["item"]])
    np.testing.assert_array_equal(items, expected)


def test_batches_from_within_an_epoch(plain: TrainingData) -> None:
    rest = plain.dataset(first_epoch=1, first_step=1).take(1)
    ((features, _),) = rest.as_numpy_iterator()
    expected = plain.plan(1)["item"][1]
    np.testing.assert_array_equal(features[LABELLED]["item"]["item"], expected)


def test_shapes_of_a_guided_batch(guided: TrainingData) -> None:
    batch, labels = _first(guided)
    assert labels.shape == (8, 2)
    assert batch[LABELLED]["user"]["history"].shape == (8, 4)
    assert batch[LABELLED]["item"]["item"].shape == (8, 2)
    for name, users in ((GUIDANCE, 5), (PROBES, 3)):
        block, width = batch[name], guided.blocks[name][0].items.shape[1]
        for key in ("score", "valid", "label"):
            assert block[key].shape == (users, width)
        assert set(block["signals"]) == set(ITEM_SIGNALS) - {"uncertainty"}
        for signal in block["signals"].values():
            assert signal.shape == (users, width)
        for side in ("user", "item"):
            assert set(block[side]) == set(batch[LABELLED][side])
        assert block["item"]["item"].shape == (users, width)
        assert block["item"]["item_attributes"].shape[:2] == (users, width)
        assert block["user"]["history"].shape == (users, 4)
    spec = guided.dataset().element_spec[0]
    assert spec[LABELLED]["item"]["item"].shape == (8, 2)
    assert spec[GUIDANCE]["user"]["history"].shape == (5, 4)


def test_every_block_comes_once_before_any_comes_twice(guided: TrainingData) -> None:
    rows = guided.plan(0)[GUIDANCE].ravel()
    size = len(guided.blocks[GUIDANCE][0])
    cycles = np.split(rows, range(size, len(rows), size))
    assert len(cycles) == 3
    for cycle in cycles:
        assert len(set(cycle)) == len(cycle)
    assert cycles[0].tolist() != cycles[1].tolist()


def _probed(guided: TrainingData) -> set[tuple[int, ...]]:
    """Users, positions and items of the hidden positives that the gate is shown."""
    assert guided.held_out is not None
    found: set[tuple[int, ...]] = set()
    for block in (guided.blocks[PROBES][0], guided.held_out):
        positive = block.items[block.labels == 1]
        rows = (block.users.tolist(), block.positions.tolist(), positive.tolist())
        found |= set(zip(*rows, strict=True))
    return found


def test_what_the_gate_is_shown_is_not_trained_on(
    world: Any, guided: TrainingData
) -> None:
    train = world.split.train
    everything = set(
        zip(
            *(x.tolist() for x in (train.users, train.positions, train.items)),
            strict=True,
        )
    )
    probed = _probed(guided)
    assert len(probed) == 20 and probed <= everything
    left = zip(
        *(
            x.tolist()
            for x in (guided.train.users, guided.train.positions, guided.train.items)
        ),
        strict=True,
    )
    assert list(left) == sorted(everything - probed)
    assert guided.steps_per_epoch == (len(train) - 20) // 8
    for epoch in range(3):
        assert not _rows(guided.plan(epoch), column=0) & probed


def test_a_batch_larger_than_the_data_with_guidance(
    world: Any, scores_of: Scores
) -> None:
    data = _data(world, scores=scores_of("right"), rows=4096)
    assert data.steps_per_epoch == 1
    assert data.positives == len(world.split.train) - 20


def test_unguided_batches_of_guided_data(guided: TrainingData) -> None:
    plain, labels = _first(guided, blocks=())
    batch, expected = _first(guided)
    assert set(plain) == {LABELLED} and set(batch) == {LABELLED, GUIDANCE, PROBES}
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(
        plain[LABELLED]["item"]["item"], batch[LABELLED]["item"]["item"]
    )
    alone, _ = _first(guided, blocks=(GUIDANCE,))
    assert set(alone) == {LABELLED, GUIDANCE}
    np.testing.assert_array_equal(alone[GUIDANCE]["score"], batch[GUIDANCE]["score"])


def test_a_block_holds_what_the_table_says(
    world: Any, guided: TrainingData, scores_of: Scores
) -> None:
    block = _first(guided)[0][GUIDANCE]
    rows = guided.plan(0)[GUIDANCE][0]
    users = guided.blocks[GUIDANCE][0].users[rows]
    items, valid = block["item"]["item"].numpy(), block["valid"].numpy()
    scores, found = scores_of("right").lookup(users[:, None] + 0 * items, items)
    assert (found[valid]).all() and (items > 0).tolist() == valid.tolist()
    np.testing.assert_array_equal(block["score"].numpy()[valid], scores[valid])
    assert (block["label"].numpy() == -1).all()
    cold = world.split.train_lengths[users] <= 3
    np.testing.assert_array_equal(block["signals"]["cold"][:, 0], cold)
    popularity = block["signals"]["log_popularity"].numpy()
    counts = world.split.train_counts
    expected = np.log1p(counts[items]) / np.log1p(counts.max())
    np.testing.assert_allclose(popularity, expected, rtol=1e-6)


def test_scores_of_labelled_rows(world: Any, scores_of: Scores) -> None:
    table = scores_of("right")
    data = _data(world, scores=table, labelled_pairs=True, negatives=3)
    batches = list(data.dataset().take(data.steps_per_epoch))
    joined = zip(table.users, table.items, table.scores, strict=True)
    known = {(user, item): score for user, item, score in joined}
    plan, hits = data.plan(0), 0
    for step, (x, y) in enumerate(batches):
        block, users = x[LABELLED], plan["user"][step]
        for row, column in np.ndindex(8, 4):
            pair = users[row], plan["item"][step, row, column]
            assert bool(block["valid"][row, column]) == (pair in known)
            assert float(block["score"][row, column]) == known.get(pair, 0)
            hits += pair in known
        np.testing.assert_array_equal(block["label"], y)
        cold = np.repeat(world.split.train_lengths[users] <= 3, 4).reshape(8, 4)
        np.testing.assert_array_equal(block["signals"]["cold"], cold)
    assert hits / len(batches) / 32 == pytest.approx(data.coverage())
    assert hits


def test_without_labelled_scores(
    world: Any, guided: TrainingData, scores_of: Scores
) -> None:
    assert set(_first(guided)[0][LABELLED]) == {"user", "item"}
    alone = _data(world, labelled_pairs=True)  # no table to join
    assert set(_first(alone)[0][LABELLED]) == {"user", "item"}
    unguided = _data(world, scores=scores_of("right"), labelled_pairs=True)
    assert set(_first(unguided, blocks=())[0][LABELLED]) == {"user", "item"}


def _users(blocks: GuidanceBlocks | None) -> set[int]:
    assert blocks is not None
    assert len(set(blocks.users)) == len(blocks)
    return set(blocks.users)


def test_who_gets_which_probes(world: Any, scores_of: Scores) -> None:
    table = scores_of("right")
    everything = _users(GuidanceBlocks.of(table, probes=True))
    assert len(everything) == 40
    for most, learn, judge in ((2000, 15, 5), (8, 6, 2), (2, 1, 1)):
        data = _data(world, scores=table, gate_probes=most)
        learnt, held = _users(data.blocks[PROBES][0]), _users(data.held_out)
        assert (len(learnt), len(held)) == (learn, judge)
        assert learnt | held <= everything and not learnt & held
        again = _data(world, scores=table, gate_probes=most)
        assert _users(again.held_out) == held


def test_labelled_pairs_are_those_of_the_other_probes(
    world: Any, scores_of: Scores
) -> None:
    table = scores_of("right")
    data = _data(world, scores=table, labelled_pairs=True)
    alone = _data(world, scores=table)
    guidance, before = data.blocks[GUIDANCE][0], alone.blocks[GUIDANCE][0]
    assert len(guidance) == len(before) + 20
    for name in ("users", "positions"):
        np.testing.assert_array_equal(
            getattr(guidance, name)[: len(before)], getattr(before, name)
        )
    assert (before.labels == -1).all()
    more = guidance.take(np.arange(len(before), len(guidance)))
    assert (more.labels == 1).sum() == 20
    shown = _users(data.blocks[PROBES][0]) | _users(data.held_out)
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
        TrainingData(world.split, world.tables, scores=table)


def test_labelled_pairs_cannot_be_shuffled(world: Any, scores_of: Scores) -> None:
    with pytest.raises(ConfigError, match="exclude each other.*shuffled_from=0"):
        _data(world, scores=scores_of("right"), labelled_pairs=True, shuffled_from=0)


def test_shuffled_scores(world: Any, scores_of: Scores) -> None:
    lengths = world.split.train_lengths
    right = _data(world, scores=scores_of("right"))
    for least in (0, 6, 99):
        data = _data(world, scores=scores_of("right"), shuffled_from=least)
        for name in (GUIDANCE, PROBES):
            block, kept = data.blocks[name][0], right.blocks[name][0]
            moved = (block.scores != kept.scores).any(axis=1)
            assert not moved[lengths[block.users] < least].any()
            chosen = lengths[block.users] >= least
            assert not chosen.any() or moved[chosen].mean() > 0.5


def test_a_reference_for_every_block(guided: TrainingData) -> None:
    """Its logits here are the items' numbers, whatever the rows at a time."""
    assert "reference" not in _first(guided)[0][GUIDANCE]
    guided.refer_to(lambda block: tf.cast(block["item"]["item"], tf.float32) / 2)
    assert guided.held_out is not None
    for block in (*(block for block, _ in guided.blocks.values()), guided.held_out):
        assert block.reference is not None
        np.testing.assert_array_equal(block.reference, block.items / 2)
    batch, _ = _first(guided)
    for name in (GUIDANCE, PROBES):
        expected = batch[name]["item"]["item"] / 2
        np.testing.assert_array_equal(batch[name]["reference"], expected)
    assert "reference" not in batch[LABELLED]


def test_the_history_of_a_probe_ends_before_the_hidden_positive(
    world: Any, guided: TrainingData
) -> None:
    blocks = guided.blocks[PROBES][0]
    everything = np.arange(len(blocks))
    block = guided.block_features(blocks, everything)
    items, history = block["item"]["item"].numpy(), block["user"]["history"].numpy()
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
    np.testing.assert_array_equal(history, shown)
    assert not (history == positive[:, None]).any()


def test_coverage_is_the_share_of_rows_with_a_score(
    plain: TrainingData, guided: TrainingData, scores_of: Scores
) -> None:
    table, plan = scores_of("right"), guided.plan(0)
    scored = set(zip(table.users, table.items, strict=True))
    users = np.repeat(plan["user"].ravel(), 2)
    pairs = list(zip(users, plan["item"].ravel(), strict=True))
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
