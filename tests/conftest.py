import contextlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

# TensorFlow takes seconds to import, so only the fixtures that need it do.

N_USERS, N_ITEMS = 30, 40


def _small_raw():
    """User u has 5 + u % 8 events; index, number and place in sorted order agree."""
    from keras_sllmr.store.raw import RawData

    rows = []
    for user in range(1, N_USERS + 1):
        stride = (1, 3, 7, 9, 11, 13)[user % 6]  # coprime with 40: no item twice
        for step in range(5 + user % 8):
            item = (user * 7 + step * stride) % N_ITEMS + 1
            rows.append((f"u{user:02d}", f"i{item:02d}", 1_000 + step))
    numbers = range(1, N_ITEMS + 1)
    items = pd.DataFrame({"item": [f"i{n:02d}" for n in numbers]})
    items["text"] = ["" if n == 7 else f"title {n % 5} of {n}" for n in numbers]
    items["attributes"] = [[f"kind={n % 3}", "odd"][: n % 3] for n in numbers]
    return RawData(
        interactions=pd.DataFrame(rows, columns=["user", "item", "order"]),
        items=items,
        source={"kind": "test", "options": {"min_events": 5}},
        dropped={"duplicate_rows": 2},
        notes={"items_without_text": 1},
    )


def _with_columns(raw):
    """Nine more columns, one of each entity and kind; some cells are missing."""
    from dataclasses import replace

    from keras_sllmr.store.columns import column_specs

    nan = float("nan")
    users = range(1, N_USERS)  # the last one has no row
    items, events = range(1, N_ITEMS + 1), range(len(raw.interactions))
    return replace(
        raw,
        users=pd.DataFrame(
            {
                "user": [f"u{n:02d}" for n in users],
                "gender": [("", "F", "M")[n % 3] for n in users],
                "hobbies": [("chess", "go", "tea")[: n % 4] for n in users],
                "age": [nan if n % 5 == 0 else 20.0 + n for n in users],
            }
        ),
        items=raw.items.assign(
            brand=[("", "a", "b", "c")[n % 4] for n in items],
            colours=[("red", "blue", "green")[: n % 4] for n in items],
            price=[nan if n % 6 == 0 else n / 2 for n in items],
        ),
        interactions=raw.interactions.assign(
            device=[("web", "app", "")[n % 3] for n in events],
            tags=[("x", "y", "z", "w")[: n % 5] for n in events],
            hour=[nan if n % 7 == 0 else n % 24 for n in events],
        ),
        columns=column_specs(
            {"gender": "categorical", "hobbies": "multi", "age": "numeric"},
            {"brand": "categorical", "colours": "multi", "price": "numeric"},
            {"device": "categorical", "tags": "multi", "hour": "numeric"},
        ),
    )


def _raw_of(histories, n_items):
    """Data of users "u1", "u2", … with the given item numbers, in that order."""
    from keras_sllmr.store.raw import RawData

    width, user_width = len(str(n_items)), len(str(len(histories)))
    rows = [
        (f"u{user:0{user_width}d}", f"i{item:0{width}d}", position)
        for user, history in enumerate(histories, start=1)
        for position, item in enumerate(history)
    ]
    items = pd.DataFrame({"item": [f"i{n:0{width}d}" for n in range(1, n_items + 1)]})
    items["text"] = ""
    items["attributes"] = [[] for _ in range(n_items)]
    interactions = pd.DataFrame(rows, columns=["user", "item", "order"])
    return RawData(interactions, items, {"kind": "test"}, {}, {})


@pytest.fixture(scope="session")
def small_raw():
    """Imported data of 30 users and 40 items, 5 to 12 events a user."""
    return _small_raw()


@pytest.fixture(scope="session")
def raw_of():
    """Makes imported data from lists of item numbers."""
    return _raw_of


@pytest.fixture(scope="session")
def small_store(small_raw, tmp_path_factory):
    """A store on disk, shared: tests that damage one copy it first."""
    from keras_sllmr.store.feature_store import FeatureStore

    return FeatureStore.create(tmp_path_factory.mktemp("small") / "store", small_raw)


@pytest.fixture(scope="session")
def split(small_store):
    """The shared store's leave-one-out split."""
    from keras_sllmr.store.split import LeaveOneOut

    return LeaveOneOut(small_store)


