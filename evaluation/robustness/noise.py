"""Noise: Gaussian, shot, impulse and speckle (Hendrycks and Dietterich, ICLR 2019).

Every function takes a picture, uint8 [H, W, 3], then its random draws, then its constants, and returns a picture like it. The
`draw_` functions make the draws, as a tuple.
"""

from __future__ import annotations

import functools

import numpy as np
import scipy.special

from evaluation.robustness.pixels import as_bytes, by_strips, unit

_CELLS = 4096  # of the first 12 bits
_UNSURE = np.iinfo(np.uint16).max


def draw_standard_normal(generator: np.random.Generator, image: np.ndarray, *_: float) -> tuple[np.ndarray]:
    """Standard normal values, float32 [H, W, 3]."""
    return (generator.standard_normal(image.shape, dtype=np.float32),)


def gaussian_noise(image: np.ndarray, standard_normal: np.ndarray, deviation: float) -> np.ndarray:
    """Adds normal values with this standard deviation (1: black to white) to each value."""

    def work(rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
        noisy = np.multiply(draws, deviation, dtype=np.float64)
        noisy += unit(rows)
        return as_bytes(noisy)

    return by_strips(work, image, standard_normal)


def speckle_noise(image: np.ndarray, standard_normal: np.ndarray, deviation: float) -> np.ndarray:
    """Adds normal values in proportion to each value."""

    def work(rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
        clean = unit(rows)
        noisy = np.multiply(draws, deviation, dtype=np.float64)
        noisy *= clean
        noisy += clean
        return as_bytes(noisy)

    return by_strips(work, image, standard_normal)


def draw_counts(generator: np.random.Generator, image: np.ndarray, photons: float) -> tuple[np.ndarray]:
    """Poisson counts of which each value expects `photons` times itself, uint16 [H, W, 3].

    By inversion with tables, since a picture has only 256 levels: a quarter of the time of numpy's Poisson numbers. Of a draw's
    32 bits the first 12 settle the count of nearly all pixels. The others are looked up among the cumulative probabilities.
    """
    guide, cumulative = _poisson_tables(float(photons))
    bits = generator.integers(0, 2**32, image.shape, dtype=np.uint32)
    counts = guide.take(image.astype(np.int64) * _CELLS + bits // (2**32 // _CELLS))
    unsure = np.flatnonzero(counts == _UNSURE)
    levels = image.reshape(-1)[unsure].astype(np.int64)
    below = np.searchsorted(cumulative.reshape(-1), 2 * levels + bits.reshape(-1)[unsure] / 2**32, side="right")
    counts.reshape(-1)[unsure] = below - levels * cumulative.shape[1]
    return (counts,)


@functools.lru_cache(maxsize=16)
def _poisson_tables(photons: float) -> tuple[np.ndarray, np.ndarray]:
    """For each level: the count by the first bits, uint16 [256, 4096]; cumulative probabilities + 2 level, float64 [256, K]."""
    counts = np.arange(int(photons + 12 * photons**0.5 + 20))
    cumulative = scipy.special.pdtr(counts, np.arange(256)[:, None] / 255 * photons)
    edges = np.arange(_CELLS + 1) / _CELLS
    guide = np.empty((256, _CELLS), np.uint16)
    for level, row in enumerate(cumulative):
        first, last = np.searchsorted(row, edges[:-1], side="right"), np.searchsorted(row, edges[1:], side="left")
        guide[level] = np.where(first == last, first, _UNSURE)
    return guide, cumulative + 2 * np.arange(256)[:, None]


def shot_noise(image: np.ndarray, counts: np.ndarray, photons: float) -> np.ndarray:
    """The counts as light: so many photons are white. The picture itself is in the counts alone."""
    del image
    values = as_bytes(np.arange(int(counts.max()) + 1) / float(photons))
    return values[counts]


def draw_impulses(generator: np.random.Generator, image: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Which values are replaced, and which of these become white: bool [H, W, 3] each."""
    uniform = generator.random(image.shape, dtype=np.float32)
    return uniform < share, uniform < share / 2


def impulse_noise(image: np.ndarray, flipped: np.ndarray, salted: np.ndarray, share: float) -> np.ndarray:
    """Replaces single values, each channel for itself, by 0 or 255. The share is in the draws alone."""
    del share
    return np.where(flipped, np.where(salted, np.uint8(255), np.uint8(0)), image)
