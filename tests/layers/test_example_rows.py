from pathlib import Path

import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.example_rows import ExampleRows

TABLES = {
    "item": np.array([0, 7, 5], np.int32),
    "history": np.array([[0, 0], [1, 2], [0, 3]], np.int32),
    "chain.vector": np.array([[0, 0], [0.5, 1], [2, 3]], np.float32),
}
INDEX = np.array([[2, 1], [0, 2]], np.int32)


def test_rows_by_their_index() -> None:
    found = ExampleRows.of(TABLES)(tf.constant(INDEX))
    for name, table in TABLES.items():
        np.testing.assert_array_equal(found[name], table[INDEX.ravel()])
        assert found[name].dtype == table.dtype


def test_tables_are_weights_that_nothing_trains(tmp_path: Path) -> None:
    index = keras.Input((2,), dtype="int32")
    layer = ExampleRows.of(TABLES)
    model = keras.Model(index, layer(index))
    assert not layer.trainable_weights and len(layer.weights) == 3
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    for name, table in TABLES.items():
        np.testing.assert_array_equal(loaded(INDEX)[name], table[INDEX.ravel()])


def test_mixed_precision_leaves_the_tables_alone() -> None:
    layer = ExampleRows.of(TABLES, dtype="mixed_bfloat16")
    assert layer(INDEX)["chain.vector"].dtype == "float32"
    assert layer(INDEX)["item"].dtype == "int32"
