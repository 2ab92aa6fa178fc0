"""Backbones by name, so that a configuration can choose one."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_sllmr.backbones.autoint import autoint
from keras_sllmr.backbones.dcn import dcn
from keras_sllmr.backbones.dcnv2 import dcnv2
from keras_sllmr.backbones.deepfm import deepfm
from keras_sllmr.backbones.din import din
from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.ranker import Inject
from keras_sllmr.backbones.xdeepfm import xdeepfm
from keras_sllmr.errors import ConfigError

BACKBONES: dict[str, Callable[..., Any]] = {
    "deepfm": deepfm,
    "xdeepfm": xdeepfm,
    "autoint": autoint,
    "dcn": dcn,
    "dcnv2": dcnv2,
    "din": din,
}


def build_backbone(
    name: str,
    spec: FeatureSpec,
    *,
    text_vectors: np.ndarray | None = None,
    seed: int = 0,
    inject: Inject | None = None,
    **hyperparameters: Any,
) -> Any:
    """Builds a registered backbone.

    Args:
        name: str. A key of `BACKBONES`.
        spec: sizes of the features.
        text_vectors: float `[n_items + 1, t]`. Frozen item text vectors, or none.
        seed: int. Of the initial weights.
        inject: gives knowledge of a row, see `backbones.knowledge`; or none.
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
            spec,
            text_vectors=text_vectors,
            seed=seed,
            inject=inject,
            **hyperparameters,
        )
    except TypeError as error:
        if re.search("unexpected keyword|multiple values", str(error)):
            raise ConfigError(f"The backbone {name!r}: {error}.") from error
        raise
