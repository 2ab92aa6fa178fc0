"""KAR: text vectors of user and item as one more part of a backbone's input."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sllmr.backbones.fields import Fields, frozen_table
from keras_sllmr.backbones.ranker import Inject
from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.experts import Experts
from keras_sllmr.layers.hybrid_experts import HybridExperts
from keras_sllmr.layers.seeds import spread_seed


def knowledge(
    users: np.ndarray,
    items: np.ndarray,
    *,
    shared: int = 2,
    specific: int = 3,
    units: Sequence[int] = (128, 32),
    dropout: float = 0.1,
    seed: int = 0,
) -> Inject:
    r"""Makes what a backbone takes as `inject`: two towers of hybrid experts.

    \([\sum_k g_k(x_u)\, E_k(x_u);\ \sum_k g'_k(x_i)\, E'_k(x_i)]\), where the towers of
    user and item share some of their experts. The vectors are frozen tables inside the
    model, looked up by the indices of user and item.

    Args:
        users: float `[n_users + 1, t]`. Row 0, of an unknown user, is zeros.
        items: float `[n_items + 1, t]`, of the same t.
        shared: int. Experts of both towers. Defaults to `2`.
        specific: int. Experts of each tower alone. Defaults to `3`.
        units: ints. Of an expert's layers. Defaults to `(128, 32)`.
        dropout: float. Inside the experts. Defaults to `0.1`.
        seed: int. Of the initial weights. Defaults to `0`.

    Raises:
        ConfigError: when the vectors' lengths differ, or the backbone's spec has no
            `user_index`.

    Example:
        >>> from keras_sllmr.backbones.deepfm import deepfm
        >>> from keras_sllmr.backbones.features import FeatureSpec
        >>> spec = FeatureSpec(n_users=5, n_items=7, n_attributes=3, user_index=True)
        >>> towers = knowledge(np.ones([6, 8]), np.ones([8, 8]))
        >>> deepfm(spec, embedding_dim=4, inject=towers).output_shape
        (None, 1)

    Reference:
        Xi et al., "Towards open-world recommendation with knowledge augmentation from
        large language models", RecSys 2024.
    """
    if users.ndim != 2 or users.shape[1:] != items.shape[1:]:
        raise ConfigError(
            "`users` and `items` must be vectors of the same length. Received: shapes "
            f"{users.shape} and {items.shape}"
        )

    def inject(fields: Fields) -> Any:
        if "user" not in fields.inputs:
            raise ConfigError(
                "Knowledge of users needs their index. Received: the inputs "
                f"{', '.join(fields.inputs)}. Set `user_index` of the FeatureSpec."
            )
        seeds = spread_seed(seed, 3)
        both = Experts(shared, units, dropout, seed=seeds[0], name="shared_experts")
        towers = []
        for side, vectors, own in (
            ("user", users, seeds[1]),
            ("item", items, seeds[2]),
        ):
            read = frozen_table(vectors, {side: side}, name=f"{side}_knowledge")
            x = keras.layers.Flatten(name=f"{side}_knowledge_flat")(
                read({side: fields.inputs[side]})
            )
            tower = HybridExperts(
                specific, units, dropout, seed=own, name=f"{side}_experts"
            )
            towers.append(tower([x, both(x)]))
        return keras.layers.Concatenate(name="knowledge")(towers)

    return inject
