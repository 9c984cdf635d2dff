"""Pictures that the tests corrupt."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
from hypothesis import strategies as st


def smooth(side: int, seed: int = 0) -> np.ndarray:
    """A picture with large and small structures, uint8 [side, side, 3]."""
    generator = np.random.default_rng([seed, side])
    layers = [
        scipy.ndimage.gaussian_filter(generator.random((side, side, 3)), (s, s, 0)) for s in (side / 8, side / 30)
    ]
    scaled = sum((layer - layer.min()) / np.ptp(layer) for layer in layers) / 2
    return (scaled * 255).astype(np.uint8)


def any_pictures(sides: st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray]:
    """Noise, or few colours so that channels tie and patches are flat: uint8 [S, S, 3]."""

    def picture(side: int, seed: int, levels: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        return (generator.integers(0, levels, (side, side, 3)) * (255 // (levels - 1))).astype(np.uint8)

    return st.builds(picture, sides, st.integers(0, 2**32), st.sampled_from([2, 3, 4, 18, 256]))
