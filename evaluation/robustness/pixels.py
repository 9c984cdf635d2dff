"""Pixels as bytes and as floats in 0..1."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np


def unit(image: np.ndarray) -> np.ndarray:
    """uint8 -> float64 in 0..1."""
    return image / 255.0


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Floats in 0..1 -> uint8: clipped, then cut off, not rounded, as the authors' casts do. Overwrites the values."""
    np.clip(values, 0, 1, out=values)
    values *= 255
    return values.astype(np.uint8)


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
