"""What a CPU computes faster in another way than TensorFlow's kernels do; elsewhere everything goes the usual way.

Measured on x86-64 with TensorFlow 2.15 (docs/performance.md, Training).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Smaller tensors are not worth what XLA takes to compile their loop.
FUSED_ELEMENTS = 1 << 18


def on_cpu() -> bool:
    """Whether there is no accelerator."""
    return not (tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


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
