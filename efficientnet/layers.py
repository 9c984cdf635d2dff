"""The layers that EfficientNet needs beyond Keras's own, and what a pass through them carries.

The only file that imports keras_cv.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional

import tensorflow as tf

from efficientnet.forward_pass import ForwardPass
from efficientnet.quiet_import import keras_cv
from fast_cpu import expansion, kernels

BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.99


class BatchNormalization(tf.keras.layers.Layer):
    """Batch norm with the release's statistics: momentum 0.99, epsilon 1e-3, biased variance (RELEASE section 1).

    The layer never assigns its moving statistics: a training pass reports the batch's in `ForwardPass.statistics` and the
    trainer applies them with the weights' update, once, whatever the number of replicas.
    """

    def build(self, input_shape: Sequence[Optional[int]]) -> None:
        """Creates gamma, beta and the moving statistics, each float32 [C]."""
        shape = [input_shape[-1]]
        options: dict[str, Any] = {"shape": shape, "dtype": tf.float32, "experimental_autocast": False}
        self.gamma = self.add_weight(name="gamma", initializer="ones", **options)
        self.beta = self.add_weight(name="beta", initializer="zeros", **options)
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", trainable=False, **options)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", trainable=False, **options)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, forward: Optional[ForwardPass] = None) -> tf.Tensor:
        """Normalises [B, H, W, C]: by the batch where `forward` is given, by the moving statistics otherwise."""
        if forward is None or not self.takes_batch_statistics(forward):
            outputs, _, _ = tf.compat.v1.nn.fused_batch_norm(
                inputs,
                self.gamma,
                self.beta,
                self.moving_mean,
                self.moving_variance,
                epsilon=BATCH_NORM_EPSILON,
                is_training=False,
            )
            return outputs
        if forward.cross_replica_mean is None:
            outputs, mean, variance = self._normalize_locally(inputs)
        else:
            outputs, mean, variance = self._normalize_across_replicas(inputs, forward.cross_replica_mean)
        forward.statistics += [(self.moving_mean, mean), (self.moving_variance, variance)]
        return outputs

    def normalize_and_swish(
        self, inputs: tf.Tensor, forward: ForwardPass, pool: bool
    ) -> tuple[tf.Tensor, Optional[tf.Tensor]]:
        """Swish of [B, H, W, C] normalised by its own statistics, which `forward` receives; with `pool`, its mean [B, C].

        What it keeps for the backward pass is its input alone; the normalised values are computed again there.
        """
        gamma, beta = self.gamma.read_value(), self.beta.read_value()
        statistics = list[tf.Tensor]()

        @tf.custom_gradient
        def run(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
            nothing = tf.constant([], tf.float32)
            options = {"scale": gamma, "epsilon": BATCH_NORM_EPSILON, "is_training": True}
            normal, mean, variance, *reserved = tf.raw_ops.FusedBatchNormV3(
                x=inputs, offset=beta, mean=nothing, variance=nothing, **options
            )
            variance = _biased(variance, inputs)
            # Not among what is returned, where each would have its gradient: zeros.
            statistics[:] = mean, variance

            def gradient(upstream: tf.Tensor, *of_pooled: tf.Tensor) -> Sequence[tf.Tensor]:
                values = [upstream, inputs, *_scale_and_offset(gamma, beta, mean, variance)]
                if pool:
                    values += [of_pooled[0] / tf.cast(tf.reduce_prod(tf.shape(inputs)[1:3]), inputs.dtype)]
                inner = kernels.with_sigmoid(_swish_gradient, *values)
                spaces = {f"reserve_space_{index}": value for index, value in enumerate(reserved, 1)}
                return tf.raw_ops.FusedBatchNormGradV3(y_backprop=inner, x=inputs, **options, **spaces)[:3]

            outputs = kernels.with_sigmoid(kernels.swish, normal)
            pooled = [tf.reduce_mean(outputs, [1, 2])] if pool else []
            return (outputs, *pooled), gradient

        outputs, *pooled = run(inputs, gamma, beta)
        mean, variance = statistics
        forward.statistics += [(self.moving_mean, mean), (self.moving_variance, variance)]

        def again(when: tf.Tensor) -> tf.Tensor:
            with tf.control_dependencies([when]):
                return kernels.with_sigmoid(_normalized_swish, inputs, *_scale_and_offset(gamma, beta, mean, variance))

        if kernels.is_large(outputs):
            forward.again[outputs.ref()] = again
        return outputs, pooled[0] if pool else None

    def expand_and_swish(self, inputs: tf.Tensor, kernel: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Swish of a convolution of single pixels normalised by its own statistics, which `forward` receives.

        Args:
          inputs: float32 [B, H, W, C] for which `cpu_expansion.pays`.
          kernel: float32 [1, 1, C, C'].
        """
        parameters = self.gamma.read_value(), self.beta.read_value()
        result = expansion.expansion(inputs, tf.squeeze(kernel, [0, 1]), *parameters, epsilon=BATCH_NORM_EPSILON)
        forward.statistics += [(self.moving_mean, result.mean), (self.moving_variance, result.variance)]
        if kernels.is_large(result.outputs):
            forward.again[result.outputs.ref()] = result.again
        return result.outputs

    def _normalize_locally(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=BATCH_NORM_EPSILON, is_training=True
        )
        return outputs, mean, _biased(variance, inputs)

    def _normalize_across_replicas(
        self, inputs: tf.Tensor, cross_replica_mean: Callable[[list[tf.Tensor]], Sequence[tf.Tensor]]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        values = tf.cast(inputs, tf.float32)
        mean, mean_of_squares = cross_replica_mean(
            [tf.reduce_mean(values, [0, 1, 2]), tf.reduce_mean(tf.square(values), [0, 1, 2])]
        )
        variance = mean_of_squares - tf.square(mean)
        outputs = tf.nn.batch_normalization(values, mean, variance, self.beta, self.gamma, BATCH_NORM_EPSILON)
        return tf.cast(outputs, inputs.dtype), mean, variance

    def takes_batch_statistics(self, forward: Optional[ForwardPass]) -> bool:
        """Whether this pass normalises by the batch and not by the moving statistics."""
        return self.trainable and forward is not None and not forward.moving_statistics

    def as_scale_and_offset(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Inference as `inputs * scale + offset`, each float32 [C]."""
        return _scale_and_offset(self.gamma, self.beta, self.moving_mean, self.moving_variance)


def _biased(variance: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """The variance that the release stores of one that TensorFlow's kernel returns, which is N / (N - 1) of it."""
    elements = inputs.shape.num_elements()
    if elements is not None:
        count = elements // inputs.shape[-1]
        return variance * (max(count - 1, 1) / count)
    count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
    return variance * (tf.maximum(count - 1.0, 1.0) / count)


def _scale_and_offset(
    gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Batch norm as `inputs * scale + offset`, each float32 [C]."""
    scale = gamma * tf.math.rsqrt(variance + BATCH_NORM_EPSILON)
    return scale, beta - mean * scale


def _normalized_swish(sigmoid: kernels.Sigmoid, inputs: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    return tf.cast(kernels.swish(sigmoid, tf.cast(inputs, tf.float32) * scale + offset), inputs.dtype)


def _swish_gradient(
    sigmoid: kernels.Sigmoid,
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
    return tf.cast(kernels.swish_gradient(sigmoid, tf.cast(upstream, tf.float32), values), upstream.dtype)


def normalized(
    convolution: tf.keras.layers.Conv2D,
    norm: BatchNormalization,
    inputs: tf.Tensor,
    forward: Optional[ForwardPass],
    *,
    activate: bool = True,
    gate: Optional[tf.Tensor] = None,
) -> tf.Tensor:
    """Convolution (plain or depthwise, without bias), batch norm and, with `activate`, swish of [B, H, W, C].

    With `gate`, [B, C], each image's channels are multiplied by theirs beforehand.

    In inference the norm is a part of the kernel.
    """
    if forward is not None and norm.takes_batch_statistics(forward):
        is_local = forward.cross_replica_mean is None
        if activate and is_local and gate is None and _expands(convolution, inputs):
            return norm.expand_and_swish(inputs, convolution.kernel, forward)
        convolved = _convolved(convolution, inputs, gate, forward)
        if activate and is_local:
            return norm.normalize_and_swish(convolved, forward, pool=False)[0]
        outputs = norm(convolved, forward=forward)
        return tf.nn.silu(outputs) if activate else outputs
    kernel, offset = (tf.cast(part, inputs.dtype) for part in folded(convolution, norm))
    if isinstance(convolution, tf.keras.layers.DepthwiseConv2D):
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, [1, *convolution.strides, 1], "SAME")
    elif gate is None:
        outputs = kernels.convolution(inputs, kernel, convolution.strides)
    else:
        outputs = kernels.gated_convolution(inputs, gate, kernel)
    return kernels.with_sigmoid(_swish_of_sum, outputs, offset) if activate else tf.nn.bias_add(outputs, offset)


def folded(convolution: tf.keras.layers.Conv2D, norm: BatchNormalization) -> tuple[tf.Tensor, tf.Tensor]:
    """Kernel and offset, float32, of a convolution whose batch norm takes the moving statistics."""
    scale, offset = norm.as_scale_and_offset()
    if isinstance(convolution, tf.keras.layers.DepthwiseConv2D):
        return _uncast(convolution.depthwise_kernel) * scale[:, tf.newaxis], offset
    return _uncast(convolution.kernel) * scale, offset


def normalized_and_pooled(
    convolution: tf.keras.layers.Conv2D, norm: BatchNormalization, inputs: tf.Tensor, forward: Optional[ForwardPass]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Convolution, batch norm and swish of [B, H, W, C], and the mean of that over its pixels, [B, C]."""
    if forward is not None and norm.takes_batch_statistics(forward) and forward.cross_replica_mean is None:
        return norm.normalize_and_swish(_convolved(convolution, inputs, None, forward), forward, pool=True)
    features = normalized(convolution, norm, inputs, forward)
    return features, tf.reduce_mean(features, [1, 2])


def _expands(convolution: tf.keras.layers.Conv2D, inputs: tf.Tensor) -> bool:
    """Whether a convolution and its batch norm are better computed as one in training."""
    is_depthwise = isinstance(convolution, tf.keras.layers.DepthwiseConv2D)
    return not is_depthwise and convolution.kernel_size == (1, 1) and expansion.pays(inputs, convolution.filters)


def _swish_of_sum(sigmoid: kernels.Sigmoid, inputs: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    return kernels.swish(sigmoid, tf.nn.bias_add(inputs, offset))


def _convolved(
    convolution: tf.keras.layers.Conv2D, inputs: tf.Tensor, gate: Optional[tf.Tensor], forward: ForwardPass
) -> tf.Tensor:
    """The convolution of a training pass."""
    again = forward.again.get(inputs.ref())
    if isinstance(convolution, tf.keras.layers.DepthwiseConv2D):
        return depthwise_convolution(convolution, inputs, again)
    kernel = tf.cast(convolution.kernel, inputs.dtype)
    if gate is not None:
        return kernels.gated_convolution(inputs, gate, kernel, again)
    return kernels.convolution(inputs, kernel, convolution.strides)


def depthwise_convolution(
    convolution: tf.keras.layers.DepthwiseConv2D, inputs: tf.Tensor, again: Optional[kernels.Again] = None
) -> tf.Tensor:
    """`same` depthwise convolution of [B, H, W, C]; with `again`, inputs are computed again in the backward pass."""
    strides = [1, *convolution.strides, 1]
    size = convolution.kernel_size[0]

    @tf.custom_gradient
    def run(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            options = {"out_backprop": upstream, "strides": strides}
            by_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=inputs if again is None else again(upstream),
                filter_sizes=tf.shape(kernel),
                **kernels.padding_of_filter_gradient(inputs.shape, size, strides[1]),
                **options,
            )
            # One after the other where they are large: what is computed again is gone before the next is there.
            with tf.control_dependencies([] if again is None else [by_kernel]):
                by_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                    input_sizes=tf.shape(inputs), filter=kernel, padding="SAME", **options
                )
            return by_inputs, by_kernel

        return tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME"), gradient

    return run(inputs, tf.cast(convolution.depthwise_kernel, inputs.dtype))


def _uncast(variable: tf.Variable) -> tf.Variable:
    """The float32 variable behind Keras's mixed-precision wrapper, so that products are rounded once."""
    return getattr(variable, "_variable", variable)


def dense(convolution: tf.keras.layers.Conv2D, inputs: tf.Tensor) -> tf.Tensor:
    """A 1x1 convolution with bias on one pixel, [B, C] -> [B, C'], as the matrix product that it is."""
    kernel = tf.cast(convolution.kernel, inputs.dtype)
    outputs = tf.matmul(inputs, tf.reshape(kernel, kernel.shape[2:]))
    return tf.nn.bias_add(outputs, tf.cast(convolution.bias, inputs.dtype))


class StochasticDepth(keras_cv.layers.DropPath):
    """Drops a residual branch per sample; kept samples are divided by the keep probability (Huang et al., 2016).

    keras_cv draws from a seed that is a Python constant, so that a compiled step would drop the same samples for ever:
    every call sets the seed of its own step.
    """

    def call(self, inputs: tf.Tensor, seed: tf.Tensor, noised: Optional[tf.Tensor] = None) -> tf.Tensor:
        """Applies it to [B, H, W, C] with `seed` (int32 scalar); samples that are not `noised` (bool [B]) pass unchanged."""
        self.seed = seed
        outputs = super().call(inputs, training=True)
        self.seed = None
        if noised is None:
            return outputs
        return tf.where(noised[:, tf.newaxis, tf.newaxis, tf.newaxis], outputs, inputs)

    def drawn(self, inputs: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Applies it to [B, H, W, C] by `draws`, float32 [B] in [0, 1): below the rate drops the sample."""
        return dropped(inputs, self.rate, draws[:, tf.newaxis, tf.newaxis, tf.newaxis])


def dropout(inputs: tf.Tensor, rate: float, seed: tf.Tensor, noised: Optional[tf.Tensor] = None) -> tf.Tensor:
    """Dropout on [B, C] with `seed` (int32 scalar); samples that are not `noised` (bool [B]) pass unchanged."""
    outputs = tf.nn.experimental.stateless_dropout(inputs, rate, seed=tf.stack([tf.zeros_like(seed), seed]))
    return outputs if noised is None else tf.where(noised[:, tf.newaxis], outputs, inputs)


def dropped(inputs: tf.Tensor, rate: float, draws: tf.Tensor) -> tf.Tensor:
    """Zeros where `draws`, float32 in [0, 1) and of a shape that broadcasts, are below `rate`; the rest by 1 / (1 - rate)."""
    return tf.where(draws < rate, tf.zeros_like(inputs), inputs / tf.cast(1.0 - rate, inputs.dtype))
