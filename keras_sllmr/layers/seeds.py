"""One seed for several weights."""

import numpy as np


def spread_seed(seed: int | None, count: int) -> list[int | None]:
    """As many unrelated seeds as asked for, a function of one.

    Weights of one shape that share a seed would start out equal.

    Args:
        seed: int ≥ 0, or None for a fresh start in every process.
        count: int. How many.

    Example:
        >>> len(set(spread_seed(0, 3)))
        3
        >>> spread_seed(None, 2)
        [None, None]
    """
    if seed is None:
        return [None] * count
    # Signed seeds of 32 bits are taken everywhere.
    return [int(one) >> 1 for one in np.random.SeedSequence(seed).generate_state(count)]
