"""Blocks that are computed image by image give what TensorFlow's own operations do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientnet.forward_pass import ForwardPass
from efficientnet.model import EfficientNet, takes_parts
from efficientnet.variants import ModelConfig
from fast_cpu import inference, kernels
from tests.efficientnet.tiny import images


@pytest.fixture(scope="module")
def model() -> EfficientNet:
    """All kinds of b0's blocks, a quarter as wide, with statistics that are not those of a new network."""
    model = EfficientNet(ModelConfig("efficientnet-b0", 5, width_coefficient=0.25), seed=3)
    random = np.random.default_rng(0)
    for norm in model.batch_norms():
        for variable in (norm.gamma, norm.moving_variance):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        for variable in (norm.beta, norm.moving_mean):
            variable.assign(random.normal(0.0, 0.2, variable.shape))
    for name, variable in model.named_variables().items():
        if name.endswith("bias"):
            variable.assign(random.normal(0.0, 0.5, variable.shape))
    return model


def _fused(monkeypatch: pytest.MonkeyPatch, elements: int = 1) -> None:
    monkeypatch.setattr(kernels, "on_cpu", lambda: True)
    monkeypatch.setattr(inference, "BLOCK_ELEMENTS", elements)


@pytest.mark.parametrize(("batch", "size"), [(4, 64), (3, 50)])
def test_logits(model: EfficientNet, monkeypatch: pytest.MonkeyPatch, batch: int, size: int) -> None:
    """Sizes that are even and odd, and batches that two cores share and that they do not."""
    monkeypatch.setattr(inference.machine, "cores", lambda: 2)
    pixels = tf.constant(images(batch, size))
    _fused(monkeypatch, 1 << 60)
    expected = model(pixels)
    _fused(monkeypatch)
    np.testing.assert_allclose(tf.function(model, autograph=False)(pixels), expected, rtol=1e-4, atol=1e-5)


def test_an_inference_with_noise(model: EfficientNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stochastic depth and residuals come after what is fused."""
    pixels = tf.constant(images(4, 64))
    draws = tf.constant(np.random.default_rng(1).uniform(size=[4, model.num_draws]), tf.float32)
    noised = ForwardPass(draws=draws, moving_statistics=True)
    _fused(monkeypatch, 1 << 60)
    expected = model(pixels, forward=noised)
    _fused(monkeypatch)
    np.testing.assert_allclose(model(pixels, forward=noised), expected, rtol=1e-4, atol=1e-5)


def test_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    _fused(monkeypatch, 4 * 8 * 8 * 24)
    inputs = tf.zeros([4, 8, 8, 6])
    assert inference.pays(inputs, 24)
    assert not inference.pays(inputs, 23)
    assert not inference.pays(tf.cast(inputs, tf.bfloat16), 24)
    assert not inference.pays(tf.keras.Input([8, 8, 6]), 24)
    monkeypatch.setattr(kernels, "on_cpu", lambda: False)
    assert not inference.pays(inputs, 24)


@pytest.mark.parametrize(
    ("batch", "cores", "sizes"),
    [(32, 2, [16, 16]), (32, 12, [3] * 8 + [2] * 4), (7, 4, [2, 2, 2, 1]), (1, 8, [1]), (3, 8, [1, 1, 1])],
)
def test_every_core_has_a_part(monkeypatch: pytest.MonkeyPatch, batch: int, cores: int, sizes: list[int]) -> None:
    monkeypatch.setattr(inference.machine, "cores", lambda: cores)
    assert inference.part_sizes(batch) == sizes


def test_a_frozen_block_in_training_has_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    _fused(monkeypatch)
    network = EfficientNet(
        ModelConfig("efficientnet-b0", 5, width_coefficient=0.25, depth_coefficient=0.1, fix_layer_num=1)
    )

    @tf.function(autograph=False)
    def gradients(pixels: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(pixels, forward=ForwardPass()))
        return tape.gradient(loss, network.trainable_variables)

    assert all(np.isfinite(gradient).all() for gradient in gradients(tf.constant(images(2, 32))))


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([4, 16, 16, 3], True),
        ([4, 15, 16, 3], True),  # the stem rounds up
        ([4, 14, 16, 3], False),
        ([3, 16, 16, 3], True),  # parts of 2 and 1
        ([2, 16, 16, 3], False),
        ([None, 16, 16, 3], False),
        ([4, None, 16, 3], False),
    ],
)
def test_which_images_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch, images: list[Any], expected: bool) -> None:
    monkeypatch.setattr(inference.machine, "cores", lambda: 2)
    monkeypatch.setattr(inference, "BLOCK_ELEMENTS", 2 * 8 * 8 * 96)
    assert takes_parts(ModelConfig("efficientnet-b0", 5), images) == expected


def test_the_parts_give_what_all_images_give(monkeypatch: pytest.MonkeyPatch) -> None:
    network = EfficientNet(ModelConfig("efficientnet-b0", 5, width_coefficient=0.25, depth_coefficient=0.1))
    pixels = tf.constant(images(5, 32))
    together = network(pixels).numpy()
    parts = []
    logits = network._logits

    def logits_of_part(part: tf.Tensor) -> tf.Tensor:
        parts.append(part.shape[0])
        return logits(part)

    monkeypatch.setattr(inference.machine, "cores", lambda: 2)
    monkeypatch.setattr(network, "_logits", logits_of_part)
    _fused(monkeypatch)
    np.testing.assert_allclose(network(pixels), together, rtol=1e-4, atol=1e-5)
    assert parts == [3, 2]


@pytest.mark.parametrize(("count", "compiled"), [(inference.MANY_IMAGES - 1, False), (inference.MANY_IMAGES, True)])
def test_a_few_images_compile_nothing(monkeypatch: pytest.MonkeyPatch, count: int, compiled: bool) -> None:
    asked = []
    bottleneck = inference.bottleneck

    def asking(*args: Any) -> tf.Tensor:
        asked.append(args)
        return bottleneck(*args)

    monkeypatch.setattr(inference, "bottleneck", asking)
    _fused(monkeypatch)
    network = EfficientNet(ModelConfig("efficientnet-b0", 5, width_coefficient=0.25, depth_coefficient=0.1))
    network.expect_inference_of(count)
    network(tf.constant(images(1, 32)))
    assert bool(asked) == compiled
