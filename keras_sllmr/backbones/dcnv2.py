"""DCNv2: a cross network of matrices, or of low-rank experts, and a perceptron."""

from typing import Any

from keras_sllmr.backbones.cross import crossed
from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.ranker import ranker
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.cross_net import CrossNet, CrossNetMix


def dcnv2(
    spec: FeatureSpec,
    *,
    cross_num: int = 2,
    low_rank: int | None = None,
    experts: int = 4,
    **options: Any,
) -> Any:
    r"""DCNv2 as a functional Keras model that ends in a logit.

    \(\hat y = b + \sum_f w_f + w^\top x_L + \mathrm{MLP}(e)\), where \(x_0\) is all
    fields in a row and \(x_{l+1} = x_0 \circ (W_l x_l + b_l) + x_l\). With `low_rank`,
    \(x_{l+1} = \sum_k g_k(x_l)\; x_0 \circ \big(U^k_l \tanh(C^k_l \tanh(V^{k\top}_l
    x_l)) + b_l\big) + x_l\), where \(g\) is a softmax over the experts.

    Args:
        spec: sizes of the features.
        cross_num: int. L, cross layers. Defaults to `2`.
        low_rank: int. Rank of an expert's matrices. Defaults to none: one matrix of
            full rank a layer, without experts.
        experts: int. Experts of a layer; read with `low_rank` alone. Defaults to `4`.
        **options: of every backbone, with their defaults: see `ranker`.

    Returns:
        A `keras.Model` from a dict of features to logits `[batch, 1]`.

    Raises:
        ConfigError: when `cross_num`, `low_rank` or `experts` is below 1.

    Example:
        >>> spec = FeatureSpec(n_users=5, n_items=7, n_attributes=3)
        >>> dcnv2(spec, embedding_dim=4, low_rank=2).output_shape
        (None, 1)

    Reference:
        Wang et al., "DCN V2: Improved deep & cross network and practical lessons for
        web-scale learning to rank systems", WWW 2021.
    """
    if low_rank is None:
        cross = crossed(cross_num, CrossNet, parameterization="matrix")
    elif min(low_rank, experts) < 1:
        raise ConfigError(
            "`low_rank` and `experts` must be at least 1. Received: "
            f"low_rank={low_rank}, experts={experts}"
        )
    else:
        cross = crossed(
            cross_num,
            CrossNetMix,
            low_rank=low_rank,
            num_experts=experts,
        )
    return ranker("dcnv2", spec, cross, **options)
