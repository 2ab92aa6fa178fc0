"""Backbones by name, so that a configuration can choose one."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_sllmr.backbones.deepfm import deepfm
from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.errors import ConfigError

BACKBONES: dict[str, Callable[..., Any]] = {"deepfm": deepfm}


def build_backbone(
    name: str,
    spec: FeatureSpec,
    *,
    text_vectors: np.ndarray | None = None,
    seed: int = 0,
    **hyperparameters: Any,
) -> Any:
    """Builds a registered backbone.

    Args:
        name: str. A key of `BACKBONES`.
        spec: sizes of the features.
        text_vectors: float `[n_items + 1, t]`. Frozen item text vectors, or none.
        seed: int. Of the initial weights.
        **hyperparameters: as the backbone's own function takes them.

    Raises:
        ConfigError: on an unknown name or hyper-parameter.
    """
    if name not in BACKBONES:
        raise ConfigError(
            f"`backbone` must be one of {', '.join(sorted(BACKBONES))}. "
            f"Received: backbone={name!r}"
        )
    try:
        return BACKBONES[name](
            spec, text_vectors=text_vectors, seed=seed, **hyperparameters
        )
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            raise ConfigError(f"The backbone {name!r}: {error}.") from error
        raise
