"""Noise: Gaussian, shot, impulse and speckle (Hendrycks and Dietterich, ICLR 2019).

Every function takes a picture, uint8 [H, W, 3], then its random draws, then its constants, and returns a picture like it. The
`draw_` functions make the draws, as a tuple.
"""

from __future__ import annotations

import numpy as np

from evaluation.robustness.pixels import as_bytes, unit


def draw_standard_normal(generator: np.random.Generator, image: np.ndarray, *_: float) -> tuple[np.ndarray]:
    """Standard normal values, float32 [H, W, 3]."""
    return (generator.standard_normal(image.shape, dtype=np.float32),)


def gaussian_noise(image: np.ndarray, standard_normal: np.ndarray, deviation: float) -> np.ndarray:
    """Adds normal values with this standard deviation (1: black to white) to each value."""
    noisy = np.multiply(standard_normal, deviation, dtype=np.float64)
    noisy += unit(image)
    return as_bytes(noisy)


def speckle_noise(image: np.ndarray, standard_normal: np.ndarray, deviation: float) -> np.ndarray:
    """Adds normal values in proportion to each value."""
    clean = unit(image)
    noisy = np.multiply(standard_normal, deviation, dtype=np.float64)
    noisy *= clean
    noisy += clean
    return as_bytes(noisy)


def draw_counts(generator: np.random.Generator, image: np.ndarray, photons: float) -> tuple[np.ndarray]:
    """Poisson counts of which each value expects `photons` times itself, int64 [H, W, 3]."""
    return (generator.poisson(unit(image) * photons),)


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
