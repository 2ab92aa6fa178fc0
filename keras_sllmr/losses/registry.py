"""Base losses by name: what `loss:` of a training run means."""

from collections.abc import Callable
from typing import Any

from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError
from keras_sllmr.losses.bpr import BPR
from keras_sllmr.losses.info_nce import InfoNCE

BASE_LOSSES: dict[str, Callable[..., Any]] = {
    "bce": lambda: keras.losses.BinaryCrossentropy(from_logits=True),
    "bpr": BPR,
    "info_nce": InfoNCE,
}


def base_loss(name: str) -> Any:
    r"""The loss \(\mathcal L_{rec}\) on the labelled rows, from its name.

    All take labels and logits `[groups, 1 + K]`, a positive and its K negatives a row;
    `bce`, which looks at each row alone, also `[rows, 1]`.

    Args:
        name: `"bce"` (binary cross-entropy), `"bpr"` or `"info_nce"`.

    Returns:
        A `keras.losses.Loss` of logits.

    Raises:
        ConfigError: on an unknown name.

    Example:
        >>> base_loss("bpr").name
        'bpr'

    Reference:
        The paper's Algorithm 1, line 9.
    """
    if name not in BASE_LOSSES:
        raise ConfigError(
            f"`loss` must be one of {', '.join(BASE_LOSSES)}. Received: loss={name!r}"
        )
    return BASE_LOSSES[name]()
