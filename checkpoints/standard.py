"""The network as a Keras model of standard layers alone, which any Keras 2 opens without this project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from efficientnet.layers import BATCH_NORM_EPSILON, BatchNormalization
from efficientnet.model import EfficientNet, MBConv

layers = tf.keras.layers


def standard_model(model: EfficientNet, image_size: int) -> tf.keras.Model:
    """The same network of standard layers, with the weights of `model`; its batch norms are those of an inference.

    Args:
      model: the network.
      image_size: S, pixels of a side.

    Returns:
      pixels float32 [B, S, S, 3] in 0..255 -> logits float32 [B, classes].
    """
    config = model.config
    pixels = layers.Input([image_size, image_size, 3], name="pixels")
    scale = [1.0 / (255.0 * each) for each in config.std]
    offset = [-mean / std for mean, std in zip(config.mean, config.std)]
    features = layers.Rescaling(scale, offset, name="standardised")(pixels)
    features = _normalized(model.stem.convolution, model.stem.norm, features, "stem")
    for index, block in enumerate(model.blocks):
        features = _block(block, features, f"block{index}")
    features = _normalized(model.head.convolution, model.head.norm, features, "head")
    features = layers.GlobalAveragePooling2D(name="head_pool")(features)
    features = layers.Dropout(model.head.dropout_rate, name="head_dropout")(features)
    logits = _copied(
        layers.Dense(config.num_classes, name="logits"), features, [model.head.dense.kernel, model.head.dense.bias]
    )
    return tf.keras.Model(pixels, logits, name=config.name.replace("-", "_"))


def _block(block: MBConv, inputs: tf.Tensor, name: str) -> tf.Tensor:
    features = inputs
    if block.expands:
        features = _normalized(block.expand, block.expand_norm, features, f"{name}_expand")
    features = _normalized(block.depthwise, block.depthwise_norm, features, f"{name}_depthwise")
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(features)
    gate = _convolved(block.squeeze, gate, f"{name}_squeeze")
    gate = layers.Activation("swish", name=f"{name}_squeeze_swish")(gate)
    gate = _convolved(block.excite, gate, f"{name}_excite")
    gate = layers.Activation("sigmoid", name=f"{name}_gate")(gate)
    features = layers.Multiply(name=f"{name}_gated")([features, gate])
    features = _normalized(block.project, block.project_norm, features, f"{name}_project", activate=False)
    return layers.Add(name=f"{name}_add")([features, inputs]) if block.has_residual else features


def _normalized(
    convolution: Any, norm: BatchNormalization, inputs: tf.Tensor, name: str, activate: bool = True
) -> tf.Tensor:
    outputs = _convolved(convolution, inputs, name)
    standard = layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{name}_norm")
    outputs = _copied(standard, outputs, [norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance])
    return layers.Activation("swish", name=f"{name}_swish")(outputs) if activate else outputs


def _convolved(convolution: Any, inputs: tf.Tensor, name: str) -> tf.Tensor:
    options = {"strides": convolution.strides, "padding": "same", "use_bias": convolution.use_bias, "name": name}
    if isinstance(convolution, layers.DepthwiseConv2D):
        return _copied(
            layers.DepthwiseConv2D(convolution.kernel_size, **options), inputs, [convolution.depthwise_kernel]
        )
    weights = [convolution.kernel, *([convolution.bias] if convolution.use_bias else [])]
    return _copied(layers.Conv2D(convolution.filters, convolution.kernel_size, **options), inputs, weights)


def _copied(layer: tf.keras.layers.Layer, inputs: tf.Tensor, weights: Sequence[tf.Variable]) -> tf.Tensor:
    """What the layer makes of the inputs, with these weights."""
    outputs = layer(inputs)
    layer.set_weights([weight.numpy() for weight in weights])
    return outputs


def tflite_of(model: tf.keras.Model) -> bytes:
    """A TensorFlow Lite file: pixels float32 [1, S, S, 3] in 0..255 -> probabilities float32 [1, classes]."""
    probabilities = layers.Softmax(name="probabilities")(model.output)
    return tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(model.input, probabilities)).convert()
