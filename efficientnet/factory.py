"""Makes the network's layers, each with the name that its variables have in the release's checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf

from efficientnet.layers import BatchNormalization

FLOAT32 = "float32"
BFLOAT16 = "mixed_bfloat16"


class LayerFactory:
    """Makes and builds the layers of one network with the release's names, its initialisers and one precision policy."""

    def __init__(self, seed: int, policy: str):
        self._generator_seed = seed
        self._count = 0
        self.policy = tf.keras.mixed_precision.Policy(policy)
        self.variables: dict[str, tf.Variable] = {}

    def _seed(self) -> int:
        self._count += 1
        return self._generator_seed * 100_003 + self._count

    def _build(self, layer: tf.keras.layers.Layer, scope: str, shape: Sequence[Optional[int]]) -> Any:
        with tf.name_scope(f"{scope}/{layer.name}"):
            layer.build(shape)
        self.variables.update((variable.name.split(":")[0], variable) for variable in layer.variables)
        return layer

    def _kernel_initializer(self) -> tf.keras.initializers.Initializer:
        return tf.keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal", seed=self._seed())

    def convolution(
        self, scope: str, name: str, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, bias: bool = False
    ) -> tf.keras.layers.Conv2D:
        """`same` convolution, normal(0, sqrt(2 / fan_out))."""
        layer = tf.keras.layers.Conv2D(
            outputs,
            kernel,
            stride,
            padding="same",
            use_bias=bias,
            kernel_initializer=self._kernel_initializer(),
            name=name,
            dtype=self.policy,
        )
        return self._build(layer, scope, [None, None, None, inputs])

    def depthwise(self, scope: str, channels: int, kernel: int, stride: int) -> tf.keras.layers.DepthwiseConv2D:
        """`same` depthwise convolution; its fan_out is kernel * kernel."""
        layer = tf.keras.layers.DepthwiseConv2D(
            kernel,
            stride,
            padding="same",
            use_bias=False,
            depthwise_initializer=self._kernel_initializer(),
            name="depthwise_conv2d",
            dtype=self.policy,
        )
        return self._build(layer, scope, [None, None, None, channels])

    def batch_norm(self, scope: str, channels: int, index: int = 0) -> BatchNormalization:
        """The scope's `index`-th batch norm."""
        name = "tpu_batch_normalization" + (f"_{index}" if index else "")
        return self._build(BatchNormalization(name=name, dtype=self.policy), scope, [None, None, None, channels])

    def dense(self, scope: str, inputs: int, outputs: int) -> tf.keras.layers.Dense:
        """The classifier: uniform(+-1 / sqrt(classes))."""
        limit = outputs**-0.5
        initializer = tf.keras.initializers.RandomUniform(-limit, limit, seed=self._seed())
        layer = tf.keras.layers.Dense(outputs, kernel_initializer=initializer, name="dense", dtype=self.policy)
        return self._build(layer, scope, [None, inputs])
