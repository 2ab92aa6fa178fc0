import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import keras, tf
from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.examples import make_examples
from keras_sllmr.scoring.knowledge import make_knowledge
from keras_sllmr.scoring.sampler import CandidateSampler
from keras_sllmr.store.clean import clean
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.row_scores import RowScores
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.store.training_rows import TrainingRows
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.offline_inputs import OfflineInputs

USERS, ITEMS, KINDS = 40, 60, 3


class World(NamedTuple):
    """Users who keep to one of three kinds of items."""

    split: LeaveOneOut
    tables: FeatureTables
    text: TextVectors
    #: the kind of each user and of each item; row 0 is padding.
    kinds: tuple[np.ndarray, np.ndarray]

    @property
    def spec(self) -> FeatureSpec:
        return self.tables.spec


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A store on disk, its features and random text vectors."""
    rng = np.random.default_rng(9)
    users, items = np.arange(USERS + 1) % KINDS, np.arange(ITEMS + 1) % KINDS
    events = []
    for user in range(1, USERS + 1):
        weights = np.where(items[1:] == users[user], 12.0, 1.0)
        chosen = rng.choice(
            ITEMS, 4 + user % 9, replace=False, p=weights / weights.sum()
        )
        events += [
            (f"u{user:02d}", f"i{item + 1:02d}", n) for n, item in enumerate(chosen)
        ]
    catalogue = pd.DataFrame({"item": [f"i{n:02d}" for n in range(1, ITEMS + 1)]})
    catalogue["text"] = "some text"
    catalogue["attributes"] = [
        [f"kind {items[n]}", f"year {n % 5}", "rare"][: n % 4]
        for n in range(1, ITEMS + 1)
    ]
    raw = clean(
        pd.DataFrame(events, columns=["user", "item", "order"]),
        catalogue,
        min_events=3,
        keep_unseen_items=True,
        source={"kind": "test"},
    )
    folder = tmp_path_factory.mktemp("training")
    store = FeatureStore.create(folder / "store", raw)
    split = LeaveOneOut(store)
    drawn = rng.normal(size=(ITEMS + 1, 6)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    drawn[0] = 0
    return World(
        split,
        FeatureTables(split, FeatureSpec.of(store, history_length=4)),
        TextVectors.create(folder / "text", store, drawn, encoder="random"),
        (users, items),
    )


@pytest.fixture(scope="session")
def scores_of(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], ScoreTable]:
    """Score tables of a teacher that knows the kinds, and of one that guesses."""
    made: dict[str, ScoreTable] = {}

    def scores(teacher: str) -> ScoreTable:
        if teacher not in made:
            made[teacher] = _table(
                world, tmp_path_factory.mktemp("scores") / teacher, teacher
            )
        return made[teacher]

    return scores


def _table(world: World, path: Any, teacher: str) -> ScoreTable:
    settings = CandidateSettings(near=0, tail=2, tail_near=0, seed=4)
    parts = CandidateSampler(world.split, settings).draw(np.arange(1, USERS + 1))
    rows = pd.concat(
        [part.frame(np.zeros(part.items.shape)) for part in parts], ignore_index=True
    )
    users, items = world.kinds
    rng = np.random.default_rng(1)
    score = rng.uniform(0, 1, len(rows))
    if teacher == "right":
        right = users[rows["user"]] == items[rows["item"]]
        # Hidden positives too: a teacher may be right about what kinds cannot tell.
        score = 0.2 * score + np.where(right | (rows["label"] == 1), 0.8, 0)
    else:
        # Right about half of the pairs of every probe, not just of many.
        negatives = pd.Series(score).where(rows["label"] == 0)
        middle = negatives.groupby(rows["user"]).transform("median")
        score = np.where(rows["label"] == 1, middle, score)
    return ScoreTable.create(
        path,
        world.split.store,
        rows.assign(score=score),
        teacher={"name": teacher},
        settings={},
        cost={},
    )


@pytest.fixture(scope="session")
def make_backbone(world: World) -> Callable[..., Any]:
    """A user's own functional model: the mean history times the item."""

    def make(seed: int = 0) -> Any:
        keras.utils.set_random_seed(seed)
        features = {
            "item": keras.Input((), dtype="int32", name="item"),
            "history": keras.Input(
                (world.spec.history_length,), dtype="int32", name="history"
            ),
        }
        table = keras.layers.Embedding(ITEMS + 1, 4, embeddings_initializer="normal")
        item, history = table(features["item"]), table(features["history"])
        pooled = keras.layers.GlobalAveragePooling1D()(history)
        both = keras.layers.Concatenate()(
            [item, pooled, keras.layers.Multiply()([item, pooled])]
        )
        return keras.Model(features, keras.layers.Dense(1)(both))

    return make


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Runs without graphs: for few steps, tracing would take most of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


class _HashEncoder:
    """A vector of six numbers a text, the same for equal texts; zeros for none."""

    name = "hash"

    def encode(
        self, texts: Any, progress: Callable[[int, int], None] | None = None
    ) -> np.ndarray:
        seeds = [zlib.crc32(text.encode()) for text in texts]
        drawn = [np.random.default_rng(seed).normal(size=6) for seed in seeds]
        known = np.array([bool(text) for text in texts])[:, np.newaxis]
        return np.where(known, drawn, 0).astype(np.float32)


@pytest.fixture(scope="session")
def offline(
    world: World,
    scores_of: Callable[[str], ScoreTable],
    tmp_path_factory: pytest.TempPathFactory,
) -> OfflineInputs:
    """All that methods read: a teacher who knows the kinds, and texts' vectors."""
    folder = tmp_path_factory.mktemp("offline")
    rows = TrainingRows(world.split, sets=2)
    users, items = world.kinds
    right = users[rows.users][:, np.newaxis] == items[rows.items]
    scores = np.where(right, 0.8, 0.3).astype(np.float32)
    scores[3, 1] = np.nan
    encoder = _HashEncoder()
    return OfflineInputs(
        scores=scores_of("right"),
        text=world.text,
        row_scores=RowScores.create(
            folder / "row_scores",
            rows,
            scores,
            teacher={"name": "right"},
            settings={},
            cost={},
        ),
        knowledge=make_knowledge(
            world.split, encoder, folder / "knowledge", item_texts=_names(world)
        ),
        examples=make_examples(
            world.split,
            encoder,
            world.text,
            folder / "examples",
            share=0.3,
            sets=2,
            history=4,
        ),
    )


def _names(world: World) -> list[str]:
    return ["", *(f"item {n}" for n in range(1, world.split.store.n_items + 1))]