@pytest.fixture(scope="session")
def column_store(small_raw, tmp_path_factory):
    """The shared store with nine columns, one of each entity and kind."""
    from keras_sllmr.store.feature_store import FeatureStore

    path = tmp_path_factory.mktemp("columns") / "store"
    return FeatureStore.create(path, _with_columns(small_raw))


@pytest.fixture(scope="session")
def column_split(column_store):
    """Its leave-one-out split."""
    from keras_sllmr.store.split import LeaveOneOut

    return LeaveOneOut(column_store)


@pytest.fixture(scope="session")
def split_of():
    """Makes a split from lists of item numbers, in memory."""
    from types import SimpleNamespace

    from keras_sllmr.store.ragged import Ragged
    from keras_sllmr.store.split import LeaveOneOut

    def make(histories, n_items):
        labels = [[], *([1 + n % 3, 4][: n % 3] for n in range(1, n_items + 1))]
        store = SimpleNamespace(
            events=Ragged.from_rows([[], *histories]),
            attributes=Ragged.from_rows(labels),
            n_users=len(histories),
            n_items=n_items,
            n_attributes=4,
            first=0,
            columns={},
        )
        return LeaveOneOut(store)

    return make


@pytest.fixture(scope="session")
def random_rows():
    """Every target position of a split as (users, positions), shuffled."""

    def make(split, seed=0):
        users = split.store.events.row_of_value()
        positions = np.arange(len(users)) - split.store.events.offsets[users]
        order = np.random.default_rng(seed).permutation(len(users))
        return users[order], positions[order]

    return make


_WRITER = """
import sys, time
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.lock import exclusive
with exclusive(sys.argv[1]), replace_folder(sys.argv[1]) as folder:
    (folder / "half.txt").write_text("half")
    print("writing", flush=True)
    time.sleep(120)
"""


@contextlib.contextmanager
def _other_writer(path):
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "writing\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def other_writer():
    """Another process half-way in writing a path; killed when the block ends."""
    return _other_writer


@pytest.fixture(scope="session")
def knowing():
    """Makes a small backbone that reads knowledge or examples, and what finds those."""
    from dataclasses import replace

    from keras_sllmr.backbones.in_context import in_context
    from keras_sllmr.backbones.knowledge import knowledge
    from keras_sllmr.backbones.registry import build_backbone
    from keras_sllmr.scoring.encoders.base import unit_rows
    from keras_sllmr.scoring.retrieval import ExampleRetrieval
    from keras_sllmr.store.examples import ExamplePool
    from keras_sllmr.store.split import LeaveOneOut
    from keras_sllmr.training.feature_tables import FeatureTables

    def make(method, name, store, spec, *, k=4, size=24):
        rng, retrieval = np.random.default_rng(3), None
        users, items = (
            rng.normal(size=(n + 1, 6)).astype(np.float32)
            for n in (spec.n_users, spec.n_items)
        )
        users[0], items[0] = 0, 0
        if method == "kar":
            spec = replace(spec, user_index=True)
            inject = knowledge(users, items, shared=1, specific=2, units=(5, 3))
        else:
            tables = FeatureTables(LeaveOneOut(store), spec)
            who = np.append(0, rng.integers(1, spec.n_users + 1, size))
            where = np.minimum(np.arange(size + 1), 1)
            what = np.append(0, rng.integers(1, spec.n_items + 1, size))
            labels = np.append(0, np.arange(size) % 2)
            features = tables.features(who, where, what)
            features = {name: value.numpy() for name, value in features.items()}
            retrieval = ExampleRetrieval(
                ExamplePool(who, where, what, labels),
                features["history"],
                unit_rows(items),
                k=k,
            )
            spec = replace(spec, examples=k)
            chains = rng.normal(size=(size + 1, 7))
            inject = in_context(
                features, labels, chains, width=4, blocks=1, hidden=6, row_units=5
            )
        small = {"embedding_dim": 4, "dnn_hidden_units": [5]}
        model = build_backbone(name, spec, inject=inject, **small)
        for weight in model.trainable_weights:  # so that all of it takes part
            weight.assign(0.5 * rng.normal(size=weight.shape))
        return model, spec, retrieval

    return make
