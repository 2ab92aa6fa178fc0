from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.embedding_bag import EmbeddingBag

SIZES = {"item": 6, "attribute": 4}
VOCABULARIES = {"item": "item", "history": "item", "kinds": "attribute"}


def _bags(**options: Any) -> EmbeddingBag:
    bags = EmbeddingBag(SIZES, VOCABULARIES, 2, **options)
    bags({"item": tf.constant([1])})
    shape = bags.table.shape
    bags.set_weights([np.arange(np.prod(shape), dtype=np.float32).reshape(shape)])
    return bags


def test_means_by_hand() -> None:
    # Rows of the table: item k is [2k, 2k + 1], attribute k is [12 + 2k, 13 + 2k].
    out = _bags()(
        {
            "item": tf.constant([3, 0]),
            "history": tf.constant([[0, 1, 4], [0, 0, 0]]),
            "kinds": tf.constant([[2, 2], [3, 0]]),
        }
    )
    # Bags stand in the order of their names: history, item, kinds.
    np.testing.assert_array_equal(
        out, [[[5, 6], [6, 7], [16, 17]], [[0, 0], [0, 0], [18, 19]]]
    )


def test_first_order_weights_are_summed_over_the_bags() -> None:
    out, weights = _bags(first_order=True)(
        {"item": tf.constant([3]), "history": tf.constant([[1, 2]])}
    )
    # Now three columns: item k is [3k, 3k + 1 | 3k + 2].
    np.testing.assert_array_equal(out, [[[4.5, 5.5], [9, 10]]])
    np.testing.assert_array_equal(weights, [[6.5 + 11]])


def test_places_without_pooling() -> None:
    out = _bags()({"history": tf.constant([[0, 2, 2], [5, 0, 1]])}, pool=False)
    np.testing.assert_array_equal(
        out, [[[0, 0], [4, 5], [4, 5]], [[10, 11], [0, 0], [2, 3]]]
    )


def test_initial_values() -> None:
    bags = EmbeddingBag({"a": 5000}, {"a": "a"}, 3, stddev=0.5, first_order=True)
    bags({"a": tf.constant([1])})
    table = bags.table.numpy()
    assert table[:, :3].std() == pytest.approx(0.5, rel=0.05)
    assert not table[:, 3].any()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("pool", [True, False])
def test_compiled_and_not_are_the_same(pool: bool, data: Any) -> None:
    ids = data.draw(
        st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1)
    )
    bags = _bags(first_order=True)
    inputs = {"history": tf.constant(ids)}

    def run() -> tuple[Any, ...]:
        with tf.GradientTape() as tape:
            out, weights = bags(inputs, pool=pool)
            loss = tf.reduce_sum(out * out) + tf.reduce_sum(tf.sin(weights))
        gradient = tape.gradient(loss, bags.table)
        return out, weights, tf.convert_to_tensor(gradient)

    for one, other in zip(run(), tf.function(run, jit_compile=True)(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_a_gradient_has_one_row_a_distinct_id() -> None:
    bags = _bags()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(bags({"history": tf.constant([[1, 1, 0], [4, 1, 0]])}))
    gradient = tape.gradient(loss, bags.table)
    assert isinstance(gradient, tf.IndexedSlices)
    assert sorted(gradient.indices.numpy()) == [1, 4]


def test_half_precision_leaves_the_table_whole() -> None:
    bags = _bags(dtype=keras.mixed_precision.Policy("mixed_bfloat16"))
    out = bags({"item": tf.constant([3])})
    assert out.dtype == tf.bfloat16 and bags.table.dtype == tf.float32
    np.testing.assert_array_equal(tf.cast(out, tf.float32), [[[6, 7]]])


def test_a_saved_model(tmp_path: Path) -> None:
    inputs = {
        "item": keras.Input((), dtype="int32", name="item"),
        "kinds": keras.Input((2,), dtype="int32", name="kinds"),
    }
    bags = _bags(first_order=True)
    model = keras.Model(inputs, bags(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    rows = {"item": np.array([2, 0]), "kinds": np.array([[1, 0], [2, 3]])}
    for one, other in zip(model(rows), loaded(rows), strict=True):
        np.testing.assert_array_equal(one, other)


def test_where_a_vocabulary_lies() -> None:
    assert _bags().rows("attribute") == slice(6, 10)


@pytest.mark.parametrize(
    ("sizes", "vocabularies", "dim"),
    [
        ({"item": 0}, {"item": "item"}, 2),
        ({"item": 3}, {"item": "item"}, 0),
        ({"item": 3}, {"item": "user"}, 2),
    ],
)
def test_wrong_arguments(
    sizes: dict[str, int], vocabularies: dict[str, str], dim: int
) -> None:
    with pytest.raises(ConfigError, match="Received: "):
        EmbeddingBag(sizes, vocabularies, dim)
