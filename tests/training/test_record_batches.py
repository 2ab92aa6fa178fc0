import numpy as np
import pandas as pd
import pytest

from keras_sllmr.backbones.deepfm import deepfm
from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.layers.gate import Gate
from keras_sllmr.losses.pairwise_hinge import PairwiseHinge
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.training_rows import TrainingRows
from keras_sllmr.training.batch import GUIDANCE, LABELLED, PROBES
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.guidance import GuidanceBlocks
from keras_sllmr.training.record_batches import RecordBatches
from keras_sllmr.training.records import TrainingRecords
from keras_sllmr.training.selective_model import SelectiveModel
from keras_sllmr.training.signals import SignalTables

SETTINGS = BatchSettings(rows=16, guidance_users=3, probe_users=2)


@pytest.fixture(scope="module")
def scores(small_store, split, tmp_path_factory):
    """Four candidates of every user, and a probe of every fourth."""
    rows = []
    for user in range(1, small_store.n_users + 1):
        end = int(split.train_lengths[user])
        positive = int(small_store.events.row(user)[end - 1])
        probed = user % 4 == 0
        for step in range(4):
            item = 1 + (user * 5 + step * 9) % 39
            if item != positive:
                rows.append((user, item, (item % 10) / 10, "uniform", end, -1))
        if probed:
            rows.append((user, positive, 0.9, "probe", end - 1, 1))
            rows.append((user, 40, 0.1, "probe", end - 1, 0))
    names = ["user", "item", "score", "origin", "position", "label"]
    frame = pd.DataFrame(rows, columns=names).drop_duplicates(["user", "item"])
    path = tmp_path_factory.mktemp("scores") / "scores"
    return ScoreTable.create(path, small_store, frame, teacher={}, settings={}, cost={})


