"""Blur: defocus, glass, motion, zoom and Gaussian (Hendrycks and Dietterich, ICLR 2019).

Every function takes a picture, uint8 [H, W, 3], then its random draws, then its constants, and returns a picture like it. The
`draw_` functions make the draws, as a tuple.
"""

from __future__ import annotations

import functools
import math
from typing import Callable

import numpy as np
import scipy.fft
import scipy.ndimage

from evaluation.robustness.pixels import as_bytes, by_planes, half_gaussian, mirrored, unit

_SMALL_KERNEL = 25  # values
_VALUES_AT_ONCE = 2**17  # of zooms

# --- defocus --------------------------------------------------------------------------------------------------------


def defocus_blur(image: np.ndarray, radius: float, deviation: float) -> np.ndarray:
    """Correlates each channel with a disk of this radius; the border is mirrored without the edge."""
    reach = len(_disk(radius, deviation)) // 2
    rows, columns = (mirrored(np.arange(-reach, size + reach), size) for size in image.shape[:2])
    correlated = _disk_correlation(radius, deviation, *image.shape[:2])
    return by_planes(lambda planes: as_bytes(correlated(unit(planes.take(rows, axis=1).take(columns, axis=2)))), image)


def _correlation(kernel: np.ndarray, height: int, width: int) -> Callable[[np.ndarray], np.ndarray]:
    """Sums over the kernel's window at each place that it fits in: float64 [C, H + h - 1, W + w - 1] -> [C, H, W].

    Larger kernels by the Fourier transform, right to 1e-15; a small one tap by tap, so that one pixel alone changes nothing.
    """
    if kernel.size <= _SMALL_KERNEL:
        taps = [(row, column) for row, column in np.ndindex(kernel.shape) if kernel[row, column]]
        return lambda planes: np.sum(
            [float(kernel[r, c]) * planes[:, r : r + height, c : c + width] for r, c in taps], axis=0
        )
    sizes = (size + own - 1 for size, own in zip((height, width), kernel.shape))
    shape = [scipy.fft.next_fast_len(size, real=True) for size in sizes]
    of_the_kernel = scipy.fft.rfft2(kernel.astype(np.float64), shape).conj()

    def correlated(planes: np.ndarray) -> np.ndarray:
        spectrum = scipy.fft.rfft2(planes, shape)
        spectrum *= of_the_kernel
        return scipy.fft.irfft2(spectrum, shape, overwrite_x=True)[:, :height, :width]

    return correlated


@functools.lru_cache(maxsize=8)
def _disk_correlation(radius: float, deviation: float, height: int, width: int) -> Callable[[np.ndarray], np.ndarray]:
    return _correlation(_disk(radius, deviation), height, width)


@functools.lru_cache(maxsize=16)
def _disk(radius: float, deviation: float) -> np.ndarray:
    """The disk with a smoothed edge, float32 as the authors have it; rows and columns that hold nothing are left out."""
    reach = 8 if radius <= 8 else math.ceil(radius)
    grid = np.arange(-reach, reach + 1)
    disk = (grid[:, None] ** 2 + grid**2 <= radius**2).astype(np.float32)
    disk /= disk.sum(dtype=np.float32)
    taps = gaussian_taps(deviation, reach=1 if radius <= 8 else 2).astype(np.float32)
    disk = _smoothed_rows(_smoothed_rows(disk, taps).T, taps).T
    used = np.flatnonzero(disk.any(axis=0))
    return disk[used[0] : used[-1] + 1, used[0] : used[-1] + 1]


