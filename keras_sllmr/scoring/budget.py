"""Whom to ask about first when the money does not reach for all."""

from typing import get_args

import numpy as np

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.choices import Order
from keras_sllmr.store.draws import permutation
from keras_sllmr.store.popularity import tail_items
from keras_sllmr.store.split import LeaveOneOut

# Keeps this draw apart from those of the candidates.
_ORDER = 109


def expected_benefit(
    split: LeaveOneOut,
    *,
    uncertainty: np.ndarray | None = None,
    cold_max: int = 3,
    tail_share: float = 0.2,
    cold_weight: float = 1.0,
    tail_weight: float = 1.0,
    uncertainty_weight: float = 1.0,
) -> np.ndarray:
    r"""How much the ranker may gain from the teacher's scores of each user.

    \(b_u = w_c\, z(\mathbb{1}[n_u \le \tau]) + w_t\, z(t_u) + w_q\, z(q_u)\), where
    \(n_u\) counts the user's training events, \(t_u\) is the share of tail items among
    them, \(q_u\) the current model's uncertainty, and z standardises over users: the
    signals of the gate (paper 3.3), of a user. A part that is the same for all says
    nothing and counts 0.

    Args:
        split: the store's split; only its training events are used.
        uncertainty: float `[n_users + 1]`. \(q_u\), such as the mean entropy of the
            model's predictions for the user; NaN, where it has none, counts as the
            mean. Defaults to leaving it out.
        cold_max: int. τ: a user with at most this many training events is cold.
        tail_share: float. Share of the catalogue in the long tail.
        cold_weight: float. \(w_c\).
        tail_weight: float. \(w_t\).
        uncertainty_weight: float. \(w_q\).

    Returns:
        float64 `[n_users + 1]`; entry 0 is 0.

    Raises:
        ConfigError: when a weight is negative, or the uncertainty is not one finite
            number or NaN a user.
    """
    weights = (cold_weight, tail_weight, uncertainty_weight)
    if not all(0 <= weight < np.inf for weight in weights):
        raise ConfigError(
            "Weights of the benefit must be non-negative numbers. Received: "
            f"cold_weight={cold_weight}, tail_weight={tail_weight}, "
            f"uncertainty_weight={uncertainty_weight}"
        )
    n_users, events = split.store.n_users, split.train_events
    tail = tail_items(split.train_counts, share=tail_share)
    rare = np.bincount(
        events.row_of_value(), weights=tail[events.values], minlength=n_users + 1
    )
    parts = [
        cold_weight * _standardised(split.train_lengths <= cold_max),
        tail_weight * _standardised(rare / np.maximum(split.train_lengths, 1)),
    ]
    if uncertainty is not None:
        uncertainty = np.asarray(uncertainty, np.float64)
        if uncertainty.shape != (n_users + 1,) or np.isinf(uncertainty).any():
            raise ConfigError(
                "`uncertainty` must hold one finite number, or NaN, a user and the "
                f"entry 0. Received: shape {list(uncertainty.shape)} for {n_users} "
                f"users, {np.isinf(uncertainty).sum()} of them infinite"
            )
        parts.append(uncertainty_weight * _standardised(uncertainty))
    return np.asarray(sum(parts))


def _standardised(values: np.ndarray) -> np.ndarray:
    """z-scores over users, 0 for user 0, for NaN and where all are alike."""
    result = np.zeros(len(values))
    users = np.asarray(values[1:], np.float64)
    known = ~np.isnan(users)
    if known.any() and np.ptp(users[known]) > 0:
        z = (users - users[known].mean()) / users[known].std()
        result[1:] = np.where(known, z, 0)
    return result


def ask_order(
    benefit: np.ndarray, *, order: Order = "benefit", chance: float = 2.0, seed: int = 0
) -> np.ndarray:
    r"""The users in the order in which they are to be asked about.

    By `benefit`, users are drawn without replacement with probability
    \(\propto e^{b_u / T}\), as the highest \(b_u + T \gamma_u\) with Gumbel noise
    \(\gamma_u\). Strictly the highest first (T = 0) would be users of one kind alone, from
    whom a model learns less about the others than from users at random.

    Args:
        benefit: float `[n_users + 1]`, from `expected_benefit`.
        order: `"benefit"`; `"random"`, a shuffle; or `"user"`, by index. Defaults to
            `"benefit"`.
        chance: float ≥ 0. T. Defaults to `2.0`.
        seed: int. Of the draw. Defaults to `0`.

    Returns:
        int64 `[n_users]`, every user from 1 once.

    Raises:
        ConfigError: on an unknown order, a negative `chance`, or a benefit that is NaN.

    Example:
        >>> ask_order(np.array([0.0, 0.5, 2.0, -1.0]), chance=0).tolist()
        [2, 1, 3]
    """
    if not 0 <= chance < np.inf:
        raise ConfigError(f"`chance` must not be negative. Received: chance={chance}")
    if order not in get_args(Order):
        raise ConfigError(
            f"`order` must be one of {', '.join(get_args(Order))}. Received: "
            f"order={order!r}"
        )
    benefit = np.asarray(benefit, np.float64)
    if benefit.ndim != 1 or not len(benefit) or np.isnan(benefit[1:]).any():
        raise ConfigError(
            "`benefit` must hold one number a user and the entry 0. Received: shape "
            f"{list(benefit.shape)} with {np.isnan(benefit).sum()} NaN"
        )
    n_users = len(benefit) - 1
    if order == "user":
        return np.arange(1, n_users + 1)
    users = 1 + permutation(n_users, seed, _ORDER)
    if order == "random":
        return users
    # From the shuffle's order: the k-th of n has the (k + ½)/n quantile of the noise.
    uniform = (np.arange(n_users) + 0.5) / max(n_users, 1)
    key = benefit[users] - chance * np.log(-np.log(uniform))
    return users[np.argsort(-key, kind="stable")]
