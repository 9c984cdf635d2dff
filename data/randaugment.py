"""RandAugment exactly as the release computes it (arXiv:1909.13719; RELEASE section 4), on one uint8 image.

Every op maps uint8 [H, W, 3] to uint8 of the same shape, eagerly and inside `tf.data.Dataset.map`. There is no identity
op: an op that is drawn is always applied. The level M counts in tenths of each op's range and may exceed 10; what uint8
arithmetic then makes of it (a threshold that wraps, a negative shift) is part of the method.
"""

from __future__ import annotations

import functools
import math
from typing import Callable, NamedTuple, Union

import numpy as np
import tensorflow as tf

from data import warp
from errors import UserError

FILL = 128
MAX_LEVEL = 10.0
Flag = Union[bool, tf.Tensor]


class _Draw(NamedTuple):
    """What an op is applied with; `level` and the constants are Python numbers, the rest may be tensors."""

    level: float
    negate: Flag
    center: tf.Tensor
    cutout_const: float
    translate_const: float

    @property
    def fraction(self) -> float:
        return self.level / MAX_LEVEL

    @property
    def factor(self) -> float:
        return self.fraction * 1.8 + 0.1


def randaugment(
    image: tf.Tensor,
    seed: tf.Tensor,
    layers: int,
    magnitude: float,
    cutout: bool,
    *,
    cutout_const: float = 40.0,
    translate_const: float = 100.0,
) -> tf.Tensor:
    """Applies `layers` ops in sequence, each drawn uniformly; a function of its arguments alone (RELEASE section 4).

    Args:
      image: uint8 [H, W, 3].
      seed: int32 or int64 [2].
      layers: number of ops.
      magnitude: the level M.
      cutout: whether Cutout is among the ops.
      cutout_const: half-width of Cutout at M = 10, in pixels.
      translate_const: shift of TranslateX and TranslateY at M = 10, in pixels.

    Returns:
      uint8 [H, W, 3].
    """
    image = tf.convert_to_tensor(image, tf.uint8)
    names = OPS if cutout else OPS[:-1]
    uniform = _uniform(seed, layers)

    # A function of its own, so that the ops are traced once and not once a layer.
    @functools.partial(tf.function, experimental_attributes={"_noinline": True})
    def apply_drawn(image: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        draw = _Draw(magnitude, uniform[1] < 0.5, random_center(image, uniform[2:]), cutout_const, translate_const)
        branches = [functools.partial(_apply, name, image, draw) for name in names]
        return tf.switch_case(_to_index(uniform[0], len(names)), branches)

    for layer in range(layers):
        image = apply_drawn(image, uniform[layer])
    return image


def draw_ops(seed: tf.Tensor, layers: int, num_ops: int) -> tf.Tensor:
    """The ops that `randaugment` draws from `seed`: int32 [layers], indices into `OPS`."""
    return _to_index(_uniform(seed, layers)[:, 0], num_ops)


def apply_op(
    name: str,
    image: tf.Tensor,
    level: float,
    negate: Flag = False,
    center: tf.Tensor | None = None,
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
    image = tf.convert_to_tensor(image, tf.uint8)
    if center is None:
        center = random_center(image, tf.constant([0.5, 0.5]))
    return _apply(name, image, _Draw(level, negate, tf.convert_to_tensor(center), cutout_const, translate_const))


def cutout(image: tf.Tensor, half_width: int, center: tf.Tensor) -> tf.Tensor:
    """Fills the square of side 2 * half_width around `center` (int32 [2]: row, column) with 128, clipped at the border."""
    size = tf.shape(image)[:2]
    low = tf.clip_by_value(center - half_width, 0, size)
    high = tf.clip_by_value(center + half_width, 0, size)
    band = image[low[0] : high[0]]
    hole = tf.fill(tf.concat([high - low, [3]], 0), np.uint8(FILL))
    band = tf.concat([band[:, : low[1]], hole, band[:, high[1] :]], 1)
    return tf.ensure_shape(tf.concat([image[: low[0]], band, image[high[0] :]], 0), image.shape)


def random_center(image: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Row and column, int32 [2], of `image` from two uniform numbers in [0, 1)."""
    return _to_index(uniform, tf.shape(image)[:2])


def _uniform(seed: tf.Tensor, layers: int) -> tf.Tensor:
    """Per layer: op, sign, and row and column of a centre, from one call of the generator."""
    return tf.random.stateless_uniform([layers, 4], seed, alg="philox")


def _to_index(uniform: tf.Tensor, count: Union[int, tf.Tensor]) -> tf.Tensor:
    """Maps [0, 1) to 0..count-1; the product of two float32 may round up to count itself."""
    return tf.minimum(tf.cast(uniform * tf.cast(count, tf.float32), tf.int32), count - 1)


def _apply(name: str, image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return tf.ensure_shape(_FUNCTIONS[name](image, draw), image.shape)


def _clip(values: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(values, 0.0, 255.0)


def _blend(degenerate: tf.Tensor, image: tf.Tensor, factor: float) -> tf.Tensor:
    """degenerate + factor * (image - degenerate); both float32 [H, W, 3], result uint8."""
    if factor == 0.0:
        return tf.cast(degenerate + tf.zeros_like(image), tf.uint8)
    if factor == 1.0:
        return tf.cast(image, tf.uint8)
    return tf.cast(_clip(degenerate + factor * (image - degenerate)), tf.uint8)


def _as_rows(image: tf.Tensor) -> tf.Tensor:
    """[H, W, 3] as [H, 3 W]: per-channel values then repeat along a contiguous axis, which vectorises."""
    return tf.reshape(image, [tf.shape(image)[0], -1])


def _auto_contrast(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    del draw
    rows = tf.cast(_as_rows(image), tf.float32)
    low = tf.reduce_min(tf.reshape(tf.reduce_min(rows, 0), [-1, 3]), 0)
    high = tf.reduce_max(tf.reshape(tf.reduce_max(rows, 0), [-1, 3]), 0)
    varies = high > low
    scale = tf.where(varies, 255.0 / tf.where(varies, high - low, 1.0), 1.0)
    offset = tf.where(varies, -low * scale, 0.0)
    repeats = [tf.shape(image)[1]]
    stretched = _clip(rows * tf.tile(scale, repeats) + tf.tile(offset, repeats))
    return tf.reshape(tf.cast(stretched, tf.uint8), tf.shape(image))


def _equalize(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    del draw
    # One histogram of 768 bins serves the three channels.
    rows = tf.cast(_as_rows(image), tf.int32) + tf.tile([0, 256, 512], [tf.shape(image)[1]])
    counts = tf.reshape(tf.raw_ops.Bincount(arr=rows, size=768, weights=tf.zeros([0], tf.int32)), [3, 256])
    table = tf.cast(tf.reshape(_equalize_table(counts), [768]), tf.uint8)
    return tf.reshape(tf.gather_nd(table, rows[..., None]), tf.shape(image))


def _equalize_table(counts: tf.Tensor) -> tf.Tensor:
    """PIL's equalisation as a table per channel: int32 [3, 256] of counts to int32 [3, 256] of values."""
    values = tf.range(256)
    brightest = tf.reduce_max(tf.where(counts > 0, values, 0), 1)
    total = tf.reduce_sum(counts, 1)
    step = ((total - tf.gather(counts, brightest, batch_dims=1)) // 255)[:, None]
    below = tf.cumsum(counts, axis=1, exclusive=True)
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    return tf.where(step == 0, values, table)


def _invert(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    del draw
    return 255 - image


def _posterize(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    # The release shifts right and left by 8 - bits in uint8, where a shift that is negative (and wraps) or beyond 7 counts as 7.
    shift = min((8 - int(draw.level * 0.4)) % 256, 7)
    return tf.bitwise.bitwise_and(image, np.uint8(256 - 2**shift))


def _solarize(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    threshold = int(draw.fraction * 256) % 256
    inverted = tf.cast(image >= threshold, tf.float32)
    return tf.cast(tf.abs(tf.cast(image, tf.float32) - 255.0 * inverted), tf.uint8)


def _solarize_add(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    added = tf.cast(image < 128, tf.float32) * float(int(draw.fraction * 110))
    return tf.cast(tf.minimum(tf.cast(image, tf.float32) + added, 255.0), tf.uint8)


def _color(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    values = tf.cast(tf.reshape(image, [-1, 3]), tf.float32)
    # What tf.image.rgb_to_grayscale computes, without leaving float32; a product with ones is the fastest way to repeat it.
    grey = tf.floor(tf.matmul(values * (1.0 / 255.0), [[0.2989], [0.5870], [0.1140]]) * 255.5)
    return tf.reshape(_blend(tf.matmul(grey, tf.ones([1, 3])), values, draw.factor), tf.shape(image))


def _contrast(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    pixels = tf.cast(tf.reduce_prod(tf.shape(image)[:2]), tf.float32)
    grey = tf.floor(tf.minimum(pixels / 256.0, 255.0))
    return _blend(grey, tf.cast(image, tf.float32), draw.factor)


def _brightness(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return tf.cast(_clip(tf.cast(image, tf.float32) * draw.factor), tf.uint8)


def _sharpness(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    rows = _as_rows(image)
    # The three columns of the kernel lie side by side, so that a row's values are the convolution's many channels: as an
    # image of three channels it would take longer. The order of the additions, and so every bit, is the same.
    columns = tf.cast(tf.stack([rows[:, :-6], rows[:, 3:-3], rows[:, 6:]], 1), tf.float32)
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32) / 13.0
    kernel = tf.tile(kernel[:, :, None, None], [1, 1, tf.shape(columns)[2], 1])
    smooth = tf.floor(tf.nn.depthwise_conv2d(columns[None], kernel, [1, 1, 1, 1], "VALID")[0, :, 0])
    inside = _blend(smooth, tf.cast(rows[1:-1, 3:-3], tf.float32), draw.factor)
    middle = tf.concat([rows[1:-1, :3], inside, rows[1:-1, -3:]], 1)
    return tf.reshape(tf.concat([rows[:1], middle, rows[-1:]], 0), tf.shape(image))


def _cutout(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return cutout(image, int(draw.fraction * draw.cutout_const), draw.center)


def _rotate(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    # In float32, as the release multiplies.
    radians = float(np.float32(draw.fraction * 30.0) * np.float32(math.pi / 180.0))
    return warp.warp(image, warp.rotate, radians, draw.negate, FILL)


def _shear_x(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return warp.warp(image, warp.shear_x, draw.fraction * 0.3, draw.negate, FILL)


def _shear_y(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return warp.warp(image, warp.shear_y, draw.fraction * 0.3, draw.negate, FILL)


def _translate_x(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return warp.warp(image, warp.translate_x, draw.fraction * draw.translate_const, draw.negate, FILL)


def _translate_y(image: tf.Tensor, draw: _Draw) -> tf.Tensor:
    return warp.warp(image, warp.translate_y, draw.fraction * draw.translate_const, draw.negate, FILL)


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
