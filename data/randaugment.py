"""RandAugment exactly as the release computes it (arXiv:1909.13719; RELEASE section 4), on uint8 images.

Every op maps uint8 [N, H, W, 3] to uint8 of the same shape, eagerly and inside `tf.data.Dataset.map`; what becomes of an image
does not depend on those beside it. There is no identity op: an op that is drawn is always applied. The level M counts in tenths
of each op's range and may exceed 10; what uint8 arithmetic then makes of it (a threshold that wraps, a negative shift) is part
of the method.
"""

from __future__ import annotations

import math
from typing import Callable, NamedTuple, Optional, Union

import numpy as np
import tensorflow as tf

from data import warp
from errors import UserError

FILL = 128
MAX_LEVEL = 10.0


class _Draw(NamedTuple):
    """What an op is applied with, Python numbers but for `centers` (int32 [N, 2])."""

    level: float
    negate: bool
    centers: tf.Tensor
    cutout_const: float
    translate_const: float

    @property
    def fraction(self) -> float:
        return self.level / MAX_LEVEL

    @property
    def factor(self) -> float:
        return self.fraction * 1.8 + 0.1


def randaugment(
    images: tf.Tensor,
    draws: tf.Tensor,
    magnitude: float,
    cutout: bool,
    *,
    cutout_const: float = 40.0,
    translate_const: float = 100.0,
) -> tf.Tensor:
    """Applies to each image its own ops in sequence, each drawn uniformly (RELEASE section 4).

    Args:
      images: uint8 [N, H, W, 3].
      draws: float32 [N, layers, 4], of `draw`, one for each image.
      magnitude: the level M.
      cutout: whether Cutout is among the ops.
      cutout_const: half-width of Cutout at M = 10, in pixels.
      translate_const: shift of TranslateX and TranslateY at M = 10, in pixels.

    Returns:
      uint8 [N, H, W, 3].
    """
    images = tf.convert_to_tensor(images, tf.uint8)
    constants = cutout_const, translate_const
    for layer in range(draws.shape[1]):
        images = _apply_layer(images, draws[:, layer], magnitude, OPS if cutout else OPS[:-1], constants)
    return images


def _apply_layer(
    images: tf.Tensor, drawn: tf.Tensor, level: float, names: tuple[str, ...], constants: tuple[float, float]
) -> tf.Tensor:
    """One op for each image.

    The images are sorted by op, so that each op runs once, on a part of them: a branch for each image would cost more than
    most ops do.
    """
    variants = [(name, negate) for name in names for negate in ((False, True) if name in GEOMETRIC else (False,))]
    first = tf.constant([variants.index((name, False)) for name in names])
    can_negate = tf.constant([name in GEOMETRIC for name in names])
    op = _to_index(drawn[:, 0], len(names))
    chosen = tf.gather(first, op) + tf.cast(tf.gather(can_negate, op) & (drawn[:, 1] < 0.5), tf.int32)
    size = tf.shape(images)
    positions = tf.dynamic_partition(tf.range(size[0]), chosen, len(variants))
    parts = tf.dynamic_partition(images, chosen, len(variants))
    results = []
    for (name, negate), part, position in zip(variants, parts, positions):
        centers = random_centers(images, tf.gather(drawn[:, 2:], position)) if name == CUTOUT else None
        results.append(_apply(name, part, _Draw(level, negate, centers, *constants)))
    return tf.ensure_shape(tf.dynamic_stitch(positions, results), images.shape)


def draw(seed: tf.Tensor, layers: int) -> tf.Tensor:
    """The random numbers of one image, a function of `seed` (int32 or int64 [2]) alone.

    Returns:
      float32 [layers, 4]: per layer op, sign, and row and column of a centre.
    """
    return tf.random.stateless_uniform([layers, 4], seed, alg="philox")


def drawn_ops(draws: tf.Tensor, num_ops: int) -> tf.Tensor:
    """The ops that `draws` (float32 [..., layers, 4]) stand for: int32 [..., layers], indices into `OPS`."""
    return _to_index(draws[..., 0], num_ops)


