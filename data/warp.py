"""Nearest-neighbour warps of an image: same size, pixels from outside are filled (RELEASE section 4).

The definition is `tfa.image.transform`, the successor of the module that the release used. It evaluates a whole matrix for
every byte; where the image's size is static we evaluate it once, on pixel numbers, and from then on only copy pixels: in
slices where the warp shifts, by row where it shears along rows, one by one otherwise. The result is the same, bit for bit.

The only file that imports tensorflow-addons, and without its end-of-life notice.
"""

from __future__ import annotations

import functools
import warnings
from typing import Callable, NamedTuple, Optional, Union

import numpy as np
import tensorflow as tf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow_addons as tfa

Matrix = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def rotate(argument: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Matrix [8] of a rotation by `argument` radians about ((w-1)/2, (h-1)/2)."""
    floats = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    return tfa.image.transform_ops.angles_to_projective_transforms(argument, *floats)[0]


def shear_x(argument: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Matrix [8] that reads column x + argument * y."""
    del height, width
    return tf.stack([1.0, argument, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])


def shear_y(argument: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Matrix [8] that reads row y + argument * x."""
    del height, width
    return tf.stack([1.0, 0.0, 0.0, argument, 1.0, 0.0, 0.0, 0.0])


def translate_x(argument: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Matrix [8] that reads column x + argument."""
    del height, width
    return tf.stack([1.0, 0.0, argument, 0.0, 1.0, 0.0, 0.0, 0.0])


def translate_y(argument: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Matrix [8] that reads row y + argument."""
    del height, width
    return tf.stack([1.0, 0.0, 0.0, 0.0, 1.0, argument, 0.0, 0.0])


def warp(image: tf.Tensor, matrix: Matrix, argument: float, negate: Union[bool, tf.Tensor], fill: int) -> tf.Tensor:
    """Warps `image` by `matrix` of `argument`, or of -argument where `negate`.

    Args:
      image: uint8 [H, W, 3], of static or dynamic size.
      matrix: one of this module's.
      argument: radians, slope or pixels.
      negate: bool, or a bool tensor [].
      fill: value of what comes from outside.

    Returns:
      uint8 [H, W, 3].
    """
    height, width = image.shape[:2]
    if height is None or width is None:
        return _define(image, matrix(_signed(argument, negate), *tf.unstack(tf.shape(image)[:2])), fill)
    sources = _sources(matrix, argument, height, width)
    for axis in (0, 1):
        if sources.shifts[axis] is not None:
            return _shift(image, tf.gather(sources.shifts[axis], tf.cast(negate, tf.int32)), axis, fill)
    pixels = tf.concat([tf.reshape(image, [height * width, 3]), tf.fill([1, 3], np.uint8(fill))], 0)
    source = tf.gather(sources.numbers, tf.cast(negate, tf.int32))
    return tf.reshape(tf.gather_nd(pixels, source[:, None]), [height, width, 3])


def _shift(image: tf.Tensor, shift: tf.Tensor, axis: int, fill: int) -> tf.Tensor:
    """Reads from `shift` pixels further along `axis`."""
    size = image.shape.as_list()
    begin, end = tf.clip_by_value(shift, 0, size[axis]), tf.clip_by_value(size[axis] + shift, 0, size[axis])
    kept = image[begin:end] if axis == 0 else image[:, begin:end]
    outside = tf.clip_by_value(tf.stack([-shift, shift]), 0, size[axis])
    filling = [tf.fill([*size[:axis], outside[side], *size[axis + 1 :]], np.uint8(fill)) for side in (0, 1)]
    return tf.concat([filling[0], kept, filling[1]], axis)


def _signed(argument: float, negate: Union[bool, tf.Tensor]) -> tf.Tensor:
    return tf.where(negate, tf.constant(-argument, tf.float32), tf.constant(argument, tf.float32))


def _define(image: tf.Tensor, transform: tf.Tensor, fill: float) -> tf.Tensor:
    return tfa.image.transform(image, transform, interpolation="nearest", fill_mode="constant", fill_value=float(fill))


class _Sources(NamedTuple):
    """Where the pixels of a warped image come from, for +argument and -argument.

    Attributes:
      numbers: int32 [2, H W], the pixel that each one is read from; H W is outside.
      shifts: for rows and columns, the shifts int32 [2] that have the same effect, or None where none has.
    """

    numbers: tf.Tensor
    shifts: tuple[Optional[tf.Tensor], Optional[tf.Tensor]]


@functools.lru_cache(maxsize=64)
def _sources(matrix: Matrix, argument: float, height: int, width: int) -> _Sources:
    with tf.init_scope(), tf.device("/CPU:0"):
        image = tf.reshape(tf.range(height * width), [height, width, 1])
        warped = []
        for negate in (False, True):
            transform = matrix(_signed(argument, negate), tf.constant(height), tf.constant(width))
            source = _define(image, transform, -1).numpy()[..., 0]
            warped.append(np.where(source < 0, height * width, source))
        shifts = [[_shift_of(source, axis) for source in warped] for axis in (0, 1)]
        return _Sources(
            tf.reshape(tf.constant(np.stack(warped)), [2, -1]),
            (
                None if None in shifts[0] else tf.constant(shifts[0]),
                None if None in shifts[1] else tf.constant(shifts[1]),
            ),
        )


def _shift_of(source: np.ndarray, axis: int) -> Optional[int]:
    """The shift along `axis` that reads every pixel from where int32 [H, W] says, None where there is none."""
    height, width = source.shape
    size, stride = (height, width) if axis == 0 else (width, 1)
    inside = source < height * width
    own = np.arange(height * width).reshape(height, width)
    if not inside.any():
        return size
    shift = int((source - own)[inside][0]) // stride
    position = own // width if axis == 0 else own % width
    within = (position + shift >= 0) & (position + shift < size)
    return shift if np.array_equal(source, np.where(within, own + shift * stride, height * width)) else None
