"""AutoInt: self-attention over the fields and a perceptron."""

from typing import Any

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.ranker import head, ranker
from keras_sllmr.compat import deepctr_layers, keras
from keras_sllmr.errors import ConfigError


def autoint(
    spec: FeatureSpec,
    *,
    att_layer_num: int = 1,
    att_embedding_size: int = 32,
    att_head_num: int = 2,
    att_res: bool = True,
    seed: int = 0,
    **options: Any,
) -> Any:
    r"""AutoInt with a perceptron as a functional Keras model that ends in a logit.

    \(\hat y = b + \sum_f w_f + w^\top \mathrm{Att}(e) + \mathrm{MLP}(e)\), where a
    layer gives field f \(\mathrm{ReLU}\big(\big\Vert_h \sum_g \alpha^h_{fg} V_h e_g +
    R e_f\big)\) with \(\alpha^h_{fg} = \mathrm{softmax}_g\langle Q_h e_f, K_h e_g
    \rangle\).

    Args:
        spec: sizes of the features.
        att_layer_num: int. Layers of attention. Defaults to `1`.
        att_embedding_size: int. Units of a head. Defaults to `32`: 64 with two heads.
        att_head_num: int. Defaults to `2`.
        att_res: bool. Residual connections, \(R\)? Defaults to `True`.
        seed: int. See `ranker`.
        **options: of every backbone, with their defaults: see `ranker`.

    Returns:
        A `keras.Model` from a dict of features to logits `[batch, 1]`.

    Raises:
        ConfigError: when a number of layers, units or heads is below 1.

    Example:
        >>> spec = FeatureSpec(n_users=5, n_items=7, n_attributes=3)
        >>> autoint(spec, embedding_dim=4, att_embedding_size=3).output_shape
        (None, 1)

    Reference:
        Song et al., "AutoInt: Automatic feature interaction learning via self-attentive
        neural networks", CIKM 2019.
    """
    if min(att_layer_num, att_embedding_size, att_head_num) < 1:
        raise ConfigError(
            "`att_layer_num`, `att_embedding_size` and `att_head_num` must be at least "
            f"1. Received: {att_layer_num}, {att_embedding_size}, {att_head_num}"
        )

    def interaction(fields: Any) -> Any:
        for index in range(att_layer_num):
            fields = deepctr_layers.InteractingLayer(
                att_embedding_size,
                att_head_num,
                att_res,
                # A layer takes three seeds in a row.
                seed=seed + 3 * index,
                name=f"attention_{index + 1}",
            )(fields)
        return head("attention_logit")(keras.layers.Flatten(name="attended")(fields))

    return ranker("autoint", spec, interaction, seed=seed, place="field", **options)
