from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.training.callbacks.sampled_auc import SampledAUC


def _auc(positives: list[float], negatives: list[float]) -> dict[str, Any]:
    parts = [
        tf.data.Dataset.from_tensor_slices(np.float32(scores)[:, None]).batch(2)
        for scores in (positives, negatives)
    ]
    callback = SampledAUC(*parts)
    callback.set_model(lambda x, training: x)
    logs: dict[str, Any] = {"loss": 1.0}
    callback.on_epoch_end(0, logs)
    return logs


@pytest.mark.parametrize(
    ("positives", "negatives", "auc"),
    [
        ([3, 4, 5], [1, 2, 0], 1.0),
        ([1, 2, 3], [1, 2, 3], 0.5),
        # Right are (2, 1), (2, 0), (0.5, 0) and half of (1, 1) of nine pairs.
        ([2, 1, 0.5], [3, 1, 0], (2 + 1.5 + 1) / 9),
    ],
)
def test_sampled_auc(
    positives: list[float], negatives: list[float], auc: float
) -> None:
    logs = _auc(positives, negatives)
    assert logs["loss"] == 1.0
    assert logs["val_auc_sampled"] == pytest.approx(auc)


def test_scores_that_are_not_finite_have_no_auc() -> None:
    for wrong in (np.nan, np.inf):
        logs = _auc([1.0, wrong], [0.0, 2.0])
        assert np.isnan([logs["val_auc_sampled"], logs["val_log_likelihood"]]).all()


def test_log_likelihood() -> None:
    """Of a positive at log-odds 1 and negatives at 1 and −2, by hand."""
    logs = _auc([1.0], [1.0, -2.0])
    expected = np.log([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 1 / (1 + np.exp(-2))])
    assert logs["val_log_likelihood"] == pytest.approx(expected.mean())
    assert _auc([0.0], [0.0])["val_log_likelihood"] == pytest.approx(-np.log(2))
    # However wrong, it stays a number.
    assert _auc([-1e4], [1e4])["val_log_likelihood"] == pytest.approx(-1e4)