def apply_op(
    name: str,
    image: tf.Tensor,
    level: float,
    negate: bool = False,
    center: Optional[tf.Tensor] = None,
    *,
    cutout_const: float = 40.0,
    translate_const: float = 100.0,
) -> tf.Tensor:
    """Applies one op at level M to uint8 [H, W, 3].

    Args:
      name: one of `OPS`.
      image: uint8 [H, W, 3].
      level: M.
      negate: whether a geometric op's argument is negated; ignored by the others.
      center: int32 [2], row and column of Cutout's centre; the image's middle where None. Ignored by the others.
      cutout_const, translate_const: see `randaugment`.

    Raises:
      UserError: unknown op.
    """
    if name not in OPS:
        raise UserError(f"RandAugment: got op {name!r}, expected one of {', '.join(OPS)}")
    images = tf.convert_to_tensor(image, tf.uint8)[None]
    centers = (
        random_centers(images, tf.constant([[0.5, 0.5]])) if center is None else tf.convert_to_tensor(center)[None]
    )
    return _apply(name, images, _Draw(level, negate, centers, cutout_const, translate_const))[0]


def cutout(images: tf.Tensor, half_width: int, centers: tf.Tensor) -> tf.Tensor:
    """Fills squares of side 2 * half_width around `centers` (int32 [N, 2]: row, column) with 128, clipped at the border."""

    def inside(axis: int) -> tf.Tensor:
        from_center = tf.range(tf.shape(images)[1 + axis]) - centers[:, axis, None]
        return (from_center >= -half_width) & (from_center < half_width)

    # As [N, H, 3 W], whose last axis is long: along one of three channels the comparison would take ten times as long.
    hole = inside(0)[:, :, None] & tf.repeat(inside(1), 3, axis=1)[:, None, :]
    return tf.reshape(tf.where(hole, np.uint8(FILL), _as_rows(images)), tf.shape(images))


