import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.losses.agreement import agreement_loss
from keras_sllmr.losses.pairs import score_gaps


def test_hand_computed_loss() -> None:
    # Item 0 is the positive, 1 and 2 negatives, 3 unknown; the LLM says 1 > 0 > 2 > 3.
    scores = tf.constant([[0.6, 0.9, 0.2, 0.0]])
    labels = tf.constant([[1, 0, 0, -1]])
    gaps = score_gaps(scores, tf.fill([1, 4], True))
    evidence = 2.0 * gaps
    # (1, 0) is ordered wrongly with log-odds 0.6; (0, 2) rightly with 0.8.
    expected = (np.log1p(np.exp(0.6)) + np.log1p(np.exp(-0.8))) / 2
    loss = agreement_loss(evidence, gaps, labels)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        ([[0.9, 0.1]], [[1, 1]]),
        ([[0.9, 0.1]], [[0, 0]]),
        ([[0.9, 0.1]], [[1, -1]]),
        ([[0.5, 0.5]], [[1, 0]]),
    ],
    ids=["positives", "negatives", "unknown", "tie"],
)
def test_no_known_pair_costs_nothing(
    scores: list[list[float]], labels: list[list[int]]
) -> None:
    gaps = score_gaps(tf.constant(scores), tf.fill([1, 2], True))
    assert float(agreement_loss(3.0 * gaps, gaps, tf.constant(labels))) == 0


def test_missing_scores_make_no_pair() -> None:
    gaps = score_gaps(tf.constant([[0.9, 0.1]]), tf.constant([[True, False]]))
    assert float(agreement_loss(3.0 * gaps, gaps, tf.constant([[1, 0]]))) == 0


def test_the_mean_does_not_depend_on_the_batch_size() -> None:
    scores, labels = tf.constant([[0.9, 0.4, 0.1]]), tf.constant([[1, 0, 0]])
    losses = []
    for times in (1, 5):
        gaps = score_gaps(tf.tile(scores, [times, 1]), tf.fill([times, 3], True))
        losses.append(float(agreement_loss(gaps, gaps, tf.tile(labels, [times, 1]))))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize(("labels", "sign"), [([[1, 0]], -1), ([[0, 1]], 1)])
def test_right_orders_raise_the_slope_and_wrong_ones_lower_it(
    labels: list[list[int]], sign: int
) -> None:
    slope = tf.Variable(1.0)
    gaps = score_gaps(tf.constant([[0.9, 0.1]]), tf.fill([1, 2], True))
    with tf.GradientTape() as tape:
        loss = agreement_loss(slope * gaps, gaps, tf.constant(labels))
    assert np.sign(float(tape.gradient(loss, slope))) == sign
