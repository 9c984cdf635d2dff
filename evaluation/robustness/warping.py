"""Bilinear sampling of a picture; affine and perspective maps on the fixed-point grids that OpenCV has for them."""

from __future__ import annotations

from typing import Callable

import numpy as np

from evaluation.robustness.pixels import mirrored

_GRID = 32  # OpenCV's points lie on 1/32 pixel

Border = Callable[[np.ndarray, int], np.ndarray]


def sample(planes: np.ndarray, rows: np.ndarray, columns: np.ndarray, border: Border) -> np.ndarray:
    """The picture at points between its pixels, bilinear.

    Args:
      planes: float32 [C, H, W].
      rows: float [H', W'], in pixels; pixel centres are whole numbers.
      columns: the same.
      border: brings indices beyond the picture into it.

    Returns:
      float32 [C, H', W'].
    """
    (rows, row_shares), (columns, column_shares) = _parts(rows), _parts(columns)
    return _blend(planes, rows, row_shares, columns, column_shares, border)


def _parts(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    before = np.floor(position)
    return before.astype(np.int64), (position - before).astype(np.float32)


def _blend(
    planes: np.ndarray,
    rows: np.ndarray,
    row_shares: np.ndarray,
    columns: np.ndarray,
    column_shares: np.ndarray,
    border: Border,
) -> np.ndarray:
    """Of the pixels at (row, column) and after them, the shares say how much of the later one counts."""
    _, height, width = planes.shape
    top, bottom = border(rows, height) * width, border(rows + 1, height) * width
    left, right = border(columns, width), border(columns + 1, width)
    corners = [top + left, top + right, bottom + left, bottom + right]
    result = np.empty((len(planes), *rows.shape), np.float32)
    for plane, blended in zip(planes, result):
        upper, upper_right, lower, lower_right = (plane.ravel().take(corner) for corner in corners)
        upper += column_shares * (upper_right - upper)
        lower += column_shares * (lower_right - lower)
        np.multiply(row_shares, lower - upper, out=blended)
        blended += upper
    return result


def warp_affine(planes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Moves a picture by an affine map, float32 [C, H, W]; bilinear, the borders mirrored without the edge.

    The points where the picture is read are rounded to 1/32 pixel as `cv2.warpAffine` rounds them.

    Args:
      planes: float32 [C, H, W].
      matrix: float64 [2, 3] on (x, y, 1), from the picture to the result.
    """
    _, height, width = planes.shape
    linear = np.linalg.inv(matrix[:, :2])
    columns = np.rint(np.multiply.outer(linear[:, 0], np.arange(width)) * 1024)
    rows = np.rint((np.multiply.outer(linear[:, 1], np.arange(height)) - (linear @ matrix[:, 2])[:, None]) * 1024) + 16
    x, y = ((rows[:, :, None] + columns[:, None, :]).astype(np.int64) // (1024 // _GRID)).reshape(2, height, width)
    shares = (np.arange(_GRID) / _GRID).astype(np.float32)
    return _blend(planes, y // _GRID, shares[y % _GRID], x // _GRID, shares[x % _GRID], mirrored)


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
