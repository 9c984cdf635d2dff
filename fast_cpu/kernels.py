"""Operations that a CPU computes faster in another way than TensorFlow's kernels do.

Measured on x86-64 with TensorFlow 2.15 (docs/performance.md, Training).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.polynomial import Chebyshev, Polynomial

from fast_cpu.xla import compiled

# As TensorFlow computes it, or XLA.
Sigmoid = Callable[[tf.Tensor], tf.Tensor]

# Smaller tensors are not worth what XLA takes to compile their loop.
FUSED_ELEMENTS = 1 << 18
# Coefficients of 2^x for x within 0.5, the highest first: 2e-9 from it, where float32 has 6e-8.
_POWERS_OF_2 = Chebyshev.interpolate(np.exp2, 6, domain=[-0.5, 0.5]).convert(kind=Polynomial).coef[::-1].tolist()


def convolution(inputs: tf.Tensor, kernel: tf.Tensor, strides: Sequence[int]) -> tf.Tensor:
    """`same` convolution of [B, H, W, C] by [k, k, C, C']: of single pixels as the matrix product that it is."""
    if kernel.shape[:2] != (1, 1) or None in inputs.shape[1:]:
        return tf.nn.conv2d(inputs, kernel, strides, "SAME")
    return tf.tensordot(inputs, tf.squeeze(kernel, [0, 1]), 1)


def gated_convolution(inputs: tf.Tensor, gate: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolution of single pixels: [B, H, W, C] times `gate` [B, C], by `kernel` [1, 1, C, C']."""
    _, height, width, channels = inputs.shape
    features = kernel.shape[3]
    if None in (height, width) or height * width <= features:
        return convolution(inputs * gate[:, tf.newaxis, tf.newaxis], kernel, [1, 1])

    @tf.custom_gradient
    def run(inputs: tf.Tensor, kernels: tf.Tensor) -> Any:
        def pixels(images: tf.Tensor) -> tf.Tensor:
            return tf.reshape(images, [-1, height * width, images.shape[3]])

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            by_inputs = tf.matmul(pixels(upstream), kernels, transpose_b=True)
            by_kernels = tf.matmul(pixels(inputs), pixels(upstream), transpose_a=True)
            return tf.reshape(by_inputs, [-1, height, width, channels]), by_kernels

        return tf.reshape(tf.matmul(pixels(inputs), kernels), [-1, height, width, features]), gradient

    # A kernel of its own for each image is smaller than the image.
    return run(inputs, tf.expand_dims(gate, 2) * tf.squeeze(kernel, [0, 1]))


def elementwise(function: Callable[..., tf.Tensor], *inputs: tf.Tensor) -> tf.Tensor:
    """`function(*inputs)` as one loop over the first input's elements where that pays.

    TensorFlow reads and writes memory once for each of the function's operations; XLA does so once for all of them.
    """
    if not _pays(inputs[0]):
        return function(*inputs)
    return _compiled(function, tuple(tuple(value.shape) for value in inputs))(*inputs)


def with_sigmoid(function: Callable[..., tf.Tensor], *inputs: tf.Tensor) -> tf.Tensor:
    """`elementwise` of a function whose first argument is sigmoid: it receives the fastest one."""
    if not _pays(inputs[0]):
        return function(tf.nn.sigmoid, *inputs)
    return elementwise(_with_own(function), *inputs)


@functools.cache
def _with_own(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    return functools.partial(function, sigmoid)


def _pays(tensor: tf.Tensor) -> bool:
    elements = tensor.shape.num_elements()
    return elements is not None and elements >= FUSED_ELEMENTS


@tf.custom_gradient
def sigmoid(inputs: tf.Tensor) -> Any:
    """Sigmoid as XLA computes it fastest: 1 / (1 + 2^t), computed in float32, in fewer instructions than its own.

    2^t is 2^n, made of an exponent's bits, times a polynomial of what t is beside the whole number n, within 0.5.
    """
    # Not `clip_by_value`, of which XLA makes an operation that loses NaN.
    power = tf.maximum(tf.maximum(tf.cast(inputs, tf.float32), -88.0) * -math.log2(math.e), -126.0)
    whole = tf.round(power)
    rest = power - whole
    fraction = functools.reduce(lambda total, factor: total * rest + factor, _POWERS_OF_2, tf.zeros([]))
    # So much added, a float32's lowest bits are those of the whole number and the exponent's bias.
    exponent = tf.bitwise.left_shift(tf.bitcast(whole + (1.5 * 2.0**23 + 127), tf.int32), 23)
    outputs = tf.cast(1.0 / (1.0 + fraction * tf.bitcast(exponent, tf.float32)), inputs.dtype)
    return outputs, lambda upstream: upstream * outputs * (1.0 - outputs)


def swish(sigmoid: Sigmoid, inputs: tf.Tensor) -> tf.Tensor:
    """Swish, for `with_sigmoid`."""
    return inputs * sigmoid(inputs)


def swish_gradient(sigmoid: Sigmoid, upstream: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """The gradient by inputs of their swish, whose gradient is `upstream`; for `with_sigmoid`."""
    gate = sigmoid(inputs)
    return upstream * gate * (1.0 + inputs * (1.0 - gate))


@functools.cache
def _compiled(function: Callable[..., tf.Tensor], shapes: tuple[tuple[int, ...], ...]) -> Any:
    """One for each shape: TensorFlow warns of a function that is traced for many."""
    return compiled(function)


def depthwise_convolution(inputs: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """`same` depthwise convolution of [B, H, W, C] by [k, k, C, 1].

    oneDNN's gradient by a kernel of more than 3 x 3 pixels takes twice the time of TensorFlow's own. Padding that is given by
    numbers is a case that TensorFlow keeps for its own.
    """
    strides, size = [1, stride, stride, 1], kernel.shape[0]
    if size <= 3 or None in inputs.shape[1:3]:
        return tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME")
    pixels = [number for side in inputs.shape[1:3] for number in same_padding(side, size, stride)]

    @tf.custom_gradient
    def run(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            by_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=inputs,
                filter_sizes=tf.shape(kernel),
                out_backprop=upstream,
                strides=strides,
                padding="EXPLICIT",
                explicit_paddings=[0, 0, *pixels, 0, 0],
            )
            by_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, strides=strides, padding="SAME"
            )
            return by_inputs, by_kernel

        return tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME"), gradient

    return run(inputs, kernel)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """The pixels that `same` padding adds before and after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
