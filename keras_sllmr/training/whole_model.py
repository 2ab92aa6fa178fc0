"""A model in one piece of one whose tables lie in parts on several servers."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.layers.tables import partitioned


def tables_in_parts(model: Any) -> list[Any]:
    """The variables of a model that lie in parts."""
    return [
        value
        for layer in model.submodules
        for value in vars(layer).values()
        if partitioned(value)
    ]


def whole_model(model: Any, make: Callable[[], Any]) -> Any:
    """The model itself, or a new one with its weights when some are in parts.

    Args:
        model: a model, e.g. of a parameter server's strategy.
        make: makes a model of the same layers, outside of the strategy.
    """
    if not tables_in_parts(model):
        return model
    whole = make()
    # A checkpoint knows variables by their places in the model and joins the parts.
    with tempfile.TemporaryDirectory(prefix="sllmr-whole-") as folder:
        path = str(Path(folder) / "weights")
        tf.train.Checkpoint(model=model).write(path)
        kept = tf.train.Checkpoint(model=whole).read(path)
        kept.assert_existing_objects_matched()
    return whole
