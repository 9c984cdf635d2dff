"""The network's operations as a CPU computes them fastest, for `EfficientNet(config, ops=...)`."""

from __future__ import annotations

from typing import Any, Callable, Optional

import tensorflow as tf

from efficientnet import ops
from efficientnet.forward_pass import ForwardPass
from efficientnet.layers import BatchNormalization
from efficientnet.ops import Ops
from efficientnet.variants import ModelConfig
from fast_cpu import inference, kernels, training
from runtime import devices

# For fewer images a network is not worth what XLA takes to compile its blocks.
MANY_IMAGES = 512


def training_ops() -> Ops:
    """For a network that trains; the plain ones if there is an accelerator."""
    if devices.has_accelerator():
        return Ops()
    return Ops(standardised=standardised, normalized=normalized, normalized_and_pooled=training.normalized_and_pooled)


def inference_ops(count_up_to: Callable[[int], int]) -> Ops:
    """For a network that only infers; without a gradient if there are many images.

    Args:
      count_up_to: of a number, how many images there are in all, or that number if there are more. Not how many are left to
        do: a run that continues must compute what it computed before.
    """
    if devices.has_accelerator():
        return Ops()
    plain = Ops(standardised=standardised, normalized=normalized)
    if count_up_to(MANY_IMAGES) < MANY_IMAGES:
        return plain
    return Ops(standardised=standardised, normalized=normalized, bottleneck=inference.block, logits=inference.logits)


def before_inference(config: ModelConfig, shape: list[int]) -> None:
    """Has each operation of this process done by one core if each core has images of its own: a fifth less time.

    To be called before TensorFlow has done anything.

    Args:
      config: the network.
      shape: of a batch, [B, H, W, 3].
    """
    if inference.takes_parts(config, shape) and not tf.config.list_physical_devices("GPU"):
        tf.config.threading.set_intra_op_parallelism_threads(1)


def standardised(images: tf.Tensor, mean: tf.Tensor, std: tf.Tensor) -> tf.Tensor:
    """`efficientnet.ops.standardised` in one loop."""
    return kernels.elementwise(ops.standardised, images, mean, std)


def normalized(
    convolution: tf.keras.layers.Conv2D,
    norm: BatchNormalization,
    inputs: tf.Tensor,
    forward: Optional[ForwardPass],
    **options: Any,
) -> tf.Tensor:
    """`efficientnet.ops.normalized`: by the batch's statistics or by the moving ones."""
    by_batch = forward is not None and norm.takes_batch_statistics(forward)
    return (training if by_batch else inference).normalized(convolution, norm, inputs, forward, **options)
