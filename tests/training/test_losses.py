from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from training import losses

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]], np.float32)
LOG_PROBABILITIES = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))


def test_labeled_loss_without_smoothing_is_the_mean_negative_log_likelihood() -> None:
    expected = -(LOG_PROBABILITIES[0, 1] + LOG_PROBABILITIES[1, 2]) / 2
    assert float(losses.labeled_loss(LOGITS, tf.constant([1, 2]), 0.0)) == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    targets = np.array([[0.1 / 3, 0.9 + 0.1 / 3, 0.1 / 3], [0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3]])
    expected = -(targets * LOG_PROBABILITIES).sum(-1).mean()
    assert float(losses.labeled_loss(LOGITS, tf.constant([1, 2]), 0.1)) == pytest.approx(expected, rel=1e-6)


def test_a_masked_loss_keeps_its_scale() -> None:
    """The mean is over the expected number of kept examples: 2 x 0.5 = 1."""
    loss = losses.labeled_loss(LOGITS, tf.constant([1, 2]), 0.0, tf.constant([True, False]), 0.5)
    assert float(loss) == pytest.approx(-LOG_PROBABILITIES[0, 1], rel=1e-6)
    nothing = losses.labeled_loss(LOGITS, tf.constant([1, 2]), 0.0, tf.constant([False, False]), 0.5)
    assert float(nothing) == 0.0


def test_soft_loss_is_the_mean_cross_entropy_and_its_targets_get_no_gradient() -> None:
    probabilities = tf.constant([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(probabilities)
        loss = losses.soft_loss(tf.constant(LOGITS), probabilities)
    assert float(loss) == pytest.approx(-(probabilities.numpy() * LOG_PROBABILITIES).sum(-1).mean(), rel=1e-6)
    assert tape.gradient(loss, probabilities) is None


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sharpening_takes_powers_and_renormalises(temperature: float) -> None:
    probabilities = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], np.float32)
    powers = probabilities ** (1 / temperature)
    sharpened = losses.sharpen(tf.constant(probabilities), temperature).numpy()
    np.testing.assert_allclose(sharpened, powers / powers.sum(-1, keepdims=True), rtol=1e-6)


def test_sharpening_is_the_softmax_of_logits_at_that_temperature() -> None:
    sharpened = losses.sharpen(tf.nn.softmax(LOGITS), 0.7)
    np.testing.assert_allclose(sharpened, tf.nn.softmax(LOGITS / 0.7), rtol=1e-5)


@pytest.mark.parametrize("temperature", [1e-2, 1e-30])
def test_a_low_temperature_leaves_the_most_probable_classes_alone(temperature: float) -> None:
    """Although 0.4^100 is below the least float32."""
    probabilities = tf.constant([[0.3, 0.35, 0.35], [0.4, 0.3, 0.3], [1.0, 0.0, 0.0]])
    sharpened = losses.sharpen(probabilities, temperature)
    np.testing.assert_allclose(sharpened, [[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], atol=1e-6)


def test_l2_loss_is_half_the_sum_of_squares() -> None:
    variables = [tf.Variable([3.0, 4.0]), tf.Variable([[1.0], [1.0]])]
    assert float(losses.l2_loss(variables)) == pytest.approx(13.5)
