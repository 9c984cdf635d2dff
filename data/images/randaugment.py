"""RandAugment as the release has it (arXiv:1909.13719; docs/release.md): ops drawn at random, all at one level M.

There is no identity op: an op that is drawn is always applied. M counts in tenths of each op's range and may exceed 10. What
uint8 arithmetic then does (a threshold that wraps, a negative shift) is part of the method.

An op takes and returns one image, uint8 [H, W, 3]. The names are Pillow's, and so are the results unless an op says otherwise.
"""

from __future__ import annotations

import functools
from typing import Any, Optional, Union

import numpy as np
import tensorflow as tf

from data.images.warp import FILL, rotate, shear_x, shear_y, translate_x, translate_y
from runtime.errors import UserError

SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / np.float32(13)


def randaugment(
    images: tf.Tensor,
    draws: tf.Tensor,
    magnitude: float,
    cutout: bool,
    *,
    cutout_const: float = 40.0,
    translate_const: float = 100.0,
) -> tf.Tensor:
    """Applies to each image the ops that it has drawn, one after the other.

    Args:
      images: uint8 [N, H, W, 3]; H and W static.
      draws: float32 [N, layers, 4], of `draw`, one for each image.
      magnitude: the level M.
      cutout: whether Cutout is among the ops.
      cutout_const: half-width of Cutout at M = 10, in pixels.
      translate_const: shift of TranslateX and TranslateY at M = 10, in pixels.

    Returns:
      uint8 [N, H, W, 3].

    Raises:
      UserError: the images' size is not static.
    """
    images = tf.convert_to_tensor(images, tf.uint8)
    check_static(images.shape[1:3])
    num_ops = len(OPS) if cutout else len(OPS) - 1

    def augmented(one: tuple[tf.Tensor, ...]) -> tf.Tensor:
        image, drawn, sign, center = one
        constants = {"cutout_const": cutout_const, "translate_const": translate_const}
        for layer in range(draws.shape[1]):
            ops = list(ops_at(magnitude, sign[layer], center[layer], **constants).values())[:num_ops]
            applied = [functools.partial(function, image, *arguments) for function, *arguments in ops]
            image = tf.switch_case(drawn[layer], applied)
        return image

    sign, center = drawn_signs(draws), random_centers(images, draws[..., 2:])
    parts = images, drawn_ops(draws, num_ops), sign, center
    return tf.map_fn(augmented, parts, fn_output_signature=tf.TensorSpec(images.shape[1:], tf.uint8))


def draw(seed: tf.Tensor, layers: int) -> tf.Tensor:
    """The random numbers of one image, a function of `seed` (int32 or int64 [2]) alone.

    Returns:
      float32 [layers, 4]: per layer op, sign, and row and column of a centre.
    """
    return tf.random.stateless_uniform([layers, 4], seed, alg="philox")


def drawn_ops(draws: tf.Tensor, num_ops: int) -> tf.Tensor:
    """The ops that `draws` (float32 [..., layers, 4]) stand for: int32 [..., layers], places in `OPS`."""
    return _to_index(draws[..., 0], num_ops)


def drawn_signs(draws: tf.Tensor) -> tf.Tensor:
    """What geometric arguments are multiplied by, 1 or -1, as `draws` say: float32 [..., layers]."""
    return tf.where(draws[..., 1] < 0.5, -1.0, 1.0)


