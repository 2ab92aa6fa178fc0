"""Batches for `model.fit` straight from training records, which may be of any size."""

from collections.abc import Sequence
from typing import Any

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.store.schema import parsing_spec
from keras_sllmr.training.batch import GUIDANCE, LABELLED, PROBES
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.feature_tables import ItemTables
from keras_sllmr.training.records import TrainingRecords
from keras_sllmr.training.signals import CountSignals

_ORDER = 311
_VIEWS = (LABELLED, GUIDANCE, PROBES)


class RecordBatches:
    """Endless batches out of training records, a pure function of the seed.

    What `TrainingData` makes of a store in memory: every labelled record once an epoch,
    its negatives by turns from those that were drawn for it, beside blocks of
    LLM-scored items and of probes. Shards come in a new order each epoch, and are
    shuffled window by window, whose size is what bounds the memory.
    Positives that probes hide are left out when there are probes.

    Args:
        records: the training records.
        spec: sizes of the features; its history no longer than that of the records, and
            without columns.
        settings: sizes; `gate_probes` and `in_batch` negatives have no meaning here.
            Defaults to `BatchSettings()`.
        shuffle: int ≥ 1. Records of a window. Defaults to `65_536`.
        worker: int. Which worker this is, from 0: each reads shards of its own.
        workers: int ≥ 1. How many there are.
        seed: int. Of all orders.

    Attributes:
        steps_per_epoch: full batches in an epoch of this worker, about: shards are
            taken to be equally large.

    Raises:
        ConfigError: when a size breaks its rule, the records were made with shorter
            histories or fewer negatives, or `spec` has columns.
        DataError: when there are fewer shards than workers.

    Example:
        >>> batches = RecordBatches(records, spec)                # doctest: +SKIP
        >>> model.fit(                                             # doctest: +SKIP
        ...     batches.dataset(), steps_per_epoch=batches.steps_per_epoch, epochs=3
        ... )
    """

    def __init__(
        self,
        records: TrainingRecords,
        spec: FeatureSpec,
        *,
        settings: BatchSettings | None = None,
        shuffle: int = 65_536,
        worker: int = 0,
        workers: int = 1,
        seed: int = 0,
    ) -> None:
        self.records, self.spec, self.seed = records, spec, seed
        self.settings = settings = settings or BatchSettings()
        self.shuffle, self.worker, self.workers = shuffle, worker, workers
        self._check()
        self._items = ItemTables(records.store, spec)
        self._signals = CountSignals(
            records.item_counts,
            records.manifest["longest_history"],
            cold_max=settings.cold_max,
            tail_share=settings.tail_share,
        )
        self.positives = settings.rows // (1 + settings.negatives)
        counts = records.manifest["counts"]
        self.views = tuple(view for view in _VIEWS if counts.get(view))
        schema = records.path / "schema.pbtxt"
        self._specs = {view: parsing_spec(schema, view) for view in self.views}
        self._shards = {view: records.shards(view) for view in self.views}
        rows = counts[LABELLED]
        if PROBES in self.views:
            rows -= records.manifest["hidden_by_probes"]
        self.steps_per_epoch = max(1, rows // workers // self.positives)

    def _check(self) -> None:
        made = self.records.manifest["settings"]
        for name, value, least, most in (
            ("shuffle", self.shuffle, 1, None),
            ("workers", self.workers, 1, None),
            ("worker", self.worker, 0, self.workers - 1),
            ("settings.negatives", self.settings.negatives, 1, made["sets"]),
            ("spec.history_length", self.spec.history_length, 1, made["history"]),
            ("settings.rows", self.settings.rows, 1 + self.settings.negatives, None),
        ):
            if value < least or (most is not None and value > most):
                limits = f"at least {least}" + (
                    "" if most is None else f", {most} at most"
                )
                raise ConfigError(f"`{name}` must be {limits}. Received: {value}")
        if self.spec.columns:
            raise ConfigError(
                "Training records have no columns. Received: a spec with "
                f"{', '.join(column.name for column in self.spec.columns)}"
            )
        shards = len(self.records.shards(LABELLED))
        if shards < self.workers:
            raise DataError(
                f"Each of the {self.workers} workers needs a shard of its own. "
                f"Received: {shards}. Make the records with fewer `users_per_part`."
            )

    def dataset(
        self, *, first_epoch: int = 0, blocks: Sequence[str] = (GUIDANCE, PROBES)
    ) -> Any:
        """Batches of `(features, labels)` from `first_epoch` on, without end.

        Args:
            first_epoch: int. Epoch to start with.
            blocks: names of the blocks beside the labelled rows; those that the records
                do not have are left out.
        """
        epochs = tf.data.Dataset.counter(first_epoch)
        parts = {LABELLED: epochs.flat_map(self._labelled)}
        for view, users in (
            (GUIDANCE, self.settings.guidance_users),
            (PROBES, self.settings.probe_users),
        ):
            if view in blocks and view in self.views:
                parts[view] = self._endless(view, users, first_epoch)

        def batch(found: dict[str, Any]) -> Any:
            x, y = found[LABELLED]
            return {LABELLED: x, **{n: v for n, v in found.items() if n != LABELLED}}, y

        return tf.data.Dataset.zip(parts).map(batch).prefetch(4)

    def _labelled(self, epoch: Any) -> Any:
        """An epoch's batches of labelled rows."""
        spec = self._specs[LABELLED]
        records = self._shuffled(LABELLED, epoch)
        if PROBES in self.views:
            # Whom a probe hides must be out of sample for the gate.
            flag = {"hidden": spec["hidden"]}
            records = records.filter(
                lambda one: tf.io.parse_single_example(one, flag)["hidden"] == 0
            )
        records = records.batch(self.positives, drop_remainder=True)
        return records.map(lambda batch: self._labelled_batch(batch, epoch))

    def _labelled_batch(self, batch: Any, epoch: Any) -> Any:
        found = tf.io.parse_example(batch, self._specs[LABELLED])
        sets, many = self.records.sets, self.settings.negatives
        drawn = 1 + (epoch * many + tf.range(many, dtype=tf.int64)) % sets
        place = tf.concat([tf.zeros([1], tf.int64), drawn], 0)
        items = tf.gather(_dense(found["items"], 1 + sets), place, axis=1)
        items = tf.ensure_shape(items, [self.positives, 1 + many])
        labels = tf.one_hot(tf.zeros([self.positives], tf.int32), 1 + many)
        return self._features(found, items), labels

    def _endless(self, view: str, users: int, first_epoch: int) -> Any:
        """Batches of a view's blocks, the view again and again."""
        passes = tf.data.Dataset.counter(first_epoch)
        records = passes.flat_map(lambda number: self._shuffled(view, number))
        width = self.records.manifest["widths"][view]

        def block(batch: Any) -> dict[str, Any]:
            found = tf.io.parse_example(batch, self._specs[view])
            items = _dense(found["items"], width)
            items = tf.ensure_shape(items, [users, width])
            return {
                **self._features(found, items),
                "score": _dense(found["scores"], width),
                "valid": items > 0,
                "label": tf.cast(
                    tf.where(items > 0, _dense(found["labels"], width), -1), tf.int32
                ),
                "signals": self._signals.of(found["events"], items),
            }

        return records.batch(users, drop_remainder=True).map(block)

    def _features(self, found: dict[str, Any], items: Any) -> dict[str, Any]:
        history = _last(found["history"], self.spec.history_length)
        return {
            "user": self._items.history_features(found["user"], history),
            "item": self._items.item_features(items),
        }

    def _shuffled(self, view: str, epoch: Any) -> Any:
        """A view's records in the epoch's order."""
        shards = self._shards[view][self.worker :: self.workers]
        key = tf.random.experimental.stateless_fold_in([self.seed, _ORDER], epoch)
        shuffled = tf.random.experimental.stateless_shuffle

        def window(place: Any, records: Any) -> Any:
            return shuffled(
                records, tf.random.experimental.stateless_fold_in(key, place)
            )

        # By windows, as `Dataset.shuffle` takes no seed that depends on the epoch.
        records = tf.data.TFRecordDataset(shuffled(tf.constant(shards), key))
        return records.batch(self.shuffle).enumerate(1).map(window).unbatch()


def _dense(rows: Any, width: int) -> Any:
    """Ragged rows padded with zeros on the right."""
    return rows.to_tensor(shape=[None, width])


def _last(rows: Any, length: int) -> Any:
    """The last values of ragged rows, int32 `[rows, length]`, padded on the left."""
    place = tf.range(length, dtype=tf.int64) - length + rows.row_lengths()[:, None]
    flat = tf.maximum(rows.row_starts()[:, None] + place, 0)
    values = tf.concat([tf.cast(rows.values, tf.int32), [0]], 0)
    found = tf.gather(values, tf.minimum(flat, tf.size(values, tf.int64) - 1))
    return tf.where(place >= 0, found, 0)
