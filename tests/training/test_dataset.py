from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.store.history import history_before
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.training.batch import GUIDANCE, LABELLED, PROBES
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.dataset import TrainingData
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


def test_labelled_pairs_cannot_be_shuffled(world: Any, scores_of: Scores) -> None:
    with pytest.raises(ConfigError, match="exclude each other.*shuffled_from=0"):
        _data(world, scores=scores_of("right"), labelled_pairs=True, shuffled_from=0)


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
