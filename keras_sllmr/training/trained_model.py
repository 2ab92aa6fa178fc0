"""A trained model's folder."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

# The registry, too, is imported for the layers that saved models name.
from keras_sllmr.backbones import registry  # noqa: F401
from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import keras
from keras_sllmr.errors import StoreError
from keras_sllmr.scoring.retrieval import ExampleRetrieval
from keras_sllmr.store.manifest import read_manifest, verify_files

# Their registration as serialisable is what lets a saved model be loaded.
from keras_sllmr.training import selective_model  # noqa: F401

MODEL_VERSION = 1

#: what finds the examples of a row, a file of the models that read some.
RETRIEVAL = "retrieval.npz"


class TrainedModel:
    """A trained model's folder, opened.

    Args:
        path: folder that `train` wrote.

    Raises:
        StoreError: when it is missing or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(
            self.path, kind="model", schema_version=MODEL_VERSION
        )
        verify_files(self.path, self.manifest)
        try:
            self.model = keras.models.load_model(
                self.path / "model.keras", compile=False
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.path / 'model.keras'} cannot be loaded: {error}. Train it again."
            ) from error
        self.spec = FeatureSpec(**self.manifest["settings"]["features"])

    @property
    def backbone(self) -> Any:
        """The bare backbone: what is evaluated and served."""
        return self.model.backbone

    @cached_property
    def retrieval(self) -> ExampleRetrieval | None:
        """What finds a row's examples, of a model that reads some."""
        path = self.path / RETRIEVAL
        return ExampleRetrieval.load(path) if path.exists() else None

    @property
    def history(self) -> dict[str, Any]:
        """Epoch logs, the best epoch and the throughput."""
        return dict(self.manifest["history"])
