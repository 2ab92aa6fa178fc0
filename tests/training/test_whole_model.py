from keras_sllmr.compat import keras
from keras_sllmr.training.whole_model import tables_in_parts, whole_model


def test_a_model_without_parts_is_itself() -> None:
    """Parts take servers: see the tests of distributed training."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    assert tables_in_parts(model) == []
    assert whole_model(model, lambda: None) is model
