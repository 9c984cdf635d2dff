"""Nearest-neighbour warps of images: same size, pixels from outside are filled (RELEASE section 4).

The definition is `tfa.image.transform`, the successor of the module that the release used. It evaluates a whole matrix for
every byte; where the images' size is static we evaluate it once, on pixel numbers, and from then on only copy pixels: in
slices where the warp shifts, one by one otherwise. The result is the same, bit for bit.

The only file that imports tensorflow-addons, and without its end-of-life notice.
"""

from __future__ import annotations

import functools
import warnings
from typing import Callable, NamedTuple, Optional

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


def warp(images: tf.Tensor, matrix: Matrix, argument: float, fill: int) -> tf.Tensor:
    """Warps `images` by `matrix` of `argument`.

    Args:
      images: uint8 [N, H, W, 3]; H and W static or dynamic.
      matrix: one of this module's.
      argument: radians, slope or pixels.
      fill: value of what comes from outside.

    Returns:
      uint8 [N, H, W, 3].
    """
    height, width = images.shape[1:3]
    if height is None or width is None:
        transform = matrix(tf.constant(argument, tf.float32), *tf.unstack(tf.shape(images)[1:3]))
        return _define(images, transform, fill)
    sources = _sources(matrix, argument, height, width)
    for axis, shift in enumerate(sources.shifts):
        if shift is not None:
            return _shift(images, shift, axis + 1, fill)
    pixels = tf.pad(tf.reshape(images, [-1, height * width, 3]), [[0, 0], [0, 1], [0, 0]], constant_values=fill)
    return tf.reshape(tf.gather(pixels, sources.numbers, axis=1), [-1, height, width, 3])


def _shift(images: tf.Tensor, shift: int, axis: int, fill: int) -> tf.Tensor:
    """Reads from `shift` pixels further along `axis`."""
    size = images.shape[axis]
    shift = max(-size, min(shift, size))
    begin, end = max(0, shift), min(size, size + shift)
    kept = images[:, begin:end] if axis == 1 else images[:, :, begin:end]
    outside = [[0, 0] for _ in images.shape]
    outside[axis] = [max(0, -shift), max(0, shift)]
    return tf.pad(kept, outside, constant_values=fill)


def _define(images: tf.Tensor, transform: tf.Tensor, fill: float) -> tf.Tensor:
    return tfa.image.transform(images, transform, interpolation="nearest", fill_mode="constant", fill_value=float(fill))


class _Sources(NamedTuple):
    """Where the pixels of a warped image come from.

    Attributes:
      numbers: int32 [H W], the pixel that each one is read from; H W is outside.
      shifts: for rows and for columns, the shift that has the same effect, or None where none has.
    """

    numbers: np.ndarray
    shifts: tuple[Optional[int], Optional[int]]


@functools.lru_cache(maxsize=64)
def _sources(matrix: Matrix, argument: float, height: int, width: int) -> _Sources:
    with tf.init_scope(), tf.device("/CPU:0"):
        image = tf.reshape(tf.range(height * width), [1, height, width, 1])
        transform = matrix(tf.constant(argument, tf.float32), tf.constant(height), tf.constant(width))
        source = _define(image, transform, -1).numpy()[0, ..., 0]
    source = np.where(source < 0, height * width, source)
    return _Sources(source.reshape(-1).astype(np.int32), (_shift_of(source, 0), _shift_of(source, 1)))


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
