"""Which (user, item) pairs the LLM is asked about, and why."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import Field

from keras_sllmr.settings import Settings


class CandidateSettings(Settings):
    """How many candidates of each origin a user gets (paper 3.1 and 4.3).

    The counts are the shares: with the defaults a warm user is asked about 20 items, 8
    of them near, and a cold one about 25. An item that comes twice, or that the user
    knows, is left out, so there may be fewer.

    Args:
        popular: int. Items from the popularity pool, all its items alike.
        popular_pool: int. Size K of that pool: the most popular items.
        near: int. The best of `near_pool` random items by a screening teacher.
        near_pool: int. Random items screened a user.
        uniform: int. Uniformly drawn items.
        cold: int. Items unlike one another, by text or attributes, for users with at
            most `cold_max` training events.
        cold_max: int. See `cold`.
        cold_pool: int. Random items that the cold ones are picked from.
        tail: float. Items of the bottom `tail_share` by popularity: mean number a
            user. Every such item gets equally many random users, one at least.
        tail_near: float. The same with users that a screening teacher picks.
        tail_pool: int. Random users screened for such an item; thrice as many as it
            gets when that is more.
        tail_share: float. See `tail`.
        tail_most: int. Most `tail` items of one user, and most `tail_near` ones.
        probe_negatives: int. Sampled negatives beside each hidden training positive;
            0 makes no probes.
        probe_users: int. Random users who get a probe; none for all who can. A few
            thousand are all that the gate and `inspect` need.
        history: int. How many of the last events the teacher sees (L).
        seed: int. Seed of every draw.
    """

    popular: int = Field(3, ge=0)
    popular_pool: int = Field(1000, ge=1)
    near: int = Field(8, ge=0)
    near_pool: int = Field(100, ge=1)
    uniform: int = Field(7, ge=0)
    cold: int = Field(5, ge=0)
    cold_max: int = Field(3, ge=0)
    cold_pool: int = Field(40, ge=1)
    tail: float = Field(1.0, ge=0)
    tail_near: float = Field(1.0, ge=0)
    tail_pool: int = Field(50, ge=1)
    tail_share: float = Field(0.1, gt=0, lt=1)
    tail_most: int = Field(8, ge=1)
    probe_negatives: int = Field(4, ge=0)
    probe_users: int | None = Field(None, ge=1)
    history: int = Field(10, ge=1)
    seed: int = 0


@dataclass(frozen=True)
class Candidates:
    """Pairs to score, one row a (user, history position), padded with item 0.

    Args:
        users: int64 `[rows]`.
        positions: int64 `[rows]`. The history shown ends before this position.
        items: int64 `[rows, C]`.
        origins: str `[C]`. Why each column's items are asked for.
        labels: int64 `[rows, C]`. 1, 0 or −1 as in the score table.
    """

    users: np.ndarray
    positions: np.ndarray
    items: np.ndarray
    origins: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def frame(
        self,
        scores: np.ndarray,
        *,
        spread: np.ndarray | None = None,
        answers: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """All pairs as rows of a score table.

        Args:
            scores: float `[rows, C]` in [0, 1]; NaN is missing.
            spread: float `[rows, C]`. Standard deviation over the answers. Defaults
                to 0.
            answers: int `[rows, C]`. How many answers were averaged. Defaults to 1.
        """
        row, column = np.nonzero(self.items)
        return pd.DataFrame(
            {
                "user": self.users[row],
                "item": self.items[row, column],
                "score": scores[row, column],
                "origin": self.origins[column],
                "position": self.positions[row],
                "label": self.labels[row, column],
                "spread": 0.0 if spread is None else spread[row, column],
                "answers": 1 if answers is None else answers[row, column],
            }
        )
