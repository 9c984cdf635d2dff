"""An expansion of which batch norm is a part gives what convolution, batch norm and swish give, and rounds less."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientnet.forward_pass import ForwardPass
from efficientnet.layers import BATCH_NORM_EPSILON
from efficientnet.model import EfficientNet
from fast_cpu import expansion as fast_cpu_expansion
from fast_cpu import kernels
from fast_cpu.expansion import Expansion, pays
from tests.efficientnet.tiny import images, tiny

Arrays = dict[str, np.ndarray]


def _arrays(offset: float = 1.0, shape: tuple[int, ...] = (3, 6, 5, 4), width: int = 9) -> list[np.ndarray]:
    """Inputs with means of their own, kernel, gamma, beta and a gradient from above."""
    random = np.random.default_rng(0)
    channels = shape[-1]
    inputs = random.normal(size=shape) + offset * random.normal(size=channels)
    kernel = random.normal(size=[channels, width])
    gamma, beta = random.uniform(0.5, 1.5, width), random.normal(size=width)
    return [inputs, kernel, gamma, beta, random.normal(size=[*shape[:3], width])]


def _reference(arrays: list[np.ndarray]) -> Arrays:
    """In float64, one after the other."""
    *values, upstream = (tf.constant(array, tf.float64) for array in arrays)
    with tf.GradientTape() as tape:
        tape.watch(values)
        inputs, kernel, gamma, beta = values
        convolved = tf.tensordot(inputs, kernel, 1)
        mean = tf.reduce_mean(convolved, [0, 1, 2])
        variance = tf.reduce_mean(tf.square(convolved - mean), [0, 1, 2])
        outputs = tf.nn.silu((convolved - mean) * tf.math.rsqrt(variance + BATCH_NORM_EPSILON) * gamma + beta)
    return _named(outputs, mean, variance, tape.gradient(outputs, values, upstream))


def _as_one(arrays: list[np.ndarray]) -> Arrays:
    *values, upstream = (tf.constant(array, tf.float32) for array in arrays)

    @tf.function(autograph=False)
    def run() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(values)
            result = fast_cpu_expansion.expansion(*values, epsilon=BATCH_NORM_EPSILON)
        again = result.again(upstream)
        return result.outputs, result.mean, result.variance, tape.gradient(result.outputs, values, upstream), again

    outputs, mean, variance, gradients, again = run()
    np.testing.assert_array_equal(again, outputs)
    return _named(outputs, mean, variance, gradients)


def _named(outputs: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, gradients: list[tf.Tensor]) -> Arrays:
    values = [outputs, mean, variance, *gradients]
    names = ["outputs", "mean", "variance", "by inputs", "by kernel", "by gamma", "by beta"]
    return {name: value.numpy() for name, value in zip(names, values)}


def _agree(actual: Arrays, expected: Arrays, tolerance: float) -> None:
    for name, value in actual.items():
        scale = max(np.abs(expected[name]).max(), 1.0)
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("offset", [0.0, 1.0, 30.0])
def test_values_statistics_and_gradients(offset: float) -> None:
    """Inputs far from zero cost no digits."""
    arrays = _arrays(offset)
    _agree(_as_one(arrays), _reference(arrays), 3e-6)


def test_many_pixels() -> None:
    """Sums of 100,000 values, where TensorFlow's batch norm is 3e-5 away."""
    arrays = _arrays(shape=(8, 112, 112, 4))
    _agree(_as_one(arrays), _reference(arrays), 3e-6)


def test_channels_that_do_not_vary() -> None:
    """A variance of zero, with values for which rounding alone could make it negative."""
    inputs, *others = _arrays()
    arrays = [np.broadcast_to(inputs[0, 0, 0], inputs.shape), *others]
    actual = _as_one(arrays)
    assert (actual["variance"] >= 0).all()
    np.testing.assert_allclose(actual["variance"], 0.0, atol=1e-9)
    _agree({"outputs": actual["outputs"]}, _reference(arrays), 3e-6)


def test_one_pixel() -> None:
    """The inputs' gradient is zero, as the difference of sums that rsqrt(epsilon) makes large: to a rounding of those."""
    arrays = _arrays(shape=(1, 1, 1, 4))
    actual, expected = _as_one(arrays), _reference(arrays)
    terms = np.abs(arrays[4]) @ np.abs(arrays[1] * arrays[2]).T / np.sqrt(BATCH_NORM_EPSILON)
    np.testing.assert_allclose(expected["by inputs"], 0.0, atol=1e-12)
    assert (np.abs(actual.pop("by inputs")) <= np.finfo(np.float32).eps * terms).all()
    _agree(actual, expected, 3e-6)


def test_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "on_cpu", lambda: True)
    monkeypatch.setattr(fast_cpu_expansion, "WIDE_ELEMENTS", 2 * 8 * 8 * 24)
    inputs = tf.zeros([2, 8, 8, 4])
    assert pays(inputs, 24)
    assert not pays(inputs, 23)
    assert not pays(tf.zeros([2, 8, 8, 5]), 24), "128 pixels are less than 32 for each of 5 channels"
    assert not pays(tf.cast(inputs, tf.bfloat16), 24)
    assert not pays(tf.keras.Input([8, 8, 4]), 24)
    monkeypatch.setattr(kernels, "on_cpu", lambda: False)
    assert not pays(inputs, 24)


@pytest.mark.parametrize("rematerialise", [False, True])
def test_a_network_s_training_pass(monkeypatch: pytest.MonkeyPatch, rematerialise: bool) -> None:
    """All expansions and the head, noise and residuals around them: logits, statistics and gradients."""
    model = EfficientNet(tiny(small_image_model=False), seed=3)
    names = [variable.name for variable in model.trainable_variables]
    count = list[int]()
    expansion = fast_cpu_expansion.expansion

    def counted(*args: Any, **options: Any) -> Expansion:
        count.append(1)
        return expansion(*args, **options)

    @tf.function(autograph=False)
    def step(pixels: tf.Tensor) -> Any:
        forward = ForwardPass(seeds=tf.range(model.num_seeds), rematerialise=rematerialise)
        with tf.GradientTape() as tape:
            logits = model(pixels, forward=forward)
            loss = tf.reduce_mean(tf.square(logits - 1.0))
        statistics = {variable.name: value for variable, value in forward.statistics}
        return {"logits": logits, **statistics, **dict(zip(names, tape.gradient(loss, model.trainable_variables)))}

    pixels = tf.constant(images(8, 64))
    monkeypatch.setattr(fast_cpu_expansion, "expansion", counted)
    monkeypatch.setattr(kernels, "on_cpu", lambda: False)
    expected = step.python_function(pixels)
    assert not count
    monkeypatch.setattr(kernels, "on_cpu", lambda: True)
    monkeypatch.setattr(fast_cpu_expansion, "WIDE_ELEMENTS", 1)
    monkeypatch.setattr(fast_cpu_expansion, "PIXELS_A_CHANNEL", 0)
    actual = step(pixels)
    assert len(count) >= sum(block.expands for block in model.blocks) + 1
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=5e-5 * scale + 1e-5, err_msg=name)
