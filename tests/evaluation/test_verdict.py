import pytest

from keras_sllmr.evaluation.verdict import verdict

NAN = float("nan")


@pytest.mark.parametrize(
    ("metric", "low", "high", "expected"),
    [
        ("auc_full", 0.1, 0.2, "better"),
        ("auc_full", -0.2, -0.1, "worse"),
        ("auc_full", -0.1, 0.1, "level"),
        ("auc_full", 0.0, 0.1, "level"),
        ("brier", -0.2, -0.1, "better"),
        ("log_loss", 0.1, 0.2, "worse"),
        ("auc_full", NAN, NAN, "level"),
    ],
)
def test_verdict(metric, low, high, expected):
    assert verdict(metric, low, high) == expected
