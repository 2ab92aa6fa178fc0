"""The validation AUC over sampled negatives, epoch by epoch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_sllmr.backbones.user_once import UserOnce
from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.platt import logistic
from keras_sllmr.store.draws import negatives as draw
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.row_batches import row_batches

_VALIDATION = 401


class SampledAUC(keras.callbacks.Callback):
    r"""Adds `val_auc_sampled` and `val_log_likelihood` to each epoch's logs.

    - \(\mathrm{AUC} = \frac{1}{PN} \sum_{p,n} [s_p > s_n] + \tfrac12 [s_p = s_n]\)
      over the pool of all positives and negatives, so it compares rows of different
      users too;
    - the mean log-likelihood of the rows' labels, as high as a model can tell how sure
      it is and not the order alone: of \(\sigma(a s + b)\) with the \(a \ge 0\) and b
      that are best for it, as being too sure by a factor is easily set right.

    A model that gives NaN or infinity has both NaN. Callbacks see the logs in the order
    of the list, so those that monitor the AUC (`EarlyStopping`, `ModelCheckpoint`,
    `ReduceLROnPlateau`) must come after this one, with `mode="max"`.

    Args:
        positives: `tf.data.Dataset` of feature batches as the model takes them, without
            labels: a positive a row. It is kept in memory.
        negatives: the same for the rows' sampled negatives.
        item_inputs: names of the features of an item. With them the model's layers that
            read none of them run once for a row's positive and its negative, which must
            then be in the same order and batches and have the other features in common.
            The model, or its `backbone`, must be functional. Defaults to none: each
            row by itself.

    Raises:
        ConfigError: when a dataset has labels, or the batches of positives and negatives
            differ where `item_inputs` are given.

    Example:
        >>> x = {name: keras.Input((1,), name=name) for name in ("age", "price")}
        >>> both = keras.layers.Concatenate()([x["age"], x["price"]])
        >>> model = keras.Model(x, keras.layers.Dense(1)(both))
        >>> model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
        >>> def rows(price):
        ...     return {"age": np.ones([6, 1]), "price": np.full([6, 1], price)}
        >>> def batches(price):
        ...     return tf.data.Dataset.from_tensor_slices(rows(price)).batch(4)
        >>> auc = SampledAUC(batches(2.0), batches(1.0), item_inputs=["price"])
        >>> stop = keras.callbacks.EarlyStopping(
        ...     "val_auc_sampled", mode="max", patience=2, restore_best_weights=True
        ... )
        >>> history = model.fit(
        ...     rows(2.0), np.ones(6), epochs=9, callbacks=[auc, stop], verbose=0
        ... )
        >>> 3 <= len(history.history["val_auc_sampled"]) <= 9
        True
    """

    def __init__(
        self,
        positives: Any,
        negatives: Any,
        *,
        item_inputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        for dataset in (positives, negatives):
            if isinstance(dataset.element_spec, tuple):
                raise ConfigError(
                    "`positives` and `negatives` must be datasets of features without "
                    "labels. Received: a dataset of tuples. Drop the labels with "
                    "dataset.map(lambda x, y: x)"
                )
        self.item_inputs = item_inputs
        if item_inputs is None:
            self._batches = [positives.cache(), negatives.cache()]
        else:
            counts = [int(dataset.cardinality()) for dataset in (positives, negatives)]
            if min(counts) >= 0 and counts[0] != counts[1]:
                raise _unlike(f"{counts[0]} and {counts[1]} batches")
            names = set(item_inputs)
            items = negatives.map(
                lambda x: {name: value for name, value in x.items() if name in names}
            )
            self._batches = [tf.data.Dataset.zip((positives, items)).cache()]

    @classmethod
    def of(cls, split: LeaveOneOut, tables: FeatureTables) -> "SampledAUC":
        """Over a store's validation split, one sampled unseen item a positive.

        Args:
            split: the store's split.
            tables: gathers the features.
        """
        targets = split.validation
        drawn = draw(targets.users, split.seen, 0, _VALIDATION, targets.users)
        return cls(
            row_batches(tables, targets, targets.items),
            row_batches(tables, targets, drawn),
            item_inputs=[
                name
                for name in (*tables.spec.item_inputs, *tables.spec.pair_inputs)
                if name in tables.names
            ],
        )

    def set_model(self, model: Any) -> None:
        """Takes the model that is trained."""
        super().set_model(model)
        score = self._scorer(model)
        # One signature for batches of all sizes: the last one would be traced anew.
        self._score = [
            tf.function(score, input_signature=[batches.element_spec])
            for batches in self._batches
        ]

    def _scorer(self, model: Any) -> Callable[[Any], Any]:
        if self.item_inputs is None:
            return lambda rows: model(rows, training=False)
        backbone = getattr(model, "backbone", model)
        known = getattr(backbone, "input", None) or ()
        # A backbone need not read every feature that there is.
        read = [name for name in self.item_inputs if name in known]
        user_once = UserOnce(backbone, read)
        return lambda pairs: user_once(*_joined(*pairs))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Scores the rows."""
        if logs is None:
            return
        positives, negatives = self._scores()
        auc = likelihood = np.nan
        if np.isfinite(positives).all() and np.isfinite(negatives).all():
            auc = _auc(positives, negatives)
            likelihood = _likelihood(positives, negatives)
        logs["val_auc_sampled"], logs["val_log_likelihood"] = auc, likelihood

    def _scores(self) -> list[np.ndarray]:
        """Of the positives and of the negatives."""
        scored = [
            [np.ravel(score(_checked(batch))) for batch in batches]
            for score, batches in zip(self._score, self._batches, strict=True)
        ]
        if self.item_inputs is not None:
            halves = [np.split(part, 2) for part in scored[0]]
            scored = [list(parts) for parts in zip(*halves, strict=True)]
        return [np.concatenate(parts) for parts in scored]


def _checked(batch: Any) -> Any:
    if isinstance(batch, tuple):
        sizes = {len(value) for side in batch for value in side.values()}
        if len(sizes) > 1:
            raise _unlike(f"batches of {' and '.join(map(str, sorted(sizes)))} rows")
    return batch


def _unlike(received: str) -> ConfigError:
    return ConfigError(
        "`positives` and `negatives` must have the same batches where `item_inputs` are "
        f"given. Received: {received}"
    )


def _joined(
    rows: Mapping[str, Any], negatives: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Features of users and of the items of both, and the user of each item."""
    user = {name: value for name, value in rows.items() if name not in negatives}
    item = {name: tf.concat([rows[name], x], 0) for name, x in negatives.items()}
    users = tf.range(tf.shape(next(iter(rows.values())))[0])
    return user, item, tf.tile(users, [2])


def _auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    not_above = np.searchsorted(ordered, positives, side="right")
    return float((below + not_above).mean() / (2 * len(ordered)))


def _likelihood(positives: np.ndarray, negatives: np.ndarray) -> float:
    scores = np.concatenate([positives, negatives]).astype(np.float64)
    labels = np.repeat([1.0, 0.0], [len(positives), len(negatives)])
    slope, bias = logistic(scores, labels)
    if slope < 0:  # What orders the wrong way round is worth no more than none.
        slope, bias = 0.0, np.log(len(positives) / len(negatives))
    margins = slope * scores + bias
    return float((labels * margins - np.logaddexp(0, margins)).mean())
