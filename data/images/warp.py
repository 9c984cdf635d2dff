"""RandAugment's geometric ops (docs/release.md): an image read through a matrix, nearest neighbour, grey outside.

An op takes an image [H, W, C] (H and W static, any type of numbers) and gives one of the same shape and type. Its argument is a
number or a float32 []; RandAugment negates it with probability 0.5. Pixel (x, y) is column x, row y, both counted from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import numpy as np
import tensorflow as tf

FILL = 128

Number = Union[float, tf.Tensor]


def rotate(image: tf.Tensor, degrees: Number, fill: float = FILL) -> tf.Tensor:
    """Turns counter-clockwise about the centre, ((W - 1) / 2, (H - 1) / 2); 0 to 30 degrees up to M = 10.

    The matrix is computed as in `tfa.image`, the successor of the module that the release used, bit for bit.
    """
    right, bottom = float(image.shape[1] - 1), float(image.shape[0] - 1)
    radians = tf.cast(degrees, tf.float32) * (np.pi / 180.0)
    cos, sin = tf.cos(radians), tf.sin(radians)
    x_offset = (right - (cos * right - sin * bottom)) / 2.0
    y_offset = (bottom - (sin * right + cos * bottom)) / 2.0
    return _read(image, [cos, -sin, x_offset, sin, cos, y_offset], fill)


def shear_x(image: tf.Tensor, slope: Number, fill: float = FILL) -> tf.Tensor:
    """Reads (x + slope * y, y), so that lower rows move left; slope 0 to 0.3 up to M = 10."""
    return _read(image, [1.0, slope, 0.0, 0.0, 1.0, 0.0], fill)


def shear_y(image: tf.Tensor, slope: Number, fill: float = FILL) -> tf.Tensor:
    """Reads (x, y + slope * x), so that columns further right move up; slope 0 to 0.3 up to M = 10."""
    return _read(image, [1.0, 0.0, 0.0, slope, 1.0, 0.0], fill)


def translate_x(image: tf.Tensor, pixels: Number, fill: float = FILL) -> tf.Tensor:
    """Reads (x + pixels, y), so that all moves left; 0 to 100 pixels (`translate_const`) up to M = 10."""
    return _read(image, [1.0, 0.0, pixels, 0.0, 1.0, 0.0], fill)


def translate_y(image: tf.Tensor, pixels: Number, fill: float = FILL) -> tf.Tensor:
    """Reads (x, y + pixels), so that all moves up; 0 to 100 pixels (`translate_const`) up to M = 10."""
    return _read(image, [1.0, 0.0, 0.0, 0.0, 1.0, pixels], fill)


def _read(image: tf.Tensor, matrix: Sequence[Number], fill: float) -> tf.Tensor:
    """Reads (x, y) from the pixel nearest to (a x + b y + c, d x + e y + f), where `matrix` is a to f."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack([tf.cast(number, tf.float32) for number in (*matrix, 0.0, 0.0)])[None],
        output_shape=image.shape[:2],
        fill_value=fill,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )[0]
