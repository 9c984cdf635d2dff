"""What a CPU computes faster in another way than TensorFlow's kernels do; elsewhere everything goes the usual way.

Measured on x86-64 with TensorFlow 2.15 (docs/performance.md, Training).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# Smaller tensors are not worth what XLA takes to compile their loop.
FUSED_ELEMENTS = 1 << 18
# How many more pixels than output channels make it pay to multiply a kernel of each image's own by its gate.
PIXELS_OF_OWN_KERNEL = 8


def on_cpu() -> bool:
    """Whether there is no accelerator."""
    return not (tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def convolution(inputs: tf.Tensor, kernel: tf.Tensor, strides: Sequence[int]) -> tf.Tensor:
    """`same` convolution of [B, H, W, C] by [k, k, C, C']: of single pixels as the matrix product that it is."""
    if not on_cpu() or kernel.shape[:2] != (1, 1) or None in inputs.shape[1:]:
        return tf.nn.conv2d(inputs, kernel, strides, "SAME")
    _, height, width, channels = inputs.shape
    outputs = tf.matmul(tf.reshape(inputs, [-1, channels]), kernel[0, 0])
    return tf.reshape(outputs, [-1, height, width, kernel.shape[3]])


def gated_convolution(inputs: tf.Tensor, gate: tf.Tensor, kernel: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Convolution of single pixels: [B, H, W, C] times `gate` [B, C], by `kernel` [1, 1, C, C'], plus `offset` [C']."""
    if not on_cpu() or None in inputs.shape[1:]:
        outputs = tf.nn.conv2d(inputs * gate[:, tf.newaxis, tf.newaxis], kernel, 1, "SAME")
        return tf.nn.bias_add(outputs, offset)
    _, height, width, channels = inputs.shape
    kernel, features = kernel[0, 0], kernel.shape[3]
    if height * width >= PIXELS_OF_OWN_KERNEL * features:
        # A kernel for each image is smaller than the image.
        kernels = gate[:, :, tf.newaxis] * kernel
        outputs = tf.matmul(tf.reshape(inputs, [-1, height * width, channels]), kernels) + offset
    else:
        gated = tf.reshape(inputs * gate[:, tf.newaxis, tf.newaxis], [-1, channels])
        outputs = tf.nn.bias_add(tf.matmul(gated, kernel), offset)
    return tf.reshape(outputs, [-1, height, width, features])


def elementwise(function: Callable[..., tf.Tensor], *inputs: tf.Tensor) -> tf.Tensor:
    """`function(*inputs)` as one loop over the first input's elements where that pays.

    TensorFlow reads and writes memory once for each of the function's operations; XLA does so once for all of them.
    """
    elements = inputs[0].shape.num_elements()
    if elements is None or elements < FUSED_ELEMENTS or not on_cpu():
        return function(*inputs)
    return _compiled(function, tuple(tuple(value.shape) for value in inputs))(*inputs)


@functools.cache
def _compiled(function: Callable[..., tf.Tensor], shapes: tuple[tuple[int, ...], ...]) -> Any:
    """One for each shape: TensorFlow warns of a function that is traced for many."""
    return tf.function(function, autograph=False, jit_compile=True)


def depthwise(inputs: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """`same` depthwise convolution of [B, H, W, C] by [k, k, C, 1] with a faster gradient for the kernel.

    oneDNN's gradient takes twice the time of TensorFlow's own kernel for k = 5; padding that is given by numbers is a case
    that TensorFlow keeps for its own.
    """
    strides = [1, stride, stride, 1]

    @tf.custom_gradient
    def run(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            by_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, strides=strides, padding="SAME"
            )
            by_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=inputs,
                filter_sizes=tf.shape(kernel),
                out_backprop=upstream,
                strides=strides,
                padding="EXPLICIT",
                explicit_paddings=[0, 0, *_same(inputs, kernel, stride, 1), *_same(inputs, kernel, stride, 2), 0, 0],
            )
            return by_inputs, by_kernel

        return tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME"), gradient

    return run(inputs, kernel)


def _same(inputs: tf.Tensor, kernel: tf.Tensor, stride: int, axis: int) -> tuple[int, int]:
    """The pixels that `same` padding adds before and after."""
    size = inputs.shape[axis]
    total = max((-(-size // stride) - 1) * stride + kernel.shape[0] - size, 0)
    return total // 2, total - total // 2
