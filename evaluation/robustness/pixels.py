"""Pixels as bytes and as floats in 0..1, and how a picture is worked on piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Callable

import numpy as np

_PIXELS_AT_ONCE = 8192  # whose float64 values, some times over, stay in a processor's cache


def unit(image: np.ndarray) -> np.ndarray:
    """uint8 -> float64 in 0..1."""
    return image / 255.0


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Floats in 0..1 -> uint8: clipped, then cut off, not rounded, as the authors' casts do. Overwrites the values."""
    np.clip(values, 0, 1, out=values)
    values *= 255
    return values.astype(np.uint8)


def by_strips(work: Callable[..., np.ndarray], image: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Works on some rows at a time: a picture of 224 pixels takes half the time if no array leaves the cache.

    Args:
      work: rows of the picture and of the others -> such rows, uint8.
      image: uint8 [H, W, 3].
      others: [H, ...] each.

    Returns:
      uint8 [H, W, 3].
    """
    height, width, _ = image.shape
    rows = max(_PIXELS_AT_ONCE // width, 1)
    if height <= rows:
        return work(image, *others)
    strips = (slice(start, start + rows) for start in range(0, height, rows))
    return np.concatenate([work(image[strip], *(other[strip] for other in others)) for strip in strips])


def by_planes(work: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    """Works on the channels: on each alone if the picture is large, for the reason of `by_strips`.

    Args:
      work: uint8 [C, H, W] -> uint8 [C, H, W].
      image: uint8 [H, W, 3].

    Returns:
      uint8 [H, W, 3].
    """
    result = np.empty_like(image)
    height, width, channels = image.shape
    at_once = channels if height * width <= _PIXELS_AT_ONCE else 1
    for start in range(0, channels, at_once):
        part = slice(start, start + at_once)
        result[..., part] = work(np.ascontiguousarray(image[..., part].transpose(2, 0, 1))).transpose(1, 2, 0)
    return result


def mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Indices brought into 0..size - 1 by mirrors at both edges that do not repeat them (c b | a b c | b a)."""
    period = max(2 * (size - 1), 1)
    index = index - index // period * period
    return np.minimum(index, period - index)


def reflected(index: np.ndarray, size: int) -> np.ndarray:
    """Indices brought into 0..size - 1 by mirrors at both edges that repeat them (b a | a b c | c b)."""
    index = index - index // (2 * size) * (2 * size)
    return np.minimum(index, 2 * size - 1 - index)


def half_gaussian(offsets: Iterable[int], deviation: float) -> np.ndarray:
    """exp(-offset^2 / (2 deviation^2)), float64, the same on every processor.

    numpy's own exp differs in the last bit between processors with and without AVX-512. In a flat picture, where a value may lie
    just at a whole level before it is cut off, that moves up to 6 % of the bytes.
    """
    factor = -0.5 / deviation**2
    return np.array([math.exp(factor * offset**2) for offset in offsets])
