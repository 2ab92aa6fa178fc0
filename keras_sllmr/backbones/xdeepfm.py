"""xDeepFM: a compressed interaction network and a perceptron."""

from collections.abc import Sequence
from typing import Any

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.ranker import head, ranker
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.cin import CIN


def xdeepfm(
    spec: FeatureSpec,
    *,
    cin_layer_size: Sequence[int] = (100, 100, 100),
    cin_split_half: bool = True,
    cin_activation: str = "linear",
    seed: int = 0,
    **options: Any,
) -> Any:
    r"""XDeepFM as a functional Keras model that ends in a logit.

    \(\hat y = b + \sum_f w_f + w^\top [\sum_d x^1_{\cdot d}, \dots, \sum_d
    x^K_{\cdot d}] + \mathrm{MLP}(e)\), where feature map h of layer k is
    \(x^k_h = \phi\big(\sum_{i,j} W^{k,h}_{ij}\, x^{k-1}_i \circ e_j\big)\).

    Args:
        spec: sizes of the features.
        cin_layer_size: ints. Feature maps of each layer. Defaults to `(100, 100, 100)`.
        cin_split_half: bool. Does half of a layer's maps go to the next layer, the
            other half to the logit? Otherwise all go to both. Defaults to `True`.
        cin_activation: str. \(\phi\). Defaults to `"linear"`, the paper's choice.
        seed: int. See `ranker`.
        **options: of every backbone, with their defaults: see `ranker`.

    Returns:
        A `keras.Model` from a dict of features to logits `[batch, 1]`.

    Raises:
        ConfigError: when there is no layer, or an odd number of maps to be halved.

    Example:
        >>> spec = FeatureSpec(n_users=5, n_items=7, n_attributes=3)
        >>> xdeepfm(spec, embedding_dim=4, cin_layer_size=(6, 6)).output_shape
        (None, 1)

    Reference:
        Lian et al., "xDeepFM: Combining explicit and implicit feature interactions for
        recommender systems", KDD 2018.
    """
    sizes = list(cin_layer_size)
    odd = cin_split_half and any(size % 2 for size in sizes[:-1])
    if not sizes or min(sizes) < 1 or odd:
        raise ConfigError(
            "`cin_layer_size` must hold positive numbers, even but for the last where "
            "`cin_split_half` halves them. Received: "
            f"cin_layer_size={sizes}, cin_split_half={cin_split_half}"
        )

    def interaction(fields: Any) -> Any:
        maps = CIN(
            sizes, cin_activation, cin_split_half, l2_reg=0.0, seed=seed, name="cin"
        )(fields)
        return head("cin_logit")(maps)

    return ranker("xdeepfm", spec, interaction, seed=seed, place="field", **options)
