"""Point-in-time user histories: what was known strictly before a position."""

import numpy as np

from keras_sllmr.errors import DataError
from keras_sllmr.store.ragged import Ragged


def history_before(
    events: Ragged, users: np.ndarray, positions: np.ndarray, *, length: int = 20
) -> np.ndarray:
    r"""The last `length` events of each user before a position, oldest first.

    \(h_{u,p} = (e_{u,\max(0,p-L)}, \dots, e_{u,p-1})\), padded with 0 on the left.

    Args:
        events: chronological item indices a user; row 0 (unknown user) is empty.
        users: int `[rows]`. User indices.
        positions: int `[rows]`. The target's position; nothing at or after it is seen.
        length: int. Window L. Defaults to `20`.

    Returns:
        int32 `[rows, length]`.

    Raises:
        DataError: when a position is negative or beyond the user's last event.

    Example:
        >>> events = Ragged.from_rows([[], [5, 6, 7]])
        >>> history_before(events, np.array([1, 1]), np.array([2, 0]), length=3)
        array([[0, 5, 6],
               [0, 0, 0]], dtype=int32)
    """
    users, positions = np.asarray(users), np.asarray(positions)
    outside = (positions < 0) | (positions > events.lengths[users])
    if outside.any():
        raise DataError(
            "A position must be from 0 to the number of the user's events. Received: "
            f"{positions[outside][0]} for a user with "
            f"{events.lengths[users][outside][0]} events."
        )
    position = positions[:, None] - length + np.arange(length)
    index = events.offsets[users][:, None] + np.maximum(position, 0)
    if not len(events.values):
        return np.zeros(index.shape, np.int32)
    values = events.values[np.minimum(index, len(events.values) - 1)]
    return np.where(position >= 0, values, 0).astype(np.int32)


def training_mask(events: Ragged) -> np.ndarray:
    """Which events are trained on: all but each user's last two, bool `[total]`.

    Args:
        events: chronological item indices a user.

    Example:
        >>> training_mask(Ragged.from_rows([[], [5, 6, 7, 8], [9]])).tolist()
        [True, True, False, False, False]
    """
    ends = np.repeat(events.offsets[1:], events.lengths)
    return np.asarray(np.arange(len(events.values)) < ends - 2)
