"""Each in a process of its own: what an import does shows in a fresh one alone."""

import json
import os
import subprocess
import sys
import textwrap
from typing import Any


def _run(code: str, **environment: str) -> Any:
    """Runs code and returns what it printed last, as JSON."""
    kept = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**kept, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_alone_is_quick() -> None:
    found = _run(
        """
        import json, os, sys
        import keras_sllmr
        import keras_sllmr.errors, keras_sllmr.settings
        heavy = {"tensorflow", "tf_keras", "keras", "deepctr", "pandas"}
        print(json.dumps({
            "heavy": sorted(heavy & set(sys.modules)),
            "keras": os.environ["TF_USE_LEGACY_KERAS"],
        }))
        """
    )
    assert found == {"heavy": [], "keras": "1"}


def test_imports_keras_2_without_a_thread_or_a_request() -> None:
    found = _run(
        """
        import json, sys, threading
        import requests
        calls, started = [], []
        requests.get = lambda *args, **kwargs: calls.append(args)
        start = threading.Thread.start
        def watched(thread):
            started.append(thread.name)
            start(thread)
        threading.Thread.start = watched
        from keras_sllmr.compat import deepctr_layers, keras, tf
        loaded = keras.layers.deserialize(
            keras.layers.serialize(deepctr_layers.FM(name="fm"))
        )
        print(json.dumps({
            "calls": calls,
            "started": started,
            "threads": [thread.name for thread in threading.enumerate()],
            "keras 2": keras.layers.Layer.__module__.startswith("tf_keras"),
            "layer": type(loaded).__name__,
            "stand_in": "deepctr.utils" in sys.modules,
        }))
        """
    )
    assert found == {
        "calls": [],
        "started": [],
        "threads": ["MainThread"],
        "keras 2": True,
        "layer": "FM",
        "stand_in": False,
    }


def test_keras_3_before_it_is_an_error_that_says_what_to_do() -> None:
    found = _run(
        """
        import json
        import tensorflow as tf
        tf.keras.layers.Layer
        from keras_sllmr.errors import EnvironmentProblem
        try:
            import keras_sllmr.compat
        except EnvironmentProblem as error:
            print(json.dumps({"error": str(error), "code": error.exit_code}))
        """
    )
    assert found["code"] == 5
    for part in ("needs Keras 2 (tf_keras)", "Keras 3", "Set TF_USE_LEGACY_KERAS=1"):
        assert part in found["error"]


def test_tensorflow_may_be_imported_first() -> None:
    found = _run(
        """
        import json
        import tensorflow as tf
        from keras_sllmr.backbones.deepfm import deepfm
        from keras_sllmr.backbones.features import FeatureSpec
        from tensorflow.keras.layers import Dense
        model = deepfm(FeatureSpec(5, 7, 3), embedding_dim=4)
        print(json.dumps([model.output_shape[1], Dense is tf.keras.layers.Dense]))
        """
    )
    assert found == [1, True]
