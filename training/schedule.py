"""The learning rate of a step and the decay of the averages (docs/release.md, section 6)."""

from __future__ import annotations

from typing import Union

import tensorflow as tf

from training.config import OptimizerConfig
from training.decay import DECAY_RATE, WARMUP_EPOCHS, decay_epochs, steps_per_epoch

Step = Union[int, tf.Tensor]


def learning_rate(step: Step, config: OptimizerConfig) -> tf.Tensor:
    """Rate of the update that follows `step` updates: float32 scalar.

    A linear ramp from 0 over the first 5 epochs, then base x 0.97^floor(step / (steps per epoch x decay epochs)).
    """
    base = config.base_learning_rate * (config.train_batch_size * config.label_data_sample_prob) / 256.0
    position = tf.cast(step, tf.float32) + float(config.first_schedule_step)
    epoch_steps = steps_per_epoch(config)
    warmup_steps = int(WARMUP_EPOCHS * epoch_steps)
    decayed = base * tf.pow(DECAY_RATE, tf.floor(position / (epoch_steps * decay_epochs(config))))
    if warmup_steps <= 0:
        return decayed
    return tf.where(position < warmup_steps, base * position / warmup_steps, decayed)


def averaging_decay(updates: Step, maximum: float) -> tf.Tensor:
    """Decay of the moving averages after `updates` updates (1 after the first): float32 scalar."""
    count = tf.cast(updates, tf.float32)
    return tf.minimum(maximum, (1.0 + count) / (10.0 + count))
