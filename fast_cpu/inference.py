"""Inference on a CPU: blocks take one image after the other, so that no large activation leaves the caches.

TensorFlow's kernels write every activation of a whole batch to memory and read it again for the next operation. XLA compiles
what a block does into one function; its own convolutions are slow, but all of a block's are matrix products or depthwise.
Measured on x86-64 with TensorFlow 2.15 (docs/performance.md, Prediction).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf

from efficientnet.forward_pass import ForwardPass
from efficientnet.layers import BATCH_NORM_EPSILON, BatchNormalization
from efficientnet.model import EfficientNet, MBConv
from efficientnet.variants import ModelConfig
from fast_cpu import kernels
from fast_cpu.xla import compiled
from runtime import machine

# A block whose widest activation has fewer elements is not worth what XLA takes to compile it, half a second.
BLOCK_ELEMENTS = 1 << 20


class Linear(NamedTuple):
    """A convolution with the batch norm that follows it, or a dense layer, float32: kernel, and offset [C'].

    The kernel is [C, C'], of a depthwise convolution [k, k, C'].
    """

    kernel: tf.Tensor
    offset: tf.Tensor


class Bottleneck(NamedTuple):
    """What an inverted bottleneck multiplies by; `expand` may be missing."""

    depthwise: Linear
    squeeze: Linear
    excite: Linear
    project: Linear
    expand: Optional[Linear] = None


def normalized(
    convolution: tf.keras.layers.Conv2D,
    norm: BatchNormalization,
    inputs: tf.Tensor,
    forward: Optional[ForwardPass],
    *,
    activate: bool = True,
    gate: Optional[tf.Tensor] = None,
) -> tf.Tensor:
    """`efficientnet.ops.normalized` of an inference: the norm is a part of the kernel."""
    kernel, offset = (tf.cast(part, inputs.dtype) for part in _folded(convolution, norm))
    if isinstance(convolution, tf.keras.layers.DepthwiseConv2D):
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, [1, *convolution.strides, 1], "SAME")
    elif gate is None:
        outputs = kernels.convolution(inputs, kernel, convolution.strides)
    else:
        outputs = kernels.gated_convolution(inputs, gate, kernel)
    return kernels.elementwise(_swish_of_sum, outputs, offset) if activate else tf.nn.bias_add(outputs, offset)


def block(layers: MBConv, inputs: tf.Tensor, forward: Optional[ForwardPass]) -> tf.Tensor:
    """`efficientnet.ops.bottleneck`, compiled by XLA if that pays."""
    is_inference = forward is None or forward.moving_statistics
    if not is_inference or not pays(inputs, layers.project.kernel.shape[2]):
        return layers.bottleneck(inputs, forward)
    weights, stride = _weights(layers), layers.depthwise.strides[0]
    if forward is None:  # `logits` has split the images already
        return bottleneck(inputs, weights, stride)
    return in_parts(lambda part: bottleneck(part, weights, stride), inputs)


def logits(network: EfficientNet, images: tf.Tensor, forward: Optional[ForwardPass]) -> tf.Tensor:
    """`efficientnet.ops.logits`, each core's part of the images for itself if that pays."""
    if forward is None and network.compute_type == tf.float32 and takes_parts(network.config, images.shape):
        return in_parts(lambda part: network.logits(part, None), images)
    return network.logits(images, forward)


def takes_parts(config: ModelConfig, images: Sequence[Optional[int]]) -> bool:
    """Whether images [B, H, W, 3] are inferred in parts."""
    widest = max(block.input_channels * block.expansion for block in config.blocks()[:2])
    return part_pays(images, widest)


def scale_and_offset(
    gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Batch norm as `inputs * scale + offset`, each float32 [C]."""
    scale = gamma * tf.math.rsqrt(variance + BATCH_NORM_EPSILON)
    return scale, beta - mean * scale


def _folded(convolution: tf.keras.layers.Conv2D, norm: BatchNormalization) -> tuple[tf.Tensor, tf.Tensor]:
    """Kernel and offset, float32, of a convolution whose batch norm takes the moving statistics."""
    scale, offset = scale_and_offset(norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    if isinstance(convolution, tf.keras.layers.DepthwiseConv2D):
        return _uncast(convolution.depthwise_kernel) * scale[:, tf.newaxis], offset
    return _uncast(convolution.kernel) * scale, offset


def _uncast(variable: tf.Variable) -> tf.Variable:
    """The float32 variable behind Keras's mixed-precision wrapper, so that products are rounded once."""
    return getattr(variable, "_variable", variable)


def _swish_of_sum(inputs: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    return kernels.swish(tf.nn.bias_add(inputs, offset))


def _weights(layers: MBConv) -> Bottleneck:
    def normed(convolution: tf.keras.layers.Conv2D, norm: BatchNormalization) -> Linear:
        kernel, offset = _folded(convolution, norm)
        return Linear(tf.squeeze(kernel, [3] if convolution is layers.depthwise else [0, 1]), offset)

    def biased(convolution: tf.keras.layers.Conv2D) -> Linear:
        return Linear(tf.squeeze(convolution.kernel, [0, 1]), tf.convert_to_tensor(convolution.bias))

    return Bottleneck(
        depthwise=normed(layers.depthwise, layers.depthwise_norm),
        squeeze=biased(layers.squeeze),
        excite=biased(layers.excite),
        project=normed(layers.project, layers.project_norm),
        expand=normed(layers.expand, layers.expand_norm) if layers.expands else None,
    )


def pays(inputs: tf.Tensor, width: int) -> bool:
    """Whether `bottleneck` is the faster way for inputs [B, H, W, C] that expand to `width` channels."""
    pixels = inputs.shape[:3].num_elements()
    return pixels is not None and pixels * width >= BLOCK_ELEMENTS and inputs.dtype == tf.float32


def part_pays(images: Sequence[Optional[int]], width: int) -> bool:
    """Whether a network for images [B, H, W, 3] is faster when each core takes its own part of them.

    Args:
      images: static where it is; the stem makes half as many rows and columns.
      width: channels of the widest activation at that resolution.
    """
    batch, height, columns, _ = images
    if batch is None or height is None or columns is None:
        return False
    return part_sizes(batch)[0] * -(-height // 2) * -(-columns // 2) * width >= BLOCK_ELEMENTS


def in_parts(function: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """`function` of images [B, ...], each core's part of them for itself; B is static."""
    return tf.concat([function(part) for part in tf.split(images, part_sizes(images.shape[0]))], 0)


def bottleneck(inputs: tf.Tensor, weights: Bottleneck, stride: int) -> tf.Tensor:
    """The block on static float32 [B, H, W, C], without its residual: [B, H', W', C']. One core, no gradient."""
    shapes = tuple(None if linear is None else tuple(linear.kernel.shape) for linear in weights)
    return _compiled(tuple(inputs.shape), shapes, stride)(inputs, weights)


def part_sizes(batch: int) -> list[int]:
    """Images of each part of a batch, one a core; of at most two sizes, because each is compiled."""
    count = min(batch, machine.cores())
    return [batch // count + (number < batch % count) for number in range(count)]


@functools.cache
def _compiled(shape: tuple[int, ...], shapes: tuple[Optional[tuple[int, ...]], ...], stride: int) -> Any:
    """A function for each shape: TensorFlow warns of one that is traced for many."""
    del shapes

    def run(inputs: tf.Tensor, weights: Bottleneck) -> tf.Tensor:
        images = tf.TensorArray(tf.float32, shape[0], element_shape=shape[1:]).unstack(inputs)
        size = [-(-side // stride) for side in shape[1:3]]
        results = tf.TensorArray(tf.float32, shape[0], element_shape=[*size, weights.project.offset.shape[0]])

        def next_image(
            number: tf.Tensor, padded: tf.Tensor, results: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
            result, padded = _of_image(images.read(number), padded, weights, stride)
            return number + 1, padded, results.write(number, result)

        kernel, _, width = weights.depthwise.kernel.shape
        sides = [side + sum(kernels.same_padding(side, kernel, stride)) for side in shape[1:3]]
        # Padding stays zero from one image to the next.
        start = [0, tf.zeros([*sides, width]), results]
        return tf.while_loop(lambda number, *_: number < shape[0], next_image, start)[2].stack()

    return compiled(run)


def _of_image(image: tf.Tensor, padded: tf.Tensor, weights: Bottleneck, stride: int) -> tuple[tf.Tensor, tf.Tensor]:
    """[H, W, C] -> [H', W', C']; `padded`, zeros around an image, is where that of the widest activation is put."""
    features = image
    if weights.expand is not None:
        features = _swish(_pixels(features, weights.expand))
    padded = _inserted(padded, features, weights.depthwise.kernel.shape[0], stride)
    size = [-(-side // stride) for side in image.shape[:2]]
    features = _swish(_depthwise(padded, weights.depthwise, size, stride))
    gate = tf.nn.sigmoid(_pixels(_swish(_pixels(_mean(features), weights.squeeze)), weights.excite))
    # As many multiplications less as the image has more pixels than the kernel has columns.
    gated = tf.reshape(gate, [-1, 1]) * weights.project.kernel
    return _pixels(features, weights.project._replace(kernel=gated)), padded


def _swish(features: tf.Tensor) -> tf.Tensor:
    return features * tf.nn.sigmoid(features)


def _pixels(image: tf.Tensor, linear: Linear) -> tf.Tensor:
    """[H, W, C] -> [H, W, C']: the same product for every pixel."""
    height, width, channels = image.shape
    products = tf.matmul(tf.reshape(image, [height * width, channels]), linear.kernel)
    return tf.reshape(products + linear.offset, [height, width, -1])


def _mean(image: tf.Tensor) -> tf.Tensor:
    """[H, W, C] -> [1, 1, C]. As a product with ones: of large images XLA's reduction takes five times as long.

    With two rows of ones, because into a product of one row XLA fuses what makes the image, and makes it again for each result.
    """
    height, width, channels = image.shape
    pixels = height * width
    totals = tf.ones([2, pixels]) @ tf.reshape(image, [pixels, channels])
    return tf.reshape(tf.reduce_mean(totals, 0) / pixels, [1, 1, channels])


def _depthwise(padded: tf.Tensor, linear: Linear, size: list[int], stride: int) -> tf.Tensor:
    """Depthwise convolution of an image that is padded already: [H', W', C] of `size`, as a sum over the kernel's pixels."""
    kernel = linear.kernel.shape[0]
    rows, columns = (slice(None, (length - 1) * stride + 1, stride) for length in size)
    total = linear.offset
    for y in range(kernel):
        for x in range(kernel):
            total += padded[y:, x:][rows, columns] * linear.kernel[y, x]
    return total


def _inserted(padded: tf.Tensor, image: tf.Tensor, kernel: int, stride: int) -> tf.Tensor:
    """`padded` with the image [H, W, C] in its place for a `same` convolution.

    In memory: XLA would decide for each value that is read whether it is of the padding.
    """
    begin = [kernels.same_padding(side, kernel, stride)[0] for side in image.shape[:2]] + [0]
    end = [first + side for first, side in zip(begin, image.shape)]
    return tf.raw_ops.TensorStridedSliceUpdate(input=padded, begin=begin, end=end, strides=[1, 1, 1], value=image)
