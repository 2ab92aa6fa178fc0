import numpy as np
import pandas as pd
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.scoring.batch_scoring import BatchScoring
from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.serving.batch_inference import predict_records
from keras_sllmr.store.build import build_store
from keras_sllmr.training.records import TrainingRecords

USERS, ITEMS = 60, 30
WORDS = ["red", "blue", "old", "new", "big", "small", "round", "flat", "soft", "dark"]


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """A folder of tables: 60 users with 5 to 12 events, 30 items with texts."""
    folder = tmp_path_factory.mktemp("tables")
    draw = np.random.default_rng(11)
    rows = [
        (f"u{user:02d}", f"i{item:02d}", place)
        for user in range(USERS)
        for place, item in enumerate(draw.permutation(ITEMS)[: 5 + user % 8])
    ]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "position"])
    events.sample(frac=1, random_state=1).to_parquet(
        folder / "interactions.parquet", row_group_size=90
    )
    items = pd.DataFrame({"item_id": [f"i{n:02d}" for n in range(ITEMS)]})
    items["text"] = [
        " ".join(draw.choice(WORDS, 3, replace=False)) for _ in range(ITEMS)
    ]
    items["attributes"] = [[n % 3] for n in range(ITEMS)]
    items.to_parquet(folder / "items.parquet")
    return folder


@pytest.fixture(scope="session")
def model(tables, tmp_path_factory):
    """An export over the tables' items, and three files of examples for it."""
    from keras_sllmr.backbones.deepfm import deepfm
    from keras_sllmr.backbones.features import FeatureSpec
    from keras_sllmr.io.tfrecord import example, write_shards
    from keras_sllmr.serving.export import export_model
    from keras_sllmr.store.feature_store import FeatureStore
    from keras_sllmr.store.importers import read_tables

    folder = tmp_path_factory.mktemp("model")
    store = FeatureStore.create(folder / "store", read_tables(tables))
    spec = FeatureSpec.of(store, history_length=4)
    backbone = deepfm(spec, embedding_dim=4, dnn_hidden_units=(8,))
    export = export_model(backbone, spec, store, folder=folder, name="model")
    records = (
        example(item_id=f"i{n % 40:02d}", history=[f"i{n % 7:02d}"]) for n in range(50)
    )
    write_shards(folder / "examples", records, count=50, shard_size=20)
    return export, folder / "examples"


def views(folder):
    """Every view's records, sorted: what no runner may change."""
    found = {}
    for file in sorted(folder.rglob("*.tfrecord")):
        view = str(file.parent.relative_to(folder))
        records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
        found.setdefault(view, []).extend(records)
    return {view: sorted(records) for view, records in found.items()}


@pytest.fixture(scope="session")
def pipelines(tables, model):
    """Runs the batch pipelines one after another; what each wrote."""

    def run(runner, folder, names=("store", "scores", "records", "predictions")):
        export, examples = model
        if "store" in names:
            build_store(
                folder / "store",
                tables / "interactions.parquet",
                tables / "items.parquet",
                rows_per_part=150,
                runner=runner,
            )
        if "scores" in names:
            candidates = CandidateSettings(near=2, near_pool=9, tail_near=0.5)
            BatchScoring(
                folder / "store",
                candidates=candidates,
                users_per_part=25,
                runner=runner,
            ).write_scores(folder / "scores")
        if "records" in names:
            TrainingRecords.create(
                folder / "records",
                folder / "store",
                folder / "scores",
                users_per_part=25,
                runner=runner,
            )
        if "predictions" in names:
            predict_records(export, examples, folder / "predictions", runner=runner)
        return {name: views(folder / name) for name in names}

    return run


@pytest.fixture(scope="session")
def expected(pipelines, tmp_path_factory):
    """What they write in this process."""
    from keras_sllmr.pipeline.in_process import InProcess

    folder = tmp_path_factory.mktemp("expected")
    return folder, pipelines(InProcess(), folder)
