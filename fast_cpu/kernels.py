"""Operations that a CPU computes faster in another way than TensorFlow's kernels do.

Measured on x86-64 with TensorFlow 2.15 (docs/performance.md, Training).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from fast_cpu.xla import compiled

# Smaller tensors are not worth what XLA takes to compile their loop.
FUSED_ELEMENTS = 1 << 18


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


def _pays(tensor: tf.Tensor) -> bool:
    elements = tensor.shape.num_elements()
    return elements is not None and elements >= FUSED_ELEMENTS


def swish(inputs: tf.Tensor) -> tf.Tensor:
    """Swish, for `elementwise`."""
    return inputs * tf.nn.sigmoid(inputs)


def swish_gradient(upstream: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """The gradient by inputs of their swish, whose gradient is `upstream`; for `elementwise`."""
    gate = tf.nn.sigmoid(inputs)
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
