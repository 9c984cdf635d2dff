"""1 x 1 convolution to many channels, batch norm and swish of a training pass on a CPU, as one.

The statistics of what such a convolution gives follow from those of its few input channels: with x's mean m and covariance S,
those of x @ w are m @ w and w' S w. So batch norm is a part of the kernel in training as well, nothing passes over the wide
activations for it, and in the backward pass neither: what the kernel's gradient is made of has all the sums. The sums are of
products (a matrix product with itself), of values less their approximate mean, which rounds to 1e-6 where the kernels of
batch norm, which sum one value after the other, round to 3e-5 (docs/performance.md, Training).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from fast_cpu import kernels

# Wide activations below this are in the caches, where passing over them costs little.
WIDE_ELEMENTS = 1 << 21
# Products of small matrices must be small beside those with all pixels.
PIXELS_A_CHANNEL = 32


class Expansion(NamedTuple):
    """Swish of a normalised convolution, [B, H, W, C'], and the statistics of the convolution, each [C'].

    `again` computes the swish once more, from what is kept for the backward pass.
    """

    outputs: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor
    again: kernels.Again


def pays(inputs: tf.Tensor, width: int) -> bool:
    """Whether `expansion` of [B, H, W, C] to `width` channels is the faster way."""
    pixels = inputs.shape[:3].num_elements()
    if pixels is None or inputs.dtype != tf.float32 or not kernels.on_cpu():
        return False
    return pixels * width >= WIDE_ELEMENTS and pixels >= PIXELS_A_CHANNEL * inputs.shape[3]


def expansion(inputs: tf.Tensor, kernel: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, *, epsilon: float) -> Expansion:
    """Swish of batch norm of a convolution of single pixels.

    Args:
      inputs: float32 [B, H, W, C], of a static shape.
      kernel: float32 [C, C'].
      gamma, beta: float32 [C'].
      epsilon: added to the variance, which is biased.
    """
    batch, height, columns, channels = inputs.shape
    pixels, width = batch * height * columns, kernel.shape[1]
    kept = dict[str, tf.Tensor]()

    @tf.custom_gradient
    def run(inputs: tf.Tensor, kernel: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
        # About the mean; which values exactly changes nothing but the rounding.
        shift = tf.reduce_mean(inputs[0], [0, 1])
        rows = _with_ones(tf.reshape(inputs, [pixels, channels]), shift)
        products = tf.matmul(rows, rows, transpose_a=True) / float(pixels)
        mean, variance = _moments(products, kernel)
        weights = _weights(products, kernel, gamma, beta, epsilon)
        normal = tf.matmul(rows, weights)
        kept.update(normal=normal, mean=mean + tf.linalg.matvec(kernel, shift, transpose_a=True), variance=variance)

        def gradient(upstream: tf.Tensor) -> Sequence[tf.Tensor]:
            inner = kernels.with_sigmoid(kernels.swish_gradient, tf.reshape(upstream, [pixels, width]), normal)
            by_weights = tf.matmul(rows, inner, transpose_a=True)
            with tf.GradientTape() as tape:
                tape.watch([products, kernel, gamma, beta])
                weights_again = _weights(products, kernel, gamma, beta, epsilon)
            by_products, *by_parameters = tape.gradient(weights_again, [products, kernel, gamma, beta], by_weights)
            by_products = (by_products + tf.transpose(by_products))[:, :channels] / float(pixels)
            by_rows = tf.matmul(inner, weights[:channels], transpose_b=True) + tf.matmul(rows, by_products)
            return tf.reshape(by_rows, inputs.shape), *by_parameters

        return tf.reshape(kernels.with_sigmoid(kernels.swish, normal), [batch, height, columns, width]), gradient

    outputs = run(inputs, kernel, gamma, beta)

    def again(when: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([when]):
            return tf.reshape(kernels.with_sigmoid(kernels.swish, kept["normal"]), outputs.shape)

    return Expansion(outputs, kept["mean"], kept["variance"], again)


def _with_ones(rows: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """[N, C] less `shift` [C], and a column of ones: [N, C + 1]. A matrix product, which passes over memory once."""
    channels = rows.shape[1]
    return tf.nn.bias_add(tf.matmul(rows, tf.eye(channels, channels + 1)), tf.concat([-shift, [1.0]], 0))


def _moments(products: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance, [C'], of shifted rows times `kernel`, from the means of the rows' products, [C + 1, C + 1]."""
    channels = kernel.shape[0]
    means = products[channels, :channels]
    covariance = products[:channels, :channels] - means[:, tf.newaxis] * means
    variance = tf.reduce_sum(kernel * tf.matmul(covariance, kernel), 0)
    return tf.linalg.matvec(kernel, means, transpose_a=True), tf.maximum(variance, 0.0)


def _weights(products: tf.Tensor, kernel: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Convolution and batch norm as one matrix, [C + 1, C'], for rows with ones."""
    mean, variance = _moments(products, kernel)
    scale = gamma * tf.math.rsqrt(variance + epsilon)
    return tf.concat([kernel * scale, (beta - mean * scale)[tf.newaxis]], 0)
