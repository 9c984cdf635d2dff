"""What a CPU computes in another way is the same as what TensorFlow's own operations give."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientnet.forward_pass import ForwardPass
from efficientnet.model import EfficientNet
from fast_cpu import kernels, network
from tests.efficientnet.tiny import images, tiny

BATCH, SIZE = 8, 64


@pytest.fixture
def plain() -> EfficientNet:
    return EfficientNet(tiny(small_image_model=False), seed=3)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> EfficientNet:
    """The same network, every operation of which goes the fast way."""
    monkeypatch.setattr(kernels, "FUSED_ELEMENTS", 1)
    return EfficientNet(tiny(small_image_model=False), seed=3, ops=network.training_ops())


def _step(model: EfficientNet) -> dict[str, np.ndarray]:
    """Logits, batch statistics, and the gradient of every weight of one training pass."""
    weights = model.trainable_variables
    seeds = tf.range(model.num_seeds)

    @tf.function(autograph=False)
    def run(pixels: tf.Tensor) -> Any:
        forward = ForwardPass(seeds=seeds)
        with tf.GradientTape() as tape:
            logits = model(pixels, forward=forward)
            loss = tf.reduce_mean(tf.square(logits - 1.0))
        return logits, [value for _, value in forward.statistics], tape.gradient(loss, weights)

    logits, statistics, gradients = run(tf.constant(images(BATCH, SIZE)))
    named = {variable.name: np.asarray(gradient) for variable, gradient in zip(weights, gradients)}
    return {"logits": logits.numpy(), **{f"statistic {n}": v.numpy() for n, v in enumerate(statistics)}, **named}


def test_a_training_step(plain: EfficientNet, fast: EfficientNet) -> None:
    expected = _step(plain)
    for name, value in _step(fast).items():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(value, expected[name], atol=5e-5 * scale + 1e-5, err_msg=name)


def test_inference(plain: EfficientNet, fast: EfficientNet) -> None:
    pixels = tf.constant(images(BATCH, SIZE))
    np.testing.assert_allclose(tf.function(fast)(pixels), plain(pixels), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("features", [3, 40])
def test_gates_in_the_kernel_and_on_the_image(features: int) -> None:
    """For 25 pixels: a kernel of each image's own where it has fewer features than that."""
    generator = np.random.default_rng(0)
    inputs, gate, kernel, upstream = (
        tf.constant(generator.normal(size=shape), tf.float32)
        for shape in ([2, 5, 5, 7], [2, 7], [1, 1, 7, features], [2, 5, 5, features])
    )

    def gradients(function: Any) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([inputs, gate, kernel])
            outputs = function(inputs, gate, kernel)
        return [outputs, *tape.gradient(outputs, [inputs, gate, kernel], upstream)]

    expected = gradients(lambda x, gate, kernel: tf.nn.conv2d(x * gate[:, None, None], kernel, 1, "SAME"))
    for value, right in zip(gradients(kernels.gated_convolution), expected):
        np.testing.assert_allclose(value, right, rtol=1e-4, atol=1e-5)


def test_xla_says_nothing_of_itself() -> None:
    code = (
        "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\n"
        "import tensorflow as tf\n"
        "from fast_cpu import kernels\n"
        "print(kernels.elementwise(tf.square, tf.fill([kernels.FUSED_ELEMENTS], 3.0))[0].numpy())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("9.0\n", "")


def test_swish_of_any_size() -> None:
    for elements in (10, kernels.FUSED_ELEMENTS):
        values = tf.concat([tf.linspace(-90.0, 90.0, elements), [-np.inf, np.inf, np.nan]], 0)
        np.testing.assert_allclose(
            kernels.elementwise(kernels.swish, values), tf.nn.silu(values), rtol=5e-7, atol=2e-37
        )
