"""DCN: a cross network of vectors and a perceptron."""

from typing import Any

from keras_sllmr.backbones.cross import crossed
from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.ranker import ranker
from keras_sllmr.layers.cross_net import CrossNet


def dcn(spec: FeatureSpec, *, cross_num: int = 3, **options: Any) -> Any:
    r"""DCN as a functional Keras model that ends in a logit.

    \(\hat y = b + \sum_f w_f + w^\top x_L + \mathrm{MLP}(e)\), where \(x_0\) is all
    fields in a row and \(x_{l+1} = x_0\, x_l^\top w_l + b_l + x_l\).

    Args:
        spec: sizes of the features.
        cross_num: int. L, cross layers. Defaults to `3`.
        **options: of every backbone, with their defaults: see `ranker`.

    Returns:
        A `keras.Model` from a dict of features to logits `[batch, 1]`.

    Raises:
        ConfigError: when `cross_num` is below 1.

    Example:
        >>> spec = FeatureSpec(n_users=5, n_items=7, n_attributes=3)
        >>> dcn(spec, embedding_dim=4).output_shape
        (None, 1)

    Reference:
        Wang et al., "Deep & cross network for ad click predictions", ADKDD 2017.
    """
    cross = crossed(cross_num, CrossNet, parameterization="vector")
    return ranker("dcn", spec, cross, **options)
