"""The validation AUC over sampled negatives, epoch by epoch."""

from typing import Any

import numpy as np

from keras_sllmr.compat import keras, tf


class SampledAUC(keras.callbacks.Callback):
    """Adds `val_auc_sampled` and `val_log_likelihood` to each epoch's logs.

    The latter is the mean log-likelihood of the rows' labels, as high as logits are right
    as chances and not in their order alone.

    Args:
        positives: dataset of feature batches, the rows' positives.
        negatives: the same rows with their sampled negatives.
    """

    def __init__(self, positives: Any, negatives: Any) -> None:
        super().__init__()
        self._datasets = (positives.cache(), negatives.cache())
        self._predict = tf.function(lambda x: self.model(x, training=False))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Scores the rows."""
        from sklearn.metrics import roc_auc_score

        parts = [self._scores(dataset) for dataset in self._datasets]
        labels = np.repeat([1, 0], [len(part) for part in parts])
        scores = np.concatenate(parts)
        finite = np.isfinite(scores).all()
        if logs is not None:
            auc = likelihood = np.nan
            if finite:
                auc = float(roc_auc_score(labels, scores))
                signed = np.where(labels == 1, -scores, scores).astype(np.float64)
                likelihood = -float(np.logaddexp(0, signed).mean())
            logs["val_auc_sampled"], logs["val_log_likelihood"] = auc, likelihood

    def _scores(self, dataset: Any) -> np.ndarray:
        return np.concatenate([self._predict(batch).numpy()[:, 0] for batch in dataset])
