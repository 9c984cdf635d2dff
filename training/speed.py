"""What a training costs, and how fast this machine is: estimated in a second, or measured on a training's first steps.

Work is counted in multiplications. A step takes three times a forward pass; reading, augmenting and moving an image costs as much
as PER_IMAGE multiplications do. Estimates are right within a factor of two or so (docs/own_pictures.md).
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time

import tensorflow as tf

from data.fast import Fast
from efficientnet.cost import multiplications
from efficientnet.variants import ModelConfig
from training.config import TrainConfig
from training.trainer import train

PER_IMAGE = 25e6
OF_A_STEP = 3  # forward passes
PROBE_SECONDS = 0.4
PROBE = (32, 14, 14, 48)  # activations, as those of a small network
PROBE_EXPANSION = 6
STEPS = 10  # a chunk of steps that is measured


def work_of_step(config: TrainConfig) -> float:
    """Multiplications of a step."""
    optimizer = config.optimizer
    unlabeled = math.ceil(optimizer.train_batch_size * optimizer.unlabel_ratio)
    images = unlabeled + (0 if optimizer.unlabeled_only else optimizer.train_batch_size)
    return images * (OF_A_STEP * multiplications(config.model, config.data.image_size) + PER_IMAGE)


def work_of(config: TrainConfig, test_images: int = 0) -> float:
    """Multiplications of a whole training, with its evaluations on `test_images`."""
    steps = config.optimizer.steps_to_train
    evaluations = math.ceil(steps / config.steps_per_eval) if config.evaluation else 0
    return steps * work_of_step(config) + evaluations * test_images * work_of_image(
        config.model, config.data.image_size
    )


def work_of_image(model: ModelConfig, size: int) -> float:
    """Multiplications of an image that is only looked at."""
    return multiplications(model, size) + PER_IMAGE


def estimate() -> float:
    """Multiplications a second, from what a block of three convolutions takes forward and back."""
    batch, height, width, channels = PROBE
    inner = channels * PROBE_EXPANSION
    expand, depth, project = (
        tf.random.stateless_normal(shape, [1, 2])
        for shape in ([1, 1, channels, inner], [3, 3, inner, 1], [1, 1, inner, channels])
    )

    @tf.function(autograph=False)
    def block(image: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([expand, depth, project])
            hidden = tf.nn.silu(tf.nn.conv2d(image, expand, 1, "SAME"))
            hidden = tf.nn.silu(tf.nn.depthwise_conv2d(hidden, depth, [1, 1, 1, 1], "SAME"))
            total = tf.reduce_sum(tf.nn.conv2d(hidden, project, 1, "SAME"))
        return list(tape.gradient(total, [expand, depth, project]))

    image = tf.random.stateless_normal(PROBE, [3, 4])
    block(image)[0].numpy()
    began, count = time.monotonic(), 0
    while time.monotonic() - began < PROBE_SECONDS:
        block(image)[0].numpy()
        count += 1
    done = count * OF_A_STEP * batch * height * width * inner * (2 * channels + 9)
    return done / (time.monotonic() - began)


def measure(config: TrainConfig, fast: Fast = Fast()) -> tuple[float, float]:
    """Multiplications a second of this very training, and the seconds that it takes to begin; takes some steps of it, of which
    nothing is kept."""
    paces: list[float] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        few = dataclasses.replace(config.optimizer, train_steps=2 * STEPS, train_last_step_num=-1, final_base_lr=None)
        short = dataclasses.replace(
            config, optimizer=few, model_dir=folder, evaluation=None, log_step_count_steps=STEPS, title="measuring"
        )
        train(short, fast, paces.append)
    (pace,) = paces
    tf.keras.backend.clear_session()
    return work_of_step(config) / pace, max(0.0, time.monotonic() - began - 2 * STEPS * pace)
