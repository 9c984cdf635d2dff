"""How the network computes, by TensorFlow's own operations.

`EfficientNet(config, ops=...)` takes an `Ops`; the default is this file's functions. `fast_cpu/` has others under the same names.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Callable, Optional

import tensorflow as tf

from efficientnet.forward_pass import ForwardPass
from efficientnet.layers import BatchNormalization

if TYPE_CHECKING:
    from efficientnet.model import EfficientNet, MBConv


def standardised(images: tf.Tensor, mean: tf.Tensor, std: tf.Tensor) -> tf.Tensor:
    """Pixels [B, H, W, 3] of 0..255 less `mean`, divided by `std` (float32 [3], in pixels): float32."""
    return (tf.cast(images, tf.float32) - mean) / std


def normalized(
    convolution: tf.keras.layers.Conv2D,
    norm: BatchNormalization,
    inputs: tf.Tensor,
    forward: Optional[ForwardPass],
    *,
    activate: bool = True,
    gate: Optional[tf.Tensor] = None,
) -> tf.Tensor:
    """Convolution (plain or depthwise, without bias), batch norm and, with `activate`, swish.

    Args:
      convolution, norm: the layers.
      inputs: [B, H, W, C].
      forward: the training pass; None for inference.
      activate: whether swish follows.
      gate: [B, C], by which each image's channels are multiplied before the convolution (squeeze-and-excite).

    Returns:
      [B, H', W', C'].
    """
    if gate is not None:
        inputs *= gate[:, tf.newaxis, tf.newaxis]
    outputs = norm(convolution(inputs), forward=forward)
    return tf.nn.silu(outputs) if activate else outputs


def normalized_and_pooled(
    convolution: tf.keras.layers.Conv2D, norm: BatchNormalization, inputs: tf.Tensor, forward: Optional[ForwardPass]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Convolution, batch norm and swish, [B, H', W', C'], and their mean over the pixels, [B, C']."""
    features = normalized(convolution, norm, inputs, forward)
    return features, tf.reduce_mean(features, [1, 2])


def bottleneck(block: MBConv, inputs: tf.Tensor, forward: Optional[ForwardPass]) -> tf.Tensor:
    """An inverted bottleneck of [B, H, W, C] without its residual: [B, H', W', C']."""
    return block.bottleneck(inputs, forward)


def logits(network: EfficientNet, images: tf.Tensor, forward: Optional[ForwardPass]) -> tf.Tensor:
    """Logits, float32 [B, classes], of pixels [B, H, W, 3]."""
    return network.logits(images, forward)


@dataclasses.dataclass(frozen=True)
class Ops:
    """The operations of a network; each has this file's function of the same name as its default."""

    standardised: Callable[..., tf.Tensor] = standardised
    normalized: Callable[..., tf.Tensor] = normalized
    normalized_and_pooled: Callable[..., tuple[tf.Tensor, tf.Tensor]] = normalized_and_pooled
    bottleneck: Callable[..., tf.Tensor] = bottleneck
    logits: Callable[..., tf.Tensor] = logits
