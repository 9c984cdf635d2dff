"""Bilinear sampling of a picture; affine and perspective maps on the fixed-point grids that OpenCV has for them."""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from evaluation.robustness.pixels import mirrored

_GRID = 32  # OpenCV's points lie on 1/32 pixel


class Points(NamedTuple):
    """Points between the pixels of a picture: the four pixels around each, as indices of the flat picture, and shares."""

    upper_left: np.ndarray  # int [H', W']
    upper_right: np.ndarray
    lower_left: np.ndarray
    lower_right: np.ndarray
    down: np.ndarray  # float32 [H', W']: how much of the lower two counts
    right: np.ndarray  # float32 [H', W']: how much of the two on the right counts


def points_at(
    rows: np.ndarray, columns: np.ndarray, height: int, width: int, border: Callable[[np.ndarray, int], np.ndarray]
) -> Points:
    """Points of a picture of this height and width.

    Args:
      rows: float [H', W'], in pixels; pixel centres are whole numbers.
      columns: the same.
      height: of the picture.
      width: of the picture.
      border: brings indices beyond the picture into it.
    """
    row, column = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    shares = (rows - row).astype(np.float32), (columns - column).astype(np.float32)
    upper, lower = border(np.stack([row, row + 1]), height) * width
    left, right = border(np.stack([column, column + 1]), width)
    return Points(upper + left, upper + right, lower + left, lower + right, *shares)


def sample(planes: np.ndarray, points: Points) -> np.ndarray:
    """The picture at the points, bilinear: float32 [C, H, W] -> [C, H', W']."""
    flat = planes.reshape(len(planes), -1)
    upper, upper_right, lower, lower_right = (flat.take(pixels, axis=1) for pixels in points[:4])
    upper_right -= upper
    upper_right *= points.right
    upper += upper_right
    lower_right -= lower
    lower_right *= points.right
    lower += lower_right
    lower -= upper
    lower *= points.down
    upper += lower
    return upper


def affine_points(matrix: np.ndarray, height: int, width: int) -> Points:
    """Where an affine map finds the pixels of its result in the picture; the borders are mirrored without the edge.

    The points are rounded to 1/32 pixel as `cv2.warpAffine` rounds them.

    Args:
      matrix: float64 [2, 3] on (x, y, 1), from the picture to the result.
      height: of both.
      width: of both.
    """
    linear = np.linalg.inv(matrix[:, :2])
    offset = -linear @ matrix[:, 2]
    columns = np.rint(np.multiply.outer(linear[:, 0], np.arange(width)) * 1024)
    rows = np.rint((np.multiply.outer(linear[:, 1], np.arange(height)) + offset[:, None]) * 1024) + 16
    x, y = (rows[:, :, None] + columns[:, None, :]).astype(np.int64) // (1024 // _GRID) / _GRID
    return points_at(y, x, height, width, mirrored)


def warp_perspective(image: np.ndarray, matrix: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """Moves a picture by a perspective map as `cv2.warpPerspective` does: bilinear on points of 1/32 pixel, black outside.

    Args:
      image: uint8 [H, W, C].
      matrix: float64 [3, 3] on (x, y, 1), from the picture to the result.
      window: rows and columns of the result that are wanted.

    Returns:
      uint8 [H', W', C], the window.
    """
    height, width, channels = image.shape
    rows, columns = np.ogrid[window]
    points = [row[0] * columns + row[1] * rows + row[2] for row in np.linalg.inv(matrix)]
    x, y = (np.rint(point * (_GRID / points[2])).astype(np.int64) for point in points[:2])
    x_share, y_share = x % _GRID, y % _GRID
    # One black pixel all round stands for all that lies outside.
    framed = np.zeros((channels, height + 2, width + 2), np.uint8)
    framed[:, 1:-1, 1:-1] = image.transpose(2, 0, 1)
    left, right = (np.clip(x // _GRID + further, -1, width) + 1 for further in (0, 1))
    top, bottom = ((np.clip(y // _GRID + further, -1, height) + 1) * (width + 2) for further in (0, 1))
    corners = (
        (top + left, (_GRID - y_share) * (_GRID - x_share)),
        (top + right, (_GRID - y_share) * x_share),
        (bottom + left, y_share * (_GRID - x_share)),
        (bottom + right, y_share * x_share),
    )
    warped = np.empty((*x.shape, channels), np.uint8)
    for channel, plane in enumerate(framed):
        total = sum(plane.ravel().take(corner) * weight for corner, weight in corners)
        warped[..., channel] = (total + _GRID**2 // 2) // _GRID**2
    return warped
