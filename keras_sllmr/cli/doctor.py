"""What is installed here, and what is missing."""

import importlib.metadata
import os
import platform
import shutil
import sys
from typing import Any

from keras_sllmr.cli.quiet import start_tensorflow

_PACKAGES = (
    "keras_sllmr",
    "tensorflow",
    "tf_keras",
    "deepctr",
    "tensorflow-recommenders",
    "tensorflow-metadata",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "onnxruntime",
    "tokenizers",
    "openai",
)


def diagnose() -> dict[str, Any]:
    """Versions, Keras mode, cores, paths, optional parts and problems."""
    problems: list[str] = []
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "working folder": os.getcwd(),
        "free disk (GB)": round(shutil.disk_usage(".").free / 1e9, 1),
        "versions": {name: _version(name, problems) for name in _PACKAGES},
    }
    try:
        start_tensorflow()
        from keras_sllmr.compat import keras, tf

        report["keras mode"] = (
            f"Keras 2 ({keras.layers.Layer.__module__.split('.')[0]})"
        )
        report["devices"] = [
            device.name for device in tf.config.list_physical_devices()
        ]
    except ImportError as error:
        problems.append(str(error))
    report["embedded data and teacher"] = _embedded()
    server = os.environ.get("TENSORFLOW_MODEL_SERVER", "tensorflow_model_server")
    report["tensorflow_model_server"] = shutil.which(server) or "not found (optional)"
    report["problems"] = problems
    return report


def _version(name: str, problems: list[str]) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        problems.append(f"{name} is not installed: pip install {name}")
        return "missing"


def _embedded() -> str:
    from keras_sllmr.errors import EnvironmentProblem
    from keras_sllmr.scoring.encoders import MiniLM
    from keras_sllmr.store.importers.movielens import embedded_folder

    try:
        MiniLM()
        embedded_folder()
    except EnvironmentProblem as error:
        return f"missing (optional): {error}"
    return "there"