def random_centers(images: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Row and column in `images` [N, H, W, 3], int32 [..., 2], from uniform numbers in [0, 1), float32 [..., 2]."""
    return _to_index(uniform, tf.shape(images)[1:3])


def _to_index(uniform: tf.Tensor, count: Union[int, tf.Tensor]) -> tf.Tensor:
    """Maps [0, 1) to 0..count-1; the product of two float32 may round up to count itself."""
    return tf.minimum(tf.cast(uniform * tf.cast(count, tf.float32), tf.int32), count - 1)


def apply_op(
    name: str,
    image: tf.Tensor,
    level: float,
    negate: Union[bool, tf.Tensor] = False,
    center: Optional[tf.Tensor] = None,
    *,
    cutout_const: float = 40.0,
    translate_const: float = 100.0,
) -> tf.Tensor:
    """Applies one op at level M to an image.

    Args:
      name: one of `OPS`.
      image: uint8 [H, W, 3]; H and W static.
      level: M.
      negate: whether a geometric op's argument is negated, bool []; ignored by the others.
      center: int32 [2], row and column of Cutout's centre; the image's middle if None. Ignored by the others.
      cutout_const, translate_const: see `randaugment`.

    Raises:
      UserError: unknown op, or an image whose size is not static.
    """
    if name not in OPS:
        raise UserError(f"RandAugment: got op {name!r}, expected one of {', '.join(OPS)}")
    image = tf.convert_to_tensor(image, tf.uint8)
    check_static(image.shape[:2])
    center = tf.convert_to_tensor([image.shape[0] // 2, image.shape[1] // 2] if center is None else center)
    constants = {"cutout_const": cutout_const, "translate_const": translate_const}
    function, *arguments = ops_at(level, tf.where(negate, -1.0, 1.0), center, **constants)[name]
    return function(image, *arguments)


def check_static(shape: tf.TensorShape) -> None:
    """Raises a UserError unless `shape` (height, width) is known before anything is computed."""
    if None in shape:
        raise UserError(
            f"RandAugment: got images of {shape[0]} x {shape[1]} pixels, expected a static size; resize them first"
        )


# --- ops of colour ----------------------------------------------------------------------------------------------------


def auto_contrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel's values to 0..255; a channel of one value stays. In float32; Pillow computes in float64."""
    low, high = (tf.cast(reduce(image, [0, 1]), tf.float32) for reduce in (tf.reduce_min, tf.reduce_max))
    varies = high > low
    scale = 255.0 / tf.where(varies, high - low, 1.0)
    return tf.where(varies, to_uint8(tf.cast(image, tf.float32) * scale - low * scale), image)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Maps each channel's values such that about equally many pixels have each; a channel of few values may stay."""

    def equalized(channel: tf.Tensor) -> tf.Tensor:
        values = tf.cast(channel, tf.int32)
        table = equalizing_table(tf.math.bincount(values, minlength=256, maxlength=256))
        return tf.cast(tf.gather(table, values), tf.uint8)

    return tf.stack([equalized(channel) for channel in tf.unstack(image, axis=-1)], axis=-1)


def equalizing_table(counts: tf.Tensor) -> tf.Tensor:
    """What each value becomes, int32 [256], in a channel in which `counts` (int32 [256]) pixels have it."""
    values = tf.range(256)
    step = (tf.reduce_sum(counts) - counts[tf.reduce_max(tf.where(counts > 0, values, 0))]) // 255
    table = (tf.cumsum(counts, exclusive=True) + step // 2) // tf.maximum(step, 1)
    return tf.where(step == 0, values, tf.minimum(table, 255))


def invert(image: tf.Tensor) -> tf.Tensor:
    """255 - value, whatever the level."""
    return 255 - image


def posterize(image: tf.Tensor, bits: int) -> tf.Tensor:
    """Keeps the highest `bits` bits, 0 to 4 up to M = 10: the higher the level, the weaker the op.

    Pillow asks for 1 to 8 bits. The release shifts right and left by 8 - bits in uint8, in which a negative shift wraps to more
    than 247, and a shift beyond 7 counts as 7: one bit stays for 0 bits and for more than 8.
    """
    shift = np.uint8(min((8 - bits) % 256, 7))
    return tf.bitwise.left_shift(tf.bitwise.right_shift(image, shift), shift)


def solarize(image: tf.Tensor, threshold: int) -> tf.Tensor:
    """Inverts values from `threshold` on, 0 to 256 up to M = 10: the higher the level, the weaker the op.

    In uint8 the threshold wraps modulo 256: M = 10 inverts all, M = 27 from 179 on.
    """
    return tf.where(image < np.uint8(threshold % 256), image, 255 - image)


def solarize_add(image: tf.Tensor, addition: int) -> tf.Tensor:
    """Adds `addition`, 0 to 110 up to M = 10, to values below 128, up to 255. Not in Pillow."""
    return tf.where(image < 128, to_uint8(tf.cast(image, tf.float32) + float(addition)), image)


def color(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blends the grey picture (0) with the image (1); `factor` is 0.1 to 1.9 up to M = 10, as for the next three.

    The grey is TensorFlow's, 0.2989 red + 0.5870 green + 0.1140 blue; Pillow's differs by at most 1.
    """
    return _blend(tf.image.rgb_to_grayscale(image), image, factor)


def contrast(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blends one grey (0) with the image (1).

    The grey is Pillow's mean of the image only in name: the release computes pixels / 256, at most 255, so that it depends on
    the size alone. 196 for 224 x 224 pixels, 4 for 32 x 32.
    """
    return _blend(tf.constant(min(image.shape[0] * image.shape[1] // 256, 255), tf.uint8), image, factor)


def brightness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blends black (0) with the image (1)."""
    return _blend(tf.constant(0, tf.uint8), image, factor)


def sharpness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blends the smoothed image (0) with the image (1): mean of 3 x 3 pixels, the middle weighing 5; the border stays.

    Pillow rounds the mean, the release truncates it. Its sum of nine float32 products rounds once for each, as an
    instruction that multiplies and adds does. float64 holds product and sum exactly, so this is the same on any machine.
    """
    height, width = image.shape[:2]
    if min(height, width) < 3:
        return image
    mean = tf.zeros([height - 2, width - 2, 3])
    for (row, column), weight in np.ndenumerate(SMOOTH):
        neighbour = image[row : height - 2 + row, column : width - 2 + column]
        mean = tf.cast(tf.cast(neighbour, tf.float64) * float(weight) + tf.cast(mean, tf.float64), tf.float32)
    inner = tf.pad(_blend(tf.cast(mean, tf.uint8), image[1:-1, 1:-1], factor), [[1, 1], [1, 1], [0, 0]])
    is_inner = tf.pad(tf.ones([height - 2, width - 2, 1], tf.bool), [[1, 1], [1, 1], [0, 0]])
    return tf.where(is_inner, inner, image)


def _blend(degenerate: tf.Tensor, image: tf.Tensor, factor: float) -> tf.Tensor:
    """degenerate + factor * (image - degenerate), both uint8, computed in float32, clipped and truncated to uint8."""
    start = tf.cast(degenerate, tf.float32)
    return to_uint8(start + factor * (tf.cast(image, tf.float32) - start))


def to_uint8(values: tf.Tensor) -> tf.Tensor:
    """Clips float32 to 0..255 and truncates."""
    return tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)


def cutout(images: tf.Tensor, half_width: int, centers: tf.Tensor) -> tf.Tensor:
    """Fills a square of side 2 * half_width around each image's centre with grey, clipped at the border.

    Args:
      images: uint8 [N, H, W, 3].
      half_width: in pixels; 0 to 40 (`cutout_const`) up to M = 10.
      centers: int32 [N, 2], row and column.
    """

    def near(axis: int) -> tf.Tensor:
        offset = tf.range(tf.shape(images)[1 + axis]) - centers[:, axis, None]
        return (offset >= -half_width) & (offset < half_width)

    # As [N, H, 3 W], whose last axis is long: along one of three channels TensorFlow takes three times as long.
    hole = near(0)[:, :, None] & tf.repeat(near(1), 3, axis=1)[:, None, :]
    filled = tf.where(hole, np.uint8(FILL), tf.reshape(images, tf.shape(hole)))
    return tf.reshape(filled, tf.shape(images))


def _cutout_one(image: tf.Tensor, half_width: int, center: tf.Tensor) -> tf.Tensor:
    return cutout(image[None], half_width, center[None])[0]


# --- the table --------------------------------------------------------------------------------------------------------


def ops_at(
    level: float,
    sign: Union[float, tf.Tensor] = 1.0,
    center: Optional[tf.Tensor] = None,
    *,
    cutout_const: float = 40.0,
    translate_const: float = 100.0,
) -> dict[str, tuple[Any, ...]]:
    """Each op, a function of an image and what follows here, in the release's order.

    Args:
      level: M.
      sign: 1 or -1, float32 []: what arguments of geometric ops are multiplied by.
      center: int32 [2], row and column of Cutout's centre.
      cutout_const, translate_const: see `randaugment`.
    """
    fraction = level / 10.0
    factor = fraction * 1.8 + 0.1
    return {
        "AutoContrast": (auto_contrast,),
        "Equalize": (equalize,),
        "Invert": (invert,),
        "Rotate": (rotate, sign * (fraction * 30.0)),
        "Posterize": (posterize, int(level * 0.4)),
        "Solarize": (solarize, int(fraction * 256)),
        "Color": (color, factor),
        "Contrast": (contrast, factor),
        "Brightness": (brightness, factor),
        "Sharpness": (sharpness, factor),
        "ShearX": (shear_x, sign * (fraction * 0.3)),
        "ShearY": (shear_y, sign * (fraction * 0.3)),
        "TranslateX": (translate_x, sign * (fraction * translate_const)),
        "TranslateY": (translate_y, sign * (fraction * translate_const)),
        "SolarizeAdd": (solarize_add, int(fraction * 110)),
        "Cutout": (_cutout_one, int(fraction * cutout_const), center),
    }


OPS = tuple(ops_at(0.0))
