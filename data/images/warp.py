"""Where each value of a nearest-neighbour warp comes from (docs/release.md, section 4).

The definition is `tfa.image.transform`, the successor of the module that the release used. It evaluates a whole matrix for
every byte; here it is evaluated once, on pixel numbers. To read by them gives the same, bit for bit.

The only file that imports tensorflow-addons, and without its end-of-life notice.
"""

from __future__ import annotations

import warnings
from typing import Callable, Optional

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


def sources(matrix: Matrix, argument: float, height: int, width: int) -> np.ndarray:
    """Where a warped image's values come from.

    Args:
      matrix: one of this module's.
      argument: radians, slope or pixels.
      height, width: of the image, in pixels.

    Returns:
      int32 [H W 3]: for each value of the warped image the one that it is, -1 for one from outside.
    """
    with tf.init_scope(), tf.device("/CPU:0"):
        image = tf.reshape(tf.range(height * width), [1, height, width, 1])
        transform = matrix(tf.constant(argument, tf.float32), tf.constant(height), tf.constant(width))
        pixel = tfa.image.transform(
            image, transform, interpolation="nearest", fill_mode="constant", fill_value=-1.0
        ).numpy()
    value = 3 * pixel.reshape(-1, 1) + np.arange(3)
    return np.where(pixel.reshape(-1, 1) < 0, -1, value).reshape(-1).astype(np.int32)


def shifted_rows(sources: np.ndarray, height: int, width: int) -> Optional[np.ndarray]:
    """How each row of a warped image is read from one row of the image, where that is all that a warp does.

    A row's shift may change once: where it lies between two pixels, the rounding of the column decides.

    Args:
      sources: of the function `sources`.
      height, width: of the image, in pixels.

    Returns:
      int32 [H, 4]: row to read (H for one that is all outside), shifts (columns) left and right of a column, and that column;
      None where a row is not read that way.
    """
    pixel, columns = sources.reshape(height, width, 3)[..., 0] // 3, np.arange(width)
    inside, shifts = pixel >= 0, pixel % width - columns
    filled, first, every = ~inside.any(1), inside.argmax(1), np.arange(height)
    last = width - 1 - inside[:, ::-1].argmax(1)
    left, right = shifts[every, first], shifts[every, last]
    # With one shift, what is left of the first column is outside, also where rounding alone makes it so.
    left, middle = np.where(left == right, left - 1, left), (inside & (shifts == right[:, None])).argmax(1)
    table = np.stack([pixel[every, first] // width, left, right, middle], 1).astype(np.int32)
    table[filled] = [height, 0, 0, 0]
    read = columns + np.where(columns < table[:, 3:], table[:, 1:2], table[:, 2:3])
    outside = (read < 0) | (read >= width) | filled[:, None]
    return table if (np.where(outside, -1, table[:, :1] * width + read) == pixel).all() else None
