"""How unsure a trained model is of each user, for asking an LLM where it pays."""

from collections.abc import Callable

import numpy as np

from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.grid_scorer import GridScorer
from keras_sllmr.store.draws import permutation
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.trained_model import TrainedModel
from keras_sllmr.training.uncertainty import entropy

# Keeps this draw apart from others.
_KEY = 301


def user_uncertainty(
    trained: TrainedModel,
    split: LeaveOneOut,
    *,
    items: int = 200,
    chunk: int = 1024,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    r"""Mean predictive entropy of a model over a sample of the catalogue.

    \(q_u = \frac{1}{|S|} \sum_{i \in S} H(\sigma(f(u, i)))\), from the user's training
    events alone (paper 3.3's signal, of a user instead of a pair).

    Args:
        trained: the model.
        split: of the store that it was trained on.
        items: int. Size of the sample S, the same for all users. Defaults to `200`.
        chunk: int. Users at a time.
        seed: int. Of the sample.
        progress: called with (users done, all users).

    Returns:
        float64 `[n_users + 1]` in [0, 1]; entry 0 is 0.

    Raises:
        ConfigError: when the model was trained on a catalogue of another size.
    """
    store, spec = split.store, trained.spec
    if (spec.n_users, spec.n_items) != (store.n_users, store.n_items):
        raise ConfigError(
            "The model must be of this store. Received: a model of "
            f"{spec.n_users} users and {spec.n_items} items for {store.n_users} and "
            f"{store.n_items}"
        )
    tables = FeatureTables(split, spec, list(trained.backbone.input))
    names = [name for name in tables.names if name in spec.item_inputs]
    scorer = GridScorer(trained.backbone, item_inputs=names)
    sample = np.sort(1 + permutation(store.n_items, seed, _KEY)[:items])
    scorer.set_items(tables.item_features(sample))
    result = np.zeros(store.n_users + 1)
    for start in range(1, store.n_users + 1, chunk):
        users = np.arange(start, min(start + chunk, store.n_users + 1))
        features = tables.user_features(users, split.train_lengths[users])
        result[users] = np.mean(entropy(scorer.score(features)), axis=1)
        if progress:
            progress(int(users[-1]), store.n_users)
    return result
