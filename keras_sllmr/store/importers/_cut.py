"""Cutting the histories of some users, so that cold users exist."""

import hashlib
from collections.abc import Iterator

import pandas as pd


def cut_short(
    events: pd.DataFrame, share: float, length: int, seed: int
) -> tuple[pd.DataFrame, int]:
    """Cuts the chosen users' histories; returns the rest and how many were cut."""
    lengths = events["user"].value_counts()
    cut = {
        user for user in _drawn(lengths.index, share, seed) if lengths[user] > length
    }
    late = events.groupby("user").cumcount() >= length
    return events[~(late & events["user"].isin(cut))], len(cut)


def _drawn(users: pd.Index, share: float, seed: int) -> Iterator[str]:
    for user in users:
        digest = hashlib.sha256(f"{seed}:{user}".encode()).digest()
        if int.from_bytes(digest[:8], "big") < share * 2.0**64:
            yield user
