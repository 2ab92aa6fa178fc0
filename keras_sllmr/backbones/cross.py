"""The cross network of DCN and DCNv2 as a part of a logit."""

from collections.abc import Callable
from typing import Any

from keras_sllmr.backbones.ranker import head
from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError


def crossed(cross_num: int, layer: Callable[..., Any], **arguments: Any) -> Any:
    """Makes a function from fields `[batch, F, d]` and more to a cross network's logit.

    Args:
        cross_num: int. Cross layers.
        layer: the layer that holds them all.
        **arguments: of that layer.

    Raises:
        ConfigError: when there is no layer.
    """
    if cross_num < 1:
        raise ConfigError(f"`cross_num` must be at least 1. Received: {cross_num}")

    def interaction(fields: Any, *beside: Any) -> Any:
        flat = keras.layers.Flatten(name="flat_cross")(fields)
        if beside:
            flat = keras.layers.Concatenate(name="flat_cross_and_knowledge")(
                [flat, *beside]
            )
        # With a number for a seed, DeepCTR starts all its cross layers off alike;
        # with none, they follow Keras's seed.
        cross = layer(layer_num=cross_num, seed=None, name="cross", **arguments)
        return head("cross_logit")(cross(flat))

    return interaction
