"""A network that builds in a second: seven narrow blocks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from efficientnet.variants import ModelConfig

NUM_CLASSES = 5
TINY = ModelConfig(
    "efficientnet-b0", NUM_CLASSES, small_image_model=True, width_coefficient=0.25, depth_coefficient=0.1
)


def tiny(**overrides: Any) -> ModelConfig:
    """The tiny network's config with overrides."""
    return dataclasses.replace(TINY, **overrides)


def images(count: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """Random images, float32 [count, size, size, 3] in 0..255."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)).astype(np.float32)
