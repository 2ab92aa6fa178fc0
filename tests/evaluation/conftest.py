import numpy as np
import pytest

from keras_sllmr.evaluation.result import Result


def _result(
    method="none",
    seed=0,
    *,
    skill=1.0,
    rows=60,
    domain="shop",
    backbone="deepfm",
    full=True,
    **about,
):
    """A result whose positives score `skill` higher; noise goes by method and seed."""
    name = f"{domain} {backbone} {method} {seed}".encode()
    rng = np.random.default_rng(list(name))
    common = np.random.default_rng(5).normal(size=2 * rows)
    labels = np.repeat([1, 0], rows)
    above = rng.integers(0, 30, rows)
    return Result(
        {
            "domain": domain,
            "backbone": backbone,
            "method": method,
            "seed": seed,
            "rows": f"{domain} {rows}",
            "k": 10,
            **about,
        },
        users=np.arange(1, rows + 1),
        slices={"all": np.ones(rows, bool), "cold": np.arange(rows) % 3 == 0},
        pools={"tail_rows": np.arange(2 * rows) % 5 == 0},
        logits=(common + 0.3 * rng.normal(size=2 * rows) + skill * labels).astype(
            np.float32
        ),
        ranks={
            "above": above,
            "ties": np.zeros(rows, int),
            "candidates": np.full(rows, 100),
        }
        if full
        else {},
    )


@pytest.fixture(scope="session")
def result_of():
    """Makes results: a method, a seed, and how good it is."""
    return _result