@pytest.fixture(scope="module")
def records(small_store, scores, tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "records"
    return TrainingRecords.create(
        path, small_store.path, scores.path, sets=3, history=6, users_per_part=7
    )


@pytest.fixture(scope="module")
def spec(small_store):
    return FeatureSpec.of(small_store, history_length=4, user_id=True)


def taken(batches, count, **options):
    return list(batches.dataset(**options).take(count))


def rows_of(batches, split, count, epoch=0):
    """(user, item, label) of the batches' rows."""
    found = []
    for x, y in taken(batches, count, first_epoch=epoch):
        users = x[LABELLED]["user"]["user"].numpy()
        items = x[LABELLED]["item"]["item"].numpy()
        for user, row, labels in zip(users, items, y.numpy(), strict=True):
            found += [
                (int(user), int(item), int(label))
                for item, label in zip(row, labels, strict=True)
            ]
    return found


@pytest.mark.parametrize("epoch, negatives", [(0, 1), (1, 1), (4, 1), (1, 2)])
def test_every_visible_row_once_an_epoch(records, spec, split, epoch, negatives):
    settings = SETTINGS.model_copy(
        update={"negatives": negatives, "rows": 1 + negatives}
    )
    batches = RecordBatches(records, spec, settings=settings, seed=5)
    rows = TrainingRows(split, sets=3)
    hidden = (rows.users % 4 == 0) & (
        rows.positions == split.train_lengths[rows.users] - 1
    )
    assert records.manifest["hidden_by_probes"] == hidden.sum() > 0
    steps = int((~hidden).sum())
    assert batches.steps_per_epoch == steps
    found = rows_of(batches, split, steps, epoch)
    columns = [0, *(1 + (epoch * negatives + k) % 3 for k in range(negatives))]
    expected = [
        (int(user), int(row[column]), int(column == 0))
        for user, row in zip(rows.users[~hidden], rows.items[~hidden], strict=True)
        for column in columns
    ]
    assert sorted(found) == sorted(expected) and found != expected


def test_features_are_those_of_the_store(records, spec, split):
    tables = FeatureTables(split, spec)
    rows = TrainingRows(split, sets=3)
    where = {
        (int(user), int(items[0])): position
        for user, items, position in zip(
            rows.users, rows.items, rows.positions, strict=True
        )
    }
    (x, y) = taken(RecordBatches(records, spec, settings=SETTINGS), 1)[0]
    block = x[LABELLED]
    users = block["user"]["user"].numpy()
    items = block["item"]["item"].numpy()
    assert items.shape == (8, 2) and y.numpy().tolist() == [[1, 0]] * 8
    positions = [
        where[user, item] for user, item in zip(users, items[:, 0], strict=True)
    ]
    expected = tables.user_features(users, np.array(positions))
    assert set(block["user"]) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(block["user"][name], values)
    for name, values in tables.item_features(items).items():
        np.testing.assert_array_equal(block["item"][name], values)


@pytest.mark.parametrize("view, probes", [(GUIDANCE, False), (PROBES, True)])
def test_blocks_are_those_of_the_score_table(
    records, spec, split, scores, view, probes
):
    blocks = GuidanceBlocks.of(scores, probes=probes)
    signals = SignalTables(split)
    seen = []
    steps = -(-len(blocks) // (2 if probes else 3))
    for x, _ in taken(RecordBatches(records, spec, settings=SETTINGS), steps):
        block = x[view]
        for place, user in enumerate(block["user"]["user"].numpy()):
            seen.append(user)
            (row,) = np.flatnonzero(blocks.users == user)
            items = block["item"]["item"][place].numpy()
            np.testing.assert_array_equal(items, blocks.items[row])
            np.testing.assert_array_equal(block["score"][place], blocks.scores[row])
            np.testing.assert_array_equal(block["label"][place], blocks.labels[row])
            np.testing.assert_array_equal(block["valid"][place], items > 0)
            expected = signals.of(np.array([user]), blocks.items[[row]])
            for name, values in expected.items():
                np.testing.assert_allclose(
                    block["signals"][name][place], values[0], rtol=1e-6
                )
    # Again and again: a pass has every user once.
    assert sorted(seen[: len(blocks)]) == sorted(blocks.users)


def test_a_function_of_the_seed(records, spec, split):
    def rows(epoch=0, **options):
        batches = RecordBatches(records, spec, settings=SETTINGS, **options)
        return rows_of(batches, split, 5, epoch)

    assert rows() == rows() != rows(seed=1)
    assert {row[:2] for row in rows()} != {row[:2] for row in rows(epoch=3)}
    assert rows(shuffle=1) == rows(shuffle=1) != rows()


def test_workers_read_shards_of_their_own(records, spec, split):
    one = SETTINGS.model_copy(update={"rows": 2})
    parts = []
    for worker in range(2):
        batches = RecordBatches(records, spec, settings=one, worker=worker, workers=2)
        shards = records.shards(LABELLED)[worker::2]
        count = sum(
            1
            for shard in shards
            for record in tf.data.TFRecordDataset(shard)
            if not tf.train.Example.FromString(record.numpy())
            .features.feature["hidden"]
            .int64_list.value[0]
        )
        parts.append(set(rows_of(batches, split, count)))
    assert parts[0] and parts[1] and not parts[0] & parts[1]


def test_fit(records, spec):
    model = SelectiveModel(
        deepfm(spec, embedding_dim=4, dnn_hidden_units=(8,)),
        item_inputs=spec.item_inputs,
        gate=Gate(objective="agreement"),
        regularizer=PairwiseHinge(),
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    batches = RecordBatches(records, spec, settings=SETTINGS)
    history = model.fit(
        batches.dataset(), steps_per_epoch=batches.steps_per_epoch, epochs=4, verbose=0
    ).history
    assert history["base_loss"][-1] < history["base_loss"][0]
    assert min(history["pairs"]) > 0 and np.isfinite(history["gate_loss"]).all()


def test_without_scores_there_are_no_blocks(small_store, spec, tmp_path):
    records = TrainingRecords.create(tmp_path / "records", small_store.path)
    ((x, _),) = taken(RecordBatches(records, spec, settings=SETTINGS), 1)
    assert set(x) == {LABELLED}


def test_wrong_arguments(records, spec, column_store):
    for changes, rule in (
        ({"shuffle": 0}, "`shuffle` must be at least 1"),
        ({"workers": 0}, "`workers` must be at least 1"),
        ({"worker": 2, "workers": 2}, "`worker` must be at least 0, 1 at most"),
        ({"settings": BatchSettings(negatives=4)}, "negatives` must be .* 3 at most"),
        ({"settings": BatchSettings(rows=2, negatives=2)}, "rows` must be at least 3"),
    ):
        with pytest.raises(ConfigError, match=rule):
            RecordBatches(records, spec, **changes)
    long = FeatureSpec.of(records.store, history_length=7)
    with pytest.raises(ConfigError, match="history_length` must be .* 6 at most"):
        RecordBatches(records, long)
    with pytest.raises(ConfigError, match="have no columns"):
        columns = FeatureSpec.of(column_store, history_length=4)
        RecordBatches(records, columns)
    with pytest.raises(DataError, match="a shard of its own. Received: 5"):
        RecordBatches(records, spec, workers=6)
