"""Convolution, batch norm and swish of a training pass on a CPU.

TensorFlow reads and writes memory once for each operation; here what is done element by element is one loop, forward and
backward, and of a batch norm's activations only its input is kept. Figures: docs/performance.md, Training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf

from efficientnet.forward_pass import ForwardPass
from efficientnet.layers import BATCH_NORM_EPSILON, BatchNormalization, biased
from fast_cpu import inference, kernels
from fast_cpu.inference import scale_and_offset


def normalized(
    convolution: tf.keras.layers.Conv2D,
    norm: BatchNormalization,
    inputs: tf.Tensor,
    forward: ForwardPass,
    *,
    activate: bool = True,
    gate: Optional[tf.Tensor] = None,
) -> tf.Tensor:
    """`efficientnet.ops.normalized` by the batch's statistics."""
    convolved = _convolved(convolution, inputs, gate)
    if activate and forward.cross_replica_mean is None:
        return _normalized_swish(norm, convolved, forward, pool=False)[0]
    outputs = norm(convolved, forward=forward)
    return tf.nn.silu(outputs) if activate else outputs


def normalized_and_pooled(
    convolution: tf.keras.layers.Conv2D, norm: BatchNormalization, inputs: tf.Tensor, forward: Optional[ForwardPass]
) -> tuple[tf.Tensor, Optional[tf.Tensor]]:
    """`efficientnet.ops.normalized_and_pooled`."""
    if forward is not None and norm.takes_batch_statistics(forward):
        if forward.cross_replica_mean is None:
            return _normalized_swish(norm, _convolved(convolution, inputs), forward, pool=True)
        features = normalized(convolution, norm, inputs, forward)
    else:
        features = inference.normalized(convolution, norm, inputs, forward)
    return features, tf.reduce_mean(features, [1, 2])


def _normalized_swish(
    norm: BatchNormalization, inputs: tf.Tensor, forward: ForwardPass, pool: bool
) -> tuple[tf.Tensor, Optional[tf.Tensor]]:
    """Swish of [B, H, W, C] normalised by its own statistics, which `forward` receives; with `pool`, its mean [B, C]."""
    gamma, beta = norm.gamma.read_value(), norm.beta.read_value()
    statistics = list[tf.Tensor]()

    @tf.custom_gradient
    def run(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
        nothing = tf.constant([], tf.float32)
        options = {"scale": gamma, "epsilon": BATCH_NORM_EPSILON, "is_training": True}
        normal, mean, variance, *reserved = tf.raw_ops.FusedBatchNormV3(
            x=inputs, offset=beta, mean=nothing, variance=nothing, **options
        )
        variance = biased(variance, inputs)
        # Not among what is returned, where each would have its gradient: zeros.
        statistics[:] = mean, variance

        def gradient(upstream: tf.Tensor, *of_pooled: tf.Tensor) -> Sequence[tf.Tensor]:
            values = [upstream, inputs, *scale_and_offset(gamma, beta, mean, variance)]
            if pool:
                values += [of_pooled[0] / tf.cast(tf.reduce_prod(tf.shape(inputs)[1:3]), inputs.dtype)]
            inner = kernels.elementwise(_swish_gradient, *values)
            spaces = {f"reserve_space_{index}": value for index, value in enumerate(reserved, 1)}
            return tf.raw_ops.FusedBatchNormGradV3(y_backprop=inner, x=inputs, **options, **spaces)[:3]

        outputs = kernels.elementwise(kernels.swish, normal)
        pooled = [tf.reduce_mean(outputs, [1, 2])] if pool else []
        return (outputs, *pooled), gradient

    outputs, *pooled = run(inputs, gamma, beta)
    forward.statistics += list(zip((norm.moving_mean, norm.moving_variance), statistics))
    return outputs, pooled[0] if pool else None


def _swish_gradient(
    upstream: tf.Tensor,
    inputs: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    of_pooled: Optional[tf.Tensor] = None,
) -> tf.Tensor:
    """Of swish at inputs * scale + offset, by inputs * scale + offset; computed in float32.

    With `of_pooled`, [B, C], each of an image's pixels receives that as well.
    """
    if of_pooled is not None:
        upstream += of_pooled[:, tf.newaxis, tf.newaxis]
    values = tf.cast(inputs, tf.float32) * scale + offset
    return tf.cast(kernels.swish_gradient(tf.cast(upstream, tf.float32), values), upstream.dtype)


def _convolved(convolution: tf.keras.layers.Conv2D, inputs: tf.Tensor, gate: Optional[tf.Tensor] = None) -> tf.Tensor:
    if isinstance(convolution, tf.keras.layers.DepthwiseConv2D):
        return kernels.depthwise_convolution(
            inputs, tf.cast(convolution.depthwise_kernel, inputs.dtype), convolution.strides[0]
        )
    kernel = tf.cast(convolution.kernel, inputs.dtype)
    if gate is not None:
        return kernels.gated_convolution(inputs, gate, kernel)
    return kernels.convolution(inputs, kernel, convolution.strides)
