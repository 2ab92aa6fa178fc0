from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.scoring.descriptions import chain_texts
from keras_sllmr.scoring.examples import example_pool, make_examples, retrieval_of
from keras_sllmr.store.examples import Examples
from keras_sllmr.store.history import history_before
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.store.training_rows import TrainingRows

Encoder = Any


@pytest.fixture(scope="module")
def made(
    shop: LeaveOneOut,
    vectors: TextVectors,
    letters: Encoder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Examples:
    path = tmp_path_factory.mktemp("examples") / "examples"
    return make_examples(
        shop, letters, vectors, path, share=0.5, sets=2, seed=1, history=6, chunk=50
    )


def test_a_pool_is_positives_each_with_one_of_its_negatives(shop: LeaveOneOut) -> None:
    rows = TrainingRows(shop, sets=3, seed=4)
    pool = example_pool(rows, share=0.25)
    assert len(pool) == 2 * round(0.25 * len(rows))
    table = (pool.users, pool.positions, pool.items, pool.labels)
    assert not any(column[0] for column in table)
    assert pool.labels[1:].tolist() == [1, 0] * (len(pool) // 2)
    keys = zip(rows.users, rows.positions, strict=True)
    of = dict(zip(keys, rows.items, strict=True))
    sets = set()
    for at in range(1, len(pool), 2):
        row = of.pop((pool.users[at], pool.positions[at]))  # none is there twice
        assert pool.items[at] == row[0]
        assert pool.users[at + 1] == pool.users[at]
        assert pool.positions[at + 1] == pool.positions[at]
        sets.add(row.tolist().index(pool.items[at + 1]))
    assert sets == {1, 2, 3}


def test_a_pool_is_a_function_of_the_seed(shop: LeaveOneOut) -> None:
    one, same, other = (
        example_pool(TrainingRows(shop, seed=seed)).users.tolist() for seed in (1, 1, 2)
    )
    assert one == same != other
    rows = TrainingRows(shop)
    assert len(example_pool(rows, share=1e-9)) == 2
    assert len(example_pool(rows, share=1)) == 2 * len(rows)
    for share in (0, -1, 1.5):
        with pytest.raises(ConfigError, match=r"\(0, 1\]. Received: share="):
            example_pool(rows, share=share)


def test_no_row_sees_itself_or_its_future(shop: LeaveOneOut, made: Examples) -> None:
    rows = made.rows(shop)
    users = made.users[made.neighbours]
    own = users == rows.users[:, None, None]
    earlier = made.positions[made.neighbours] < rows.positions[:, None, None]
    assert (earlier[own]).all() and own.any()
    assert made.neighbours.shape == (*rows.items.shape, 4)
    labels = np.sort(made.labels[made.neighbours], axis=-1)
    assert (labels == [0, 0, 1, 1]).all()


def test_chains_and_their_vectors(
    shop: LeaveOneOut, letters: Encoder, made: Examples
) -> None:
    pool = made.pool
    told = chain_texts(shop, pool.users, pool.positions, pool.items, pool.labels)
    assert made.chains == told
    np.testing.assert_array_equal(made.vectors, letters.encode(told))
    assert (made.encoder, made.source) == ("letters", "description")
    settings = made.manifest["settings"]
    assert (settings["k"], settings["history"], settings["share"]) == (4, 6, 0.5)
    assert (settings["dimensions"], settings["text"]) == (192, "random")


def test_retrieval_of_a_table_finds_the_same(
    shop: LeaveOneOut, vectors: TextVectors, made: Examples
) -> None:
    rows = made.rows(shop)
    shown = history_before(shop.store.events, rows.users, rows.positions, length=6)
    found = retrieval_of(made, shop, vectors)(
        shown, rows.items[:, 1], rows.users, rows.positions
    )
    np.testing.assert_array_equal(found, made.neighbours[:, 1])


def test_given_chains_and_progress(
    shop: LeaveOneOut, vectors: TextVectors, letters: Encoder, tmp_path: Path
) -> None:
    rows = TrainingRows(shop, sets=1)
    size = len(example_pool(rows))
    chains, told = ["", *("because" for _ in range(size))], []
    made = make_examples(
        shop,
        letters,
        vectors,
        tmp_path / "examples",
        sets=1,
        k=2,
        dimensions=None,
        chains=chains,
        source="llm",
        cost={"usd": 1.0},
        progress=lambda done, total: told.append((done, total)),
    )
    assert made.chains == chains and made.source == "llm"
    assert made.manifest["cost"] == {"usd": 1.0}
    assert made.neighbours.shape == (len(rows), 2, 2)
    total = size + len(rows)
    assert told[-1] == (total, total) and told == sorted(told)
    with pytest.raises(DataError, match="a text an example .*Received: 1 texts"):
        make_examples(
            shop, letters, vectors, tmp_path / "none", sets=1, chains=["because"]
        )
    assert not (tmp_path / "none").exists()
