"""Blocks that are computed image by image give what TensorFlow's own operations do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientnet.forward_pass import ForwardPass
from efficientnet.model import EfficientNet
from efficientnet.ops import Ops
from efficientnet.variants import ModelConfig
from fast_cpu import inference, network
from tests.efficientnet.tiny import images

MANY = network.MANY_IMAGES


def _with_statistics(model: EfficientNet) -> EfficientNet:
    """Statistics that are not those of a new network."""
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


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> tuple[EfficientNet, EfficientNet]:
    """All kinds of b0's blocks, a quarter as wide: computed plainly, and all that can be image by image."""
    monkeypatch.setattr(inference, "BLOCK_ELEMENTS", 1)
    config = ModelConfig("efficientnet-b0", 5, width_coefficient=0.25)
    fast = EfficientNet(config, seed=3, ops=network.inference_ops(lambda enough: enough))
    return _with_statistics(EfficientNet(config, seed=3)), _with_statistics(fast)


@pytest.mark.parametrize(("batch", "size"), [(4, 64), (3, 50)])
def test_logits(
    models: tuple[EfficientNet, EfficientNet], monkeypatch: pytest.MonkeyPatch, batch: int, size: int
) -> None:
    """Sizes that are even and odd, and batches that two cores share and that they do not."""
    monkeypatch.setattr(inference.machine, "cores", lambda: 2)
    plain, fast = models
    pixels = tf.constant(images(batch, size))
    np.testing.assert_allclose(tf.function(fast, autograph=False)(pixels), plain(pixels), rtol=1e-4, atol=1e-5)


def test_an_inference_with_noise(models: tuple[EfficientNet, EfficientNet]) -> None:
    """Stochastic depth and residuals come after what is fused."""
    plain, fast = models
    pixels = tf.constant(images(4, 64))
    draws = tf.constant(np.random.default_rng(1).uniform(size=[4, plain.num_draws]), tf.float32)
    noised = ForwardPass(draws=draws, moving_statistics=True)
    np.testing.assert_allclose(fast(pixels, forward=noised), plain(pixels, forward=noised), rtol=1e-4, atol=1e-5)


def test_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "BLOCK_ELEMENTS", 4 * 8 * 8 * 24)
    inputs = tf.zeros([4, 8, 8, 6])
    assert inference.pays(inputs, 24)
    assert not inference.pays(inputs, 23)
    assert not inference.pays(tf.cast(inputs, tf.bfloat16), 24)
    assert not inference.pays(tf.keras.Input([8, 8, 6]), 24)


def test_an_accelerator_takes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network.devices, "has_accelerator", lambda: True)
    assert network.training_ops() == network.inference_ops(lambda enough: enough) == Ops()


@pytest.mark.parametrize(
    ("batch", "cores", "sizes"),
    [(32, 2, [16, 16]), (32, 12, [3] * 8 + [2] * 4), (7, 4, [2, 2, 2, 1]), (1, 8, [1]), (3, 8, [1, 1, 1])],
)
def test_every_core_has_a_part(monkeypatch: pytest.MonkeyPatch, batch: int, cores: int, sizes: list[int]) -> None:
    monkeypatch.setattr(inference.machine, "cores", lambda: cores)
    assert inference.part_sizes(batch) == sizes


def test_a_frozen_block_in_training_has_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "BLOCK_ELEMENTS", 1)
    config = ModelConfig("efficientnet-b0", 5, width_coefficient=0.25, depth_coefficient=0.1, fix_layer_num=1)
    frozen = EfficientNet(config, ops=network.training_ops())

    @tf.function(autograph=False)
    def gradients(pixels: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(frozen(pixels, forward=ForwardPass()))
        return tape.gradient(loss, frozen.trainable_variables)

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
    assert inference.takes_parts(ModelConfig("efficientnet-b0", 5), images) == expected


def test_the_parts_give_what_all_images_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "BLOCK_ELEMENTS", 1)
    monkeypatch.setattr(inference.machine, "cores", lambda: 2)
    config = ModelConfig("efficientnet-b0", 5, width_coefficient=0.25, depth_coefficient=0.1)
    fast = EfficientNet(config, ops=network.inference_ops(lambda enough: enough))
    pixels = tf.constant(images(5, 32))
    parts = []
    logits = fast.logits

    def logits_of_part(part: tf.Tensor, forward: Any) -> tf.Tensor:
        parts.append(part.shape[0])
        return logits(part, forward)

    monkeypatch.setattr(fast, "logits", logits_of_part)
    np.testing.assert_allclose(fast(pixels), EfficientNet(config)(pixels), rtol=1e-4, atol=1e-5)
    assert parts == [3, 2]


@pytest.mark.parametrize(("count", "compiled"), [(MANY - 1, False), (MANY, True)])
def test_a_few_images_compile_nothing(monkeypatch: pytest.MonkeyPatch, count: int, compiled: bool) -> None:
    asked = []
    bottleneck = inference.bottleneck

    def asking(*args: Any) -> tf.Tensor:
        asked.append(args)
        return bottleneck(*args)

    monkeypatch.setattr(inference, "bottleneck", asking)
    monkeypatch.setattr(inference, "BLOCK_ELEMENTS", 1)
    ops = network.inference_ops(lambda enough: min(count, enough))
    EfficientNet(ModelConfig("efficientnet-b0", 5, width_coefficient=0.25, depth_coefficient=0.1), ops=ops)(
        tf.constant(images(1, 32))
    )
    assert bool(asked) == compiled


@pytest.mark.parametrize(("size", "gpus", "expected"), [(224, [], [1]), (32, [], []), (224, ["GPU:0"], [])])
def test_an_operation_takes_one_core_if_each_core_has_images_of_its_own(
    monkeypatch: pytest.MonkeyPatch, size: int, gpus: list[str], expected: list[int]
) -> None:
    threads: list[int] = []
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", threads.append)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    network.before_inference(ModelConfig("efficientnet-b0", 10), [32, size, size, 3])
    assert threads == expected
