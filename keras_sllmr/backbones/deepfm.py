"""DeepFM: a factorisation machine and a perceptron over shared embeddings."""

from typing import Any

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.ranker import ranker
from keras_sllmr.compat import deepctr_layers


def deepfm(spec: FeatureSpec, **options: Any) -> Any:
    r"""DeepFM as a functional Keras model that ends in a logit.

    \(\hat y = b + \sum_f w_f + \sum_{f<g} \langle e_f, e_g\rangle + \mathrm{MLP}(e)\)

    Args:
        spec: sizes of the features.
        **options: of every backbone, with their defaults: see `ranker`.

    Returns:
        A `keras.Model` from a dict of features to logits `[batch, 1]`.

    Example:
        >>> spec = FeatureSpec(n_users=5, n_items=7, n_attributes=3)
        >>> deepfm(spec, embedding_dim=4).output_shape
        (None, 1)

    Reference:
        Guo et al., "DeepFM: A factorization-machine based neural network for CTR
        prediction", IJCAI 2017.
    """

    def interaction(fields: Any) -> Any:
        return deepctr_layers.FM(name="fm")(fields)

    return ranker("deepfm", spec, interaction, place="deep", **options)
