"""The two losses and the weight decay (docs/release.md, section 5; paper section 2, equation 2)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def labeled_loss(
    logits: tf.Tensor,
    labels: tf.Tensor,
    label_smoothing: float,
    kept: tf.Tensor | None = None,
    sample_prob: float = 1.0,
) -> tf.Tensor:
    """Smoothed cross entropy with hard labels, mean over the batch.

    Args:
      logits: float32 [B, C].
      labels: int32 [B], 0-based.
      label_smoothing: share of the target spread evenly over the classes.
      kept: bool [B]; with `label_data_sample_prob` < 1 the examples that stay. The mean is over the expected number of
        them, B x sample_prob, so that the loss keeps its scale whatever the draw.
      sample_prob: the probability that one stays.

    Returns:
      float32 scalar.
    """
    num_classes = logits.shape[-1]
    targets = tf.one_hot(labels, num_classes) * (1.0 - label_smoothing) + label_smoothing / num_classes
    losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    if kept is None:
        return tf.reduce_mean(losses)
    return tf.reduce_mean(losses * tf.cast(kept, tf.float32)) / sample_prob


def soft_loss(logits: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Cross entropy with soft labels, float32 [U, C] each, mean over the batch; no smoothing."""
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(tf.stop_gradient(probabilities), logits))


def sharpen(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """Stored soft labels at a temperature: p^(1/T), renormalised; float32 [U, C]. Of p / max p, since at a low temperature
    all of a row's own powers may be too small for a float32."""
    if temperature == 1.0:
        powers = probabilities
    else:
        largest = tf.reduce_max(probabilities, -1, keepdims=True)
        powers = tf.pow(probabilities / largest, 1.0 / temperature)
    return powers / tf.reduce_sum(powers, -1, keepdims=True)


def l2_loss(variables: Sequence[tf.Variable]) -> tf.Tensor:
    """Sum of ||v||^2 / 2."""
    return tf.add_n([tf.nn.l2_loss(variable) for variable in variables])
