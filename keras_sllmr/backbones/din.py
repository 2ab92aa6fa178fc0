"""DIN: a history whose items count by how they match the target."""

from collections.abc import Sequence
from typing import Any

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.ranker import ranker
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.attention_pooling import AttentionPooling
from keras_sllmr.layers.padding_mask import PaddingMask


def din(
    spec: FeatureSpec,
    *,
    att_hidden_size: Sequence[int] = (64, 16),
    att_activation: str = "dice",
    att_weight_normalization: bool = False,
    **options: Any,
) -> Any:
    r"""DIN as a functional Keras model that ends in a logit.

    \(\hat y = \mathrm{MLP}(e)\), where the history's field is \(\sum_k a(q, h_k)\,
    h_k\) over its items, with the target item \(q\) and the local activation unit
    \(a(q, h) = \mathrm{MLP}_a[q, h, q - h, q \circ h]\). The other fields, attributes
    and text, are pooled by their mean.

    Args:
        spec: sizes of the features.
        att_hidden_size: ints. Units of the local activation unit. Defaults to
            `(64, 16)`.
        att_activation: str. Its activation. `"dice"`, the paper's, normalises by the
            batch while training, padding included; any other, such as `"sigmoid"`,
            leaves rows independent of each other. Defaults to `"dice"`.
        att_weight_normalization: bool. A softmax over the history? Defaults to
            `False`, which keeps the strength of an interest.
        **options: of every backbone, with their defaults: see `ranker`.

    Returns:
        A `keras.Model` from a dict of features to logits `[batch, 1]`.

    Raises:
        ConfigError: when `att_hidden_size` is empty or holds a number below 1.

    Example:
        >>> spec = FeatureSpec(n_users=5, n_items=7, n_attributes=3)
        >>> din(spec, embedding_dim=4).output_shape
        (None, 1)

    Reference:
        Zhou et al., "Deep interest network for click-through rate prediction", KDD
        2018.
    """
    units = list(att_hidden_size)
    if min(units, default=0) < 1:
        raise ConfigError(
            "`att_hidden_size` must hold positive numbers. Received: "
            f"att_hidden_size={units}"
        )

    def attend(target: Any, history: Any, ids: Any) -> Any:
        filled = PaddingMask(name="history_embedding_masked")([history, ids])
        return AttentionPooling(
            units,
            att_activation,
            weight_normalization=att_weight_normalization,
            supports_masking=True,
            name="history_embedding_field",
        )([target, filled])

    return ranker("din", spec, first_order=False, pool_history=attend, **options)