def random_centers(images: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Row and column, int32 [N, 2], from uniform numbers in [0, 1), float32 [N, 2]."""
    return _to_index(uniform, tf.shape(images)[1:3])


def _to_index(uniform: tf.Tensor, count: Union[int, tf.Tensor]) -> tf.Tensor:
    """Maps [0, 1) to 0..count-1; the product of two float32 may round up to count itself."""
    return tf.minimum(tf.cast(uniform * tf.cast(count, tf.float32), tf.int32), count - 1)


def _apply(name: str, images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return tf.ensure_shape(_FUNCTIONS[name](images, draw), images.shape)


def _clip(values: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(values, 0.0, 255.0)


def _blend(degenerate: tf.Tensor, images: tf.Tensor, factor: float) -> tf.Tensor:
    """degenerate + factor * (images - degenerate); both float32, result uint8."""
    if factor == 0.0:
        return tf.cast(degenerate + tf.zeros_like(images), tf.uint8)
    if factor == 1.0:
        return tf.cast(images, tf.uint8)
    return tf.cast(_clip(degenerate + factor * (images - degenerate)), tf.uint8)


def _as_rows(images: tf.Tensor) -> tf.Tensor:
    """[N, H, W, 3] as [N, H, 3 W]: per-channel values then repeat along a contiguous axis, which vectorises."""
    size = tf.shape(images)
    return tf.reshape(images, [size[0], size[1], 3 * size[2]])


def _auto_contrast(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    del draw
    size = tf.shape(images)
    rows = tf.cast(_as_rows(images), tf.float32)
    low = tf.reduce_min(tf.reshape(tf.reduce_min(rows, 1), [size[0], size[2], 3]), 1)
    high = tf.reduce_max(tf.reshape(tf.reduce_max(rows, 1), [size[0], size[2], 3]), 1)
    varies = high > low
    scale = tf.where(varies, 255.0 / tf.where(varies, high - low, 1.0), 1.0)
    offset = tf.where(varies, -low * scale, 0.0)
    repeats = [1, size[2]]
    stretched = _clip(rows * tf.tile(scale, repeats)[:, None] + tf.tile(offset, repeats)[:, None])
    return tf.reshape(tf.cast(stretched, tf.uint8), size)


def _equalize(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    del draw
    size = tf.shape(images)
    # One histogram of 256 bins for each channel of each image, and one table of as many values.
    bins = 256 * (3 * tf.range(size[0])[:, None] + tf.tile([0, 1, 2], [size[2]]))
    rows = tf.cast(_as_rows(images), tf.int32) + bins[:, None]
    counts = tf.raw_ops.Bincount(arr=rows, size=size[0] * 768, weights=tf.zeros([0], tf.int32))
    table = tf.cast(_equalize_table(tf.reshape(counts, [3 * size[0], 256])), tf.uint8)
    # gather would take half as long again.
    return tf.reshape(tf.gather_nd(tf.reshape(table, [-1]), rows[..., None]), size)


def _equalize_table(counts: tf.Tensor) -> tf.Tensor:
    """PIL's equalisation as a table per channel: int32 [C, 256] of counts to int32 [C, 256] of values."""
    values = tf.range(256)
    brightest = tf.reduce_max(tf.where(counts > 0, values, 0), 1)
    total = tf.reduce_sum(counts, 1)
    step = ((total - tf.gather(counts, brightest, batch_dims=1)) // 255)[:, None]
    below = tf.cumsum(counts, axis=1, exclusive=True)
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    return tf.where(step == 0, values, table)


def _invert(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    del draw
    return 255 - images


def _posterize(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    # The release shifts right and left by 8 - bits in uint8, where a shift that is negative (and wraps) or beyond 7 counts as 7.
    shift = min((8 - int(draw.level * 0.4)) % 256, 7)
    return tf.bitwise.bitwise_and(images, np.uint8(256 - 2**shift))


def _solarize(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    threshold = int(draw.fraction * 256) % 256
    inverted = tf.cast(images >= threshold, tf.float32)
    return tf.cast(tf.abs(tf.cast(images, tf.float32) - 255.0 * inverted), tf.uint8)


def _solarize_add(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    added = tf.cast(images < 128, tf.float32) * float(int(draw.fraction * 110))
    return tf.cast(tf.minimum(tf.cast(images, tf.float32) + added, 255.0), tf.uint8)


def _color(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    values = tf.cast(tf.reshape(images, [-1, 3]), tf.float32)
    # What tf.image.rgb_to_grayscale computes, without leaving float32; a product with ones is the fastest way to repeat it.
    grey = tf.floor(tf.matmul(values * (1.0 / 255.0), [[0.2989], [0.5870], [0.1140]]) * 255.5)
    return tf.reshape(_blend(tf.matmul(grey, tf.ones([1, 3])), values, draw.factor), tf.shape(images))


def _contrast(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    pixels = tf.cast(tf.reduce_prod(tf.shape(images)[1:3]), tf.float32)
    grey = tf.floor(tf.minimum(pixels / 256.0, 255.0))
    return _blend(grey, tf.cast(images, tf.float32), draw.factor)


def _brightness(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return tf.cast(_clip(tf.cast(images, tf.float32) * draw.factor), tf.uint8)


def _sharpness(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    rows = _as_rows(images)
    # The three columns of the kernel lie side by side, so that a row's values are the convolution's many channels: as an
    # image of three channels it would take longer. The order of the additions, and so every bit, is the same.
    columns = tf.cast(tf.stack([rows[:, :, :-6], rows[:, :, 3:-3], rows[:, :, 6:]], 2), tf.float32)
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32) / 13.0
    kernel = tf.tile(kernel[:, :, None, None], [1, 1, tf.shape(columns)[3], 1])
    centers = tf.cast(rows[:, 1:-1, 3:-3], tf.float32)
    # Of no images at all the convolution gives a shape that is too large.
    smooth = tf.reshape(tf.nn.depthwise_conv2d(columns, kernel, [1, 1, 1, 1], "VALID"), tf.shape(centers))
    inside = _blend(tf.floor(smooth), centers, draw.factor)
    middle = tf.concat([rows[:, 1:-1, :3], inside, rows[:, 1:-1, -3:]], 2)
    return tf.reshape(tf.concat([rows[:, :1], middle, rows[:, -1:]], 1), tf.shape(images))


def _cutout(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return cutout(images, int(draw.fraction * draw.cutout_const), draw.centers)


def _warp(images: tf.Tensor, matrix: warp.Matrix, argument: float, draw: _Draw) -> tf.Tensor:
    return warp.warp(images, matrix, -argument if draw.negate else argument, FILL)


def _rotate(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    # In float32, as the release multiplies.
    radians = float(np.float32(draw.fraction * 30.0) * np.float32(math.pi / 180.0))
    return _warp(images, warp.rotate, radians, draw)


def _shear_x(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return _warp(images, warp.shear_x, draw.fraction * 0.3, draw)


def _shear_y(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return _warp(images, warp.shear_y, draw.fraction * 0.3, draw)


def _translate_x(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return _warp(images, warp.translate_x, draw.fraction * draw.translate_const, draw)


def _translate_y(images: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return _warp(images, warp.translate_y, draw.fraction * draw.translate_const, draw)


_FUNCTIONS: dict[str, Callable[[tf.Tensor, _Draw], tf.Tensor]] = {
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _invert,
    "Rotate": _rotate,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "Color": _color,
    "Contrast": _contrast,
    "Brightness": _brightness,
    "Sharpness": _sharpness,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "SolarizeAdd": _solarize_add,
    "Cutout": _cutout,
}

OPS = tuple(_FUNCTIONS)
GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
CUTOUT = OPS[-1]
