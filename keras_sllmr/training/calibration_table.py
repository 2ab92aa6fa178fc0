"""How well stated chances agree with what came true."""

from typing import Any

import numpy as np


def calibration(chances: Any, right: Any, *, bins: int = 10) -> dict[str, Any]:
    r"""Discrimination and calibration of chances, with the table behind them.

    The chances are sorted into bins of equally many, equal ones in the same bin. With
    \(n_b\) of the N chances in bin b, of mean \(\bar p_b\) and share right
    \(\bar y_b\): \(ECE = \sum_b \frac{n_b}{N} |\bar p_b - \bar y_b|\), and the Brier
    score is the mean of \((p - y)^2\).

    Args:
        chances: float `[n]` in [0, 1]. p.
        right: bool `[n]`. y, what came true.
        bins: int. At most this many. Defaults to `10`.

    Returns:
        `pairs` and `accuracy` (the share right), `auc` of the chances at telling the
        right ones from the others, `ece`, `brier` and the table `bins`, a list of
        `chance`, `accuracy` and `pairs`. Without a chance only `pairs` and no `bins`;
        without both a right and a wrong one no `auc`.

    Example:
        >>> found = calibration([0.9, 0.9, 0.2, 0.2], [True, True, False, True])
        >>> [round(found[name], 3) for name in ("auc", "ece", "brier")]
        [0.833, 0.2, 0.175]

    Reference:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    p, y = np.asarray(chances, np.float64), np.asarray(right, np.float64)
    if not len(p):
        return {"pairs": 0, "bins": []}
    _, value, counts = np.unique(p, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    place = (middle * bins / len(p)).astype(int)[value]
    table = [
        {
            "chance": float(p[place == b].mean()),
            "accuracy": float(y[place == b].mean()),
            "pairs": int((place == b).sum()),
        }
        for b in np.unique(place)
    ]
    off = [row["pairs"] * abs(row["chance"] - row["accuracy"]) for row in table]
    found = {"pairs": len(p), "accuracy": float(y.mean())}
    if 0 < y.mean() < 1:
        from sklearn.metrics import roc_auc_score

        found["auc"] = float(roc_auc_score(y, p))
    return {
        **found,
        "ece": float(np.sum(off) / len(p)),
        "brier": float(np.mean((p - y) ** 2)),
        "bins": table,
    }
