"""The layers that EfficientNet needs beyond Keras's own.

The only file that imports keras_cv.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional

import tensorflow as tf

from efficientnet.forward_pass import ForwardPass
from efficientnet.quiet_import import keras_cv

BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.99


class BatchNormalization(tf.keras.layers.Layer):
    """Batch norm with the release's statistics: momentum 0.99, epsilon 1e-3, biased variance (docs/release.md, section 1).

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

    def _normalize_locally(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=BATCH_NORM_EPSILON, is_training=True
        )
        return outputs, mean, biased(variance, inputs)

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


def biased(variance: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """The variance that the release stores of one that TensorFlow's kernel returns, which is N / (N - 1) of it."""
    elements = inputs.shape.num_elements()
    if elements is not None:
        count = elements // inputs.shape[-1]
        return variance * (max(count - 1, 1) / count)
    count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
    return variance * (tf.maximum(count - 1.0, 1.0) / count)


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
