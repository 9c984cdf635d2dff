"""Nearest-neighbour warps of an image: same size, pixels from outside are filled (RELEASE section 4).

The definition is `tfa.image.transform`, the successor of the module that the release used. It evaluates a whole matrix for
every byte; where the image's size is static we evaluate it once, on pixel numbers, and from then on only copy pixels: in
slices where the warp shifts, by row where it shears along rows, one by one otherwise. The result is the same, bit for bit.

The only file that imports tensorflow-addons, and without its end-of-life notice.
"""

from __future__ import annotations

import functools
import warnings
from typing import Callable, Union

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
    sign = tf.cast(negate, tf.int32)
    pixels = tf.concat([tf.reshape(image, [height * width, 3]), tf.fill([1, 3], np.uint8(fill))], 0)
    source = tf.gather(_sources(matrix, argument, height, width), sign)
    return tf.reshape(tf.gather(pixels, source), [height, width, 3])


def _signed(argument: float, negate: Union[bool, tf.Tensor]) -> tf.Tensor:
    return tf.where(negate, tf.constant(-argument, tf.float32), tf.constant(argument, tf.float32))


def _define(image: tf.Tensor, transform: tf.Tensor, fill: float) -> tf.Tensor:
    return tfa.image.transform(image, transform, interpolation="nearest", fill_mode="constant", fill_value=float(fill))


@functools.lru_cache(maxsize=64)
def _sources(matrix: Matrix, argument: float, height: int, width: int) -> tf.Tensor:
    """Number of the pixel that each pixel is read from, int32 [2, H W], for +argument and -argument; H W is outside."""
    with tf.init_scope(), tf.device("/CPU:0"):
        numbers = tf.reshape(tf.range(height * width), [height, width, 1])
        maps = []
        for negate in (False, True):
            transform = matrix(_signed(argument, negate), tf.constant(height), tf.constant(width))
            source = tf.reshape(_define(numbers, transform, -1), [-1])
            maps.append(tf.where(source < 0, height * width, source))
        return tf.stack(maps)