def _smoothed_rows(disk: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Each row by the taps in float32, the centre first, then the pairs around it; the border is mirrored."""
    reach, size = len(taps) // 2, disk.shape[1]
    padded = disk[:, mirrored(np.arange(-reach, size + reach), size)]
    moved = [padded[:, start : start + size] for start in range(len(taps))]
    smoothed = moved[reach] * taps[reach]
    for distance in range(1, reach + 1):
        smoothed += (moved[reach - distance] + moved[reach + distance]) * taps[reach + distance]
    return smoothed


# --- Gaussian and glass ---------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def gaussian_taps(deviation: float, reach: int) -> np.ndarray:
    """The weights of a Gaussian at -reach, ... reach: float64, their sum is 1."""
    taps = half_gaussian(range(-reach, reach + 1), deviation) if reach else np.ones(1)
    return taps / taps.sum()


def gaussian_blur(image: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian blur of this standard deviation, cut off at 4 of them; the edge is repeated."""
    taps = gaussian_taps(deviation, int(4 * deviation + 0.5))

    def work(planes: np.ndarray) -> np.ndarray:
        values = unit(planes)
        for axis in (1, 2):
            values = scipy.ndimage.correlate1d(values, taps, axis=axis, mode="nearest")
        return as_bytes(values)

    return by_planes(work, image)


def draw_offsets(
    generator: np.random.Generator, image: np.ndarray, deviation: float, reach: int, passes: int
) -> tuple[np.ndarray]:
    """(column, row) of the source that each visited pixel takes, -reach to reach - 1: int8 [passes * visited pixels, 2]."""
    del deviation
    height, width, _ = image.shape
    visited = max(height - 2 * reach, 0) * max(width - 2 * reach, 0)
    return (generator.integers(-reach, reach, size=(passes * visited, 2), dtype=np.int8),)


def glass_blur(image: np.ndarray, offsets: np.ndarray, deviation: float, reach: int, passes: int) -> np.ndarray:
    """Gaussian blur, passes in which each pixel takes the value of one beside it, Gaussian blur.

    A pass goes from the last pixel but `reach` back to the first, and a pixel takes what stands there by then. The authors
    meant to exchange the two; their code copies one, and so do the published pictures and this.

    Args:
      image: uint8 [H, W, 3].
      offsets: int8 [passes * (H - 2 reach) * (W - 2 reach), 2] in the order of the visits, (column, row).
      deviation: standard deviation of both blurs.
      reach: largest offset.
      passes: how often each pixel is visited.
    """
    blurred = gaussian_blur(image, deviation)
    height, width, channels = image.shape
    source = np.arange(height * width)
    for moves in np.split(offsets, passes):
        source = source[_sources(height, width, moves, reach)]
    shuffled = blurred.reshape(-1, channels).take(source, axis=0).reshape(image.shape)
    return gaussian_blur(shuffled, deviation)


def _sources(height: int, width: int, moves: np.ndarray, reach: int) -> np.ndarray:
    """Which pixel's value before the pass each pixel has after it, int [H * W].

    A source that lies further on was visited before, and holds the value of its own source. So the links are followed as
    long as they lead on; about half of the pixels are left after each step.
    """
    rows = np.arange(height - reach, reach, -1)
    columns = np.arange(width - reach, reach, -1)
    visited = (rows[:, None] * width + columns).ravel()
    target = np.arange(height * width)
    target[visited] += moves[:, 1].astype(np.int64) * width + moves[:, 0]
    was_visited = np.zeros(height * width, bool)
    was_visited[visited] = True
    result = target.copy()
    pending, reached = visited, target[visited]
    at = visited
    while len(pending):
        leads_on = (reached > at) & was_visited[reached]
        pending, at = pending[leads_on], reached[leads_on]
        reached = target[at]
        result[pending] = reached
    return result


# --- motion ---------------------------------------------------------------------------------------------------------


def draw_angle(generator: np.random.Generator, image: np.ndarray, *_: float) -> tuple[float]:
    """The direction of the motion in degrees, uniform in -45..45."""
    del image
    return (generator.uniform(-45, 45),)


def motion_blur(image: np.ndarray, angle: float, radius: float, deviation: float) -> np.ndarray:
    """Blur along a line, in one direction, with half a Gaussian as its weights: what ImageMagick 6 computes, to the byte.

    Takes any uint8 [H, W] or [H, W, 3]. The angle is in degrees, clockwise from the right; the edge is repeated.
    """
    number = 2 * math.ceil(radius) + 1
    steps, weights = np.arange(number), half_gaussian(range(number), deviation)
    columns = np.ceil(steps * math.cos(math.radians(angle)) - 0.5).astype(int)
    rows = np.ceil(steps * math.sin(math.radians(angle)) - 0.5).astype(int)
    kernel = np.zeros((np.ptp(rows) + 1, np.ptp(columns) + 1))
    np.add.at(kernel, (rows - rows.min(), columns - columns.min()), weights / weights.sum())
    height, width = image.shape[:2]
    row_index = np.arange(rows.min(), height + rows.max()).clip(0, height - 1)
    column_index = np.arange(columns.min(), width + columns.max()).clip(0, width - 1)
    correlated = _correlation(kernel, height, width)

    def work(planes: np.ndarray) -> np.ndarray:
        levels = correlated(planes.take(row_index, axis=1).take(column_index, axis=2) * 257.0)  # of 16 bits
        levels += 0.5
        return (levels.astype(np.uint16) // 257).astype(np.uint8)

    return by_planes(work, image.reshape(height, width, -1)).reshape(image.shape)


# --- zoom -----------------------------------------------------------------------------------------------------------


def zoom_blur(image: np.ndarray, largest: float, step: float) -> np.ndarray:
    """Mean of the picture and of its zooms into the middle by 1, 1 + step, ... largest; float32, as the authors have it."""
    factors = np.arange(1, largest + step / 2, step).tolist()

    def work(planes: np.ndarray) -> np.ndarray:
        clean = planes / np.float32(255)
        total = np.zeros(clean.transpose(2, 0, 1).shape, np.float32)
        at_once = max(_VALUES_AT_ONCE // clean.size, 1)
        for start in range(0, len(factors), at_once):
            for zoomed in zooms(clean, tuple(factors[start : start + at_once])):
                total += zoomed
        total += clean.transpose(2, 0, 1)
        total /= np.float32(len(factors) + 1)
        return as_bytes(total).transpose(1, 2, 0)

    return by_planes(work, image)


def zooms(planes: np.ndarray, factors: tuple[float, ...]) -> np.ndarray:
    """Zooms into the middle, linearly: float [C, H, W] -> [factors, W, C, H].

    What `scipy.ndimage.zoom` makes of the middle H / factor rows and W / factor columns, and of that the middle H and W. Here one
    axis is interpolated after the other, each as the first of the array, which takes a tenth of the time.
    """
    channels, height, width = planes.shape
    number, dtype = len(factors), planes.dtype.type
    rows = _interpolated(planes.transpose(1, 0, 2).reshape(height, -1), *_zoom_points(height, factors, 0, dtype))
    columns = rows.reshape(number, height, channels, width).transpose(0, 3, 2, 1).reshape(number * width, -1)
    zoomed = _interpolated(columns, *_zoom_points(width, factors, width, dtype))
    return zoomed.reshape(number, width, channels, height)


def _interpolated(values: np.ndarray, before: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Between the rows `before` and those after them: [N, M], int [K], [K, 1] -> [K, M]."""
    lower, upper = values.take(before, axis=0), values.take(before + 1, axis=0)
    upper -= lower
    upper *= share
    upper += lower
    return upper


@functools.lru_cache(maxsize=256)
def _zoom_points(size: int, factors: tuple[float, ...], apart: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """For `_interpolated`, the points of all zooms of an axis, one zoom after the other.

    Args:
      size: of the axis.
      factors: of the zooms.
      apart: by how many rows each zoom's values lie after those of the zoom before it; 0 if all zooms are of the same rows.
      dtype: of the values.
    """
    starts, shares = [], []
    for number, factor in enumerate(factors):
        crop = math.ceil(size / factor)
        zoomed = round(crop * factor)
        position = np.arange(zoomed) * ((crop - 1) / max(zoomed - 1, 1))  # the first and the last stay first and last
        position = position[(zoomed - size) // 2 :][:size] + (size - crop) // 2
        before = np.minimum(position.astype(int), size - 2)
        starts.append(before + number * apart)
        shares.append(position - before)
    return np.concatenate(starts), np.concatenate(shares).astype(dtype)[:, None]
