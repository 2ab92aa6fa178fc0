"""Guidance leaves nothing in what is served."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from keras_sllmr.compat import keras, tf
from keras_sllmr.serving.export import export_model
from keras_sllmr.serving.signatures import RawIdScorer
from keras_sllmr.store.score_table import NEGATIVE, POSITIVE, UNKNOWN, ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.training_rows import TrainingRows
from keras_sllmr.training.build import build_model
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.methods import method_named, with_fixed
from keras_sllmr.training.row_inputs import RowInputs
from keras_sllmr.training.settings import (
    BackboneSettings,
    SelectiveSettings,
    TrainSettings,
)

#: method, and what its guidance has other than by default.
METHODS = {
    "none": ("none", {}),
    "kd": ("kd", {}),
    "pointwise": ("pointwise", {}),
    "global": ("global", {}),
    "sllmr": ("sllmr", {}),
    "hinge": ("sllmr", {"regularizer": "pairwise", "form": "hinge"}),
}
SIGNATURES = ("serving_default", "rank", "serve_examples", "classify", "regress")
#: What only training has: its gradients, optimisers, dropout and draws.
TRAINING = ("Grad", "Adam", "Random", "Dropout", "Apply", "Scatter", "Assign")


@pytest.fixture(scope="module")
def scores(store, tmp_path_factory):
    split = LeaveOneOut(store)
    rows = [
        (user, item, (user * item) % 7 / 6, "test", int(split.lengths[user]) - 2, label)
        for user in range(1, store.n_users + 1)
        for item, label in enumerate([UNKNOWN] * 4 + [POSITIVE, NEGATIVE], start=1)
    ]
    columns = ["user", "item", "score", "origin", "position", "label"]
    return ScoreTable.create(
        tmp_path_factory.mktemp("scores") / "scores",
        store,
        pd.DataFrame(rows, columns=columns),
        teacher={},
        settings={},
        cost={},
    )


def settings_of(guidance):
    small = {"embedding_dim": 4, "dnn_hidden_units": [5]}
    return TrainSettings(
        backbone=BackboneSettings(history_length=3, text=False, hyperparameters=small),
        selective=SelectiveSettings(**guidance),
        epochs=1,
    )


def taught(split):
    rows = TrainingRows(split, sets=1)
    return RowInputs(rows, {"teacher": np.full(rows.items.shape, 0.75, np.float32)})


@pytest.fixture
def one_step(spec, scores, tmp_path):
    """A function to the backbone of a method after a step, saved and loaded again."""

    def make(method):
        name, guidance = METHODS[method]
        settings = with_fixed(name, settings_of(guidance))
        guided = method_named(name).guided
        model = build_model(name, spec, settings)
        split = LeaveOneOut(scores.store)
        tables = FeatureTables(split, spec)
        data = TrainingData(
            split,
            tables,
            scores=scores if guided else None,
            rows=taught(split) if name == "kd" else None,
        )
        if guided and settings.selective.regularizer == "evidence":
            data.refer_to(build_model("none", spec, settings).block_logits)
        model.run_eagerly = True
        fitted = model.fit(data.dataset(), steps_per_epoch=1, verbose=0)
        assert not guided or fitted.history["pairs"][0] > 0
        model.save(tmp_path / "model.keras")
        return keras.models.load_model(tmp_path / "model.keras", compile=False).backbone

    return make


def operations(function):
    """How often each operation is in a function and those that it calls."""
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return Counter(node.op for node in nodes)


@pytest.fixture(scope="module")
def plain(make_backbone, spec, store, tmp_path_factory):
    """The operations of a backbone that never was in a trainer, by signature."""
    folder = tmp_path_factory.mktemp("plain")
    scorer = RawIdScorer(make_backbone(spec), spec, store, folder)
    return {name: operations(f) for name, f in scorer.signatures().items()}


@pytest.mark.parametrize("method", METHODS)
def test_no_operation_is_added_to_any_signature(
    method, one_step, plain, spec, store, tmp_path
):
    found = RawIdScorer(one_step(method), spec, store, tmp_path).signatures()
    assert set(found) == set(SIGNATURES)
    for name, function in found.items():
        assert operations(function) == plain[name], name


def test_the_served_operations_are_look_ups_and_inference(plain):
    for name in SIGNATURES:
        assert set(plain[name]) >= {"LookupTableFindV2", "ResourceGather", "Sigmoid"}
        assert not [op for op in plain[name] if any(x in op for x in TRAINING)]


def test_nothing_of_the_trainer_is_in_the_files(
    exported, one_step, spec, store, tmp_path
):
    """Operations and variables of what is saved, whatever calls them."""
    path = export_model(one_step("sllmr"), spec, store, tmp_path, name="guided")

    def saved(folder):
        content = (folder / "saved_model.pb").read_bytes()
        (meta,) = SavedModel.FromString(content).meta_graphs
        graph = meta.graph_def
        functions = graph.library.function
        nodes = [*graph.node, *(n for f in functions for n in f.node_def)]
        variables = tf.train.list_variables(str(folder / "variables" / "variables"))
        names = [*(n.name for n in nodes), *(f.signature.name for f in functions)]
        return (
            Counter(node.op for node in nodes),
            Counter(tuple(shape) for _, shape in variables),
            {part for name in names for part in re.split(r"[\W_\d]+", name.lower())},
        )

    operations_of, shapes, words = saved(path)
    assert (operations_of, shapes) == saved(exported.path)[:2]
    assert "dnn" in words
    assert not words & {"gate", "selective", "regularizer", "evidence", "teacher"}
