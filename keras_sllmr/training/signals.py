r"""Signals of the gate by name, each about as large as 1 and without a gradient.

They are fixed functions of the store, the LLM's scores and the model: nothing is
standardised over a batch, so a signal means the same in training and in monitoring.

Of an item, `[U, C]`:

- `cold`: 1 if the user has few training events, else 0;
- `tail`: 1 if the item is in the long tail, else 0;
- `uncertainty`: q of the model in [0, 1], see `training.uncertainty`;
- `log_history`: \(\log(1 + n_u) / \log(1 + \max_u n_u)\) of the user's training events;
- `log_popularity`: \(\log(1 + n_i) / \log(1 + \max_i n_i)\) of the item's;
- any other that a block brings along in its `signals`.

Of a pair (i, j) that the LLM orders, `[U, C, C]`:

- `score_gap`: how much higher the LLM scores i than j, in [0, 1];
- `popularity_gap`: `log_popularity` of i less that of j, in [−1, 1];
- `margin`: \(\tanh((s_i - s_j) / 4)\) of the model's logits, in [−1, 1].
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.store.popularity import tail_items
from keras_sllmr.store.split import LeaveOneOut

ITEM_SIGNALS = ("cold", "tail", "uncertainty", "log_history", "log_popularity")
PAIR_SIGNALS = ("score_gap", "popularity_gap", "margin")

#: margins of the model this large, in log-odds, count as large.
_MARGIN_SCALE = 4.0


class SignalTables:
    """The signals of users and items that the store alone decides.

    Args:
        split: the store's split.
        cold_max: int. A user with at most this many training events is cold.
        tail_share: float. Share of the catalogue in the long tail.
    """

    def __init__(
        self, split: LeaveOneOut, *, cold_max: int = 3, tail_share: float = 0.2
    ) -> None:
        lengths = split.train_lengths
        self._users = {"cold": lengths <= cold_max, "log_history": _log_share(lengths)}
        self._items = _of_items(split.train_counts, tail_share)

    def of(self, users: Any, items: Any) -> dict[str, Any]:
        """Signals by name, float32 `[U, C]`, of users `[U]` and their items `[U, C]`."""
        of_users = {n: _column(v, users)[:, None] for n, v in self._users.items()}
        wide = {n: tf.repeat(v, items.shape[1], 1) for n, v in of_users.items()}
        return wide | {n: _column(v, items) for n, v in self._items.items()}


class CountSignals:
    """The same signals from a user's number of training events, without a store.

    Args:
        counts: int `[n_items + 1]`. Training events of each item.
        longest: int. Training events of the user with the most.
        cold_max: int. A user with at most this many training events is cold.
        tail_share: float. Share of the catalogue in the long tail.
    """

    def __init__(
        self,
        counts: np.ndarray,
        longest: int,
        *,
        cold_max: int = 3,
        tail_share: float = 0.2,
    ) -> None:
        self._items = _of_items(counts, tail_share)
        self._cold_max, self._longest = cold_max, max(np.log1p(longest), 1e-9)

    def of(self, events: Any, items: Any) -> dict[str, Any]:
        """Signals by name, float32 `[U, C]`, of users' events `[U]` and items `[U, C]`."""
        logs = tf.math.log1p(tf.cast(events, tf.float64)) / self._longest
        of_users = {"cold": events <= self._cold_max, "log_history": logs}
        wide = {
            name: tf.repeat(tf.cast(value, tf.float32)[:, None], items.shape[1], 1)
            for name, value in of_users.items()
        }
        return wide | {n: _column(v, items) for n, v in self._items.items()}


def _of_items(counts: np.ndarray, tail_share: float) -> dict[str, np.ndarray]:
    tail = tail_items(counts, share=tail_share)
    return {"tail": tail, "log_popularity": _log_share(counts)}


def _column(values: np.ndarray, rows: Any) -> Any:
    return tf.gather(tf.constant(values, tf.float32), rows)


def _log_share(counts: np.ndarray) -> np.ndarray:
    """Logarithms of counts from 0 for none to 1 for the largest."""
    logs = np.log1p(counts)
    return np.asarray(logs / max(logs.max(), 1e-9))


def split_signals(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of signals as a gate takes them: those of items, and those of pairs.

    Example:
        >>> split_signals(("margin", "cold", "score_gap"))
        (('cold',), ('margin', 'score_gap'))
    """
    of_pairs = tuple(name for name in names if name in PAIR_SIGNALS)
    return tuple(name for name in names if name not in PAIR_SIGNALS), of_pairs


def item_signals(
    names: Sequence[str], block: dict[str, Any], uncertainty: Callable[[], Any]
) -> Any:
    """Signals of a block's items, as the gate's `z`.

    Args:
        names: the gate's `signals`.
        block: see `training.batch`; its `signals` hold what does not need the model.
        uncertainty: gives q, float `[U, C]`; only called for the signal of that name.

    Returns:
        float32 `[U, C, S]` in the order of the names, without a gradient.

    Raises:
        ConfigError: on a name that is neither among the block's nor `uncertainty`.
    """
    given = block["signals"]
    _require(names, {*given, "uncertainty"})
    columns = [uncertainty() if n == "uncertainty" else given[n] for n in names]
    return _stack(columns, tf.shape(block["score"]))


def pair_signals(
    names: Sequence[str], block: dict[str, Any], logits: Any, gaps: Any
) -> Any:
    """Signals of a block's pairs, as the gate's `r`.

    Args:
        names: the gate's `pair_signals`.
        block: see `training.batch`.
        logits: float `[U, C]`. The model's.
        gaps: float `[U, C, C]`. From `score_gaps`.

    Returns:
        float32 `[U, C, C, R]` in the order of the names, without a gradient; `None`
        without a name.

    Raises:
        ConfigError: on an unknown name, or `popularity_gap` for a block without the
            signal `log_popularity`.
    """
    if not names:
        return None
    popularity = block["signals"].get("log_popularity")
    known: dict[str, Callable[[], Any]] = {
        "score_gap": lambda: gaps,
        "popularity_gap": lambda: _differences(popularity),
        "margin": lambda: tf.tanh(_differences(logits) / _MARGIN_SCALE),
    }
    if popularity is None:
        del known["popularity_gap"]
    _require(names, known)
    return _stack([known[name]() for name in names], tf.shape(gaps))


def _differences(values: Any) -> Any:
    return values[..., :, None] - values[..., None, :]


def _stack(columns: list[Any], shape: Any) -> Any:
    if not columns:
        return tf.zeros(tf.concat([shape, [0]], 0))
    stacked = tf.stack([tf.cast(column, tf.float32) for column in columns], axis=-1)
    return tf.stop_gradient(stacked)


def _require(names: Sequence[str], known: Any) -> None:
    missing = [name for name in names if name not in known]
    if missing:
        raise ConfigError(
            f"The gate's signals must be among {', '.join(sorted(known))}. "
            f"Received: {', '.join(missing)}"
        )
