"""The one place that imports TensorFlow, Keras 2 and DeepCTR.

tensorflow-recommenders refuses Keras 3 and DeepCTR's DIN breaks on it, so the
package runs on Keras 2 (`tf_keras`), which TensorFlow picks when
`TF_USE_LEGACY_KERAS=1` is set before it is first used.
"""

import importlib
import os
import sys
import types
from typing import Any

from keras_sllmr.errors import EnvironmentProblem

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import tensorflow as tf


def _require_keras_2() -> Any:
    if not tf.keras.layers.Layer.__module__.startswith("tf_keras"):
        version = getattr(tf.keras, "__version__", "of an unknown version")
        raise EnvironmentProblem(
            "keras_sllmr needs Keras 2 (tf_keras), but TensorFlow has already loaded "
            f"Keras {version}. Set TF_USE_LEGACY_KERAS=1 in the environment, or import "
            "keras_sllmr before tensorflow. Received: "
            f"TF_USE_LEGACY_KERAS={os.environ.get('TF_USE_LEGACY_KERAS')}"
        )
    return tf.keras


keras = _require_keras_2()
# Where TensorFlow was imported before TF_USE_LEGACY_KERAS was set, `tf.keras` is Keras 2
# and `import tensorflow.keras`, as DeepCTR has it, would be Keras 3.
sys.modules.setdefault(
    "tensorflow.keras", importlib.import_module("tf_keras.api._v2.keras")
)


def _import_deepctr() -> Any:
    # Importing deepctr starts a thread that asks the package index for a newer
    # version. Standing in for its `utils` during the import keeps users' machines quiet.
    stand_in = types.ModuleType("deepctr.utils")
    stand_in.check_version = lambda version: None  # type: ignore[attr-defined]
    placed = "deepctr.utils" not in sys.modules
    if placed:
        sys.modules["deepctr.utils"] = stand_in
    try:
        from deepctr import layers
        from deepctr.layers import interaction
    finally:
        if placed:
            sys.modules.pop("deepctr.utils", None)
    # CrossNet prints its parameterisation whenever one is made or loaded.
    interaction.print = lambda *values: None
    # Unregistered layers would make every saved model need `custom_objects`.
    for name, layer in layers.custom_objects.items():
        if isinstance(layer, type) and issubclass(layer, keras.layers.Layer):
            keras.utils.register_keras_serializable("deepctr", name)(layer)
    return layers


deepctr_layers = _import_deepctr()


def in_xla() -> bool:
    """Whether XLA compiles the function being traced."""
    from tf_keras.src.utils import control_flow_util

    return bool(
        control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
    )


__all__ = ["deepctr_layers", "in_xla", "keras", "tf"]
