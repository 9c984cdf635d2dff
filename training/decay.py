"""How the learning rate decays, in epochs and steps (docs/release.md, section 6). No TensorFlow here."""

from __future__ import annotations

import math

from training.config import OptimizerConfig

WARMUP_EPOCHS = 5
DECAY_EPOCHS = 2.4
DECAY_RATE = 0.97


def steps_per_epoch(config: OptimizerConfig) -> float:
    """Steps in which the effective labeled batch passes the labeled images once."""
    return config.num_train_images / (config.train_batch_size * config.label_data_sample_prob)


def decay_epochs(config: OptimizerConfig) -> float:
    """Epochs between two decays of the rate by 0.97."""
    if config.final_base_lr is None:
        return DECAY_EPOCHS * config.train_ratio
    epochs = config.train_steps / steps_per_epoch(config)
    decays = math.log(config.final_base_lr / config.base_learning_rate) / math.log(DECAY_RATE)
    return (epochs - WARMUP_EPOCHS) / decays


def steps_above(share: float, config: OptimizerConfig) -> int:
    """Steps before the rate falls below `share` of its base; all of the schedule's if it does not."""
    between = steps_per_epoch(config) * decay_epochs(config)
    decays = math.floor(math.log(share) / math.log(DECAY_RATE)) + 1
    return config.train_steps if between <= 0 else min(config.train_steps, math.ceil(decays * between))
