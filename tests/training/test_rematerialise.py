"""Rematerialisation changes what a training step keeps in memory, not what it computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientnet.model import EfficientNet
from efficientnet.variants import ModelConfig
from flags import build
from tests.flags.parsing import parsed
from training.config import OptimizerConfig
from training.state import TrainingState
from training.step import Batch, TrainingStep

STEPS = 3
LOSS = "loss"
CONFIG = ModelConfig("efficientnet-b0", 4, small_image_model=True, width_coefficient=0.1, depth_coefficient=0.1)


def train(rematerialise: bool, bfloat16: bool = False) -> tuple[list[dict[str, float]], dict[str, np.ndarray]]:
    """Metrics of every step, and all variables after the last one; dropout and stochastic depth are on."""
    state = TrainingState(EfficientNet(CONFIG, seed=1, bfloat16=bfloat16))
    step = compiled_step(state, rematerialise)
    generator = np.random.default_rng(3)
    metrics = []
    for _ in range(STEPS):
        metrics.append({name: float(value) for name, value in step(batch_of(generator)).items()})
    return metrics, {name: variable.numpy() for name, variable in state.named_variables().items()}


def compiled_step(state: TrainingState, rematerialise: bool) -> Any:
    optimizer = OptimizerConfig(STEPS, 64, 1, base_learning_rate=0.1)
    return tf.function(TrainingStep(state, optimizer, seed=2, rematerialise=rematerialise).__call__, autograph=False)


def batch_of(generator: np.random.Generator) -> Batch:
    images = generator.integers(0, 256, [6, 16, 16, 3]).astype(np.float32)
    return {"labeled": {"image": tf.constant(images), "label": tf.constant([0, 1, 2, 3, 0, 1])}}


def test_the_trajectory_is_the_same_with_noise_on():
    kept, recomputed = train(False), train(True)
    for expected, got in zip(kept[0], recomputed[0]):
        assert got == pytest.approx(expected, rel=1e-5)
    assert kept[0][0][LOSS] != kept[0][-1][LOSS]
    assert kept[1].keys() == recomputed[1].keys()
    for name, value in kept[1].items():
        np.testing.assert_allclose(recomputed[1][name], value, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(value).max()))


def test_a_batch_norm_has_one_gradient():
    """And none of its statistics, which is zero but takes as much memory and time."""
    state = TrainingState(EfficientNet(CONFIG, seed=1))
    graph = compiled_step(state, True).get_concrete_function(batch_of(np.random.default_rng(3))).graph
    gradients = [operation for operation in graph.get_operations() if operation.type == "FusedBatchNormGradV3"]
    assert len(gradients) == len(state.model.batch_norms())


def test_it_runs_in_bfloat16():
    metrics, variables = train(True, bfloat16=True)
    assert all(np.isfinite(value) for step in metrics for value in step.values())
    assert metrics[0][LOSS] != metrics[-1][LOSS]
    assert all(np.isfinite(value).all() for value in variables.values())


def test_the_flag_reaches_the_training():
    common = ("--mode=train", "--label_data_dir=labeled", "--model_dir=model")
    assert build.train_config(parsed(*common, "--remat")).rematerialise
    assert not build.train_config(parsed(*common)).rematerialise
