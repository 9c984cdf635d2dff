"""Textures of frost, drawn by this project."""

from __future__ import annotations

import functools
import math

import numpy as np
from PIL import Image, ImageDraw

TEXTURES = 5
_SIDE = 600  # pixels of a texture at scale 1


@functools.lru_cache(maxsize=2 * TEXTURES)
def texture(number: int, scale: float) -> np.ndarray:
    """A texture of frost on a window, uint8 [600 scale, 600 scale, 3].

    ImageNet-C uses photographs, which are not ours to ship. These are drawn: ice grown in ridges at several sizes, and ferns
    that branch from the edges. They are the same in every run: each has its own fixed seed.

    Args:
      number: 0 to 4.
      scale: of the pattern; 1 for pictures of 224 pixels, as the photographs have it.
    """
    side = max(round(_SIDE * scale), 1)
    picture = Image.fromarray(_texture(number))
    return np.asarray(picture if side == _SIDE else picture.resize((side, side), Image.Resampling.BOX))


@functools.lru_cache(maxsize=TEXTURES)
def _texture(number: int) -> np.ndarray:
    generator = np.random.default_rng([0xF2057, number])
    light = 0.2 + 0.45 * _ridges(generator) + 0.55 * _ferns(generator)
    tint = np.array([0.86, 0.94, 1.0])  # ice is bluish
    return np.clip(255 * light[..., None] * tint, 0, 255).astype(np.uint8)


def _ridges(generator: np.random.Generator) -> np.ndarray:
    """Ridged noise in 0..1: bright where smooth noise changes its sign, the finer octaves only where the coarser are bright."""
    total, share, weight = np.zeros((_SIDE, _SIDE)), np.ones((_SIDE, _SIDE)), 0.5
    for cells in (5, 11, 23, 47, 97):
        grid = Image.fromarray(generator.standard_normal((cells, cells)).astype(np.float32))
        noise = np.asarray(grid.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), np.float64)
        ridge = (1 - np.minimum(np.abs(noise), 1)) ** 2
        total += weight * ridge * share
        share, weight = np.minimum(2 * ridge, 1), weight * 0.8
    return total / total.max()


def _ferns(generator: np.random.Generator) -> np.ndarray:
    """Ferns of ice in 0..1, which grow from the edges inwards."""
    canvas = Image.new("L", (2 * _SIDE, 2 * _SIDE))  # drawn twice as large, so that the lines come out smooth
    draw = ImageDraw.Draw(canvas)
    for _ in range(26):
        along, side, turn = generator.uniform(0, 2 * _SIDE), int(generator.integers(4)), generator.uniform(-0.7, 0.7)
        x, y = ((along, 0), (2 * _SIDE, along), (along, 2 * _SIDE), (0, along))[side]
        _grow(draw, generator, x, y, math.pi / 2 * (side + 1) + turn, generator.uniform(250, 800), depth=3)
    return np.asarray(canvas.resize((_SIDE, _SIDE), Image.Resampling.BOX)) / 255.0


def _grow(
    draw: ImageDraw.ImageDraw,
    generator: np.random.Generator,
    x: float,
    y: float,
    angle: float,
    length: float,
    depth: int,
) -> None:
    """Draws a stem that bends a little, with branches to both sides at 60 degrees that shorten towards its tip."""
    steps = max(int(length / 24), 2)
    for step in range(steps):
        angle += generator.normal(0, 0.06)
        end = x + length / steps * math.cos(angle), y + length / steps * math.sin(angle)
        draw.line((x, y, *end), fill=int(generator.uniform(120, 256)), width=depth + 1)
        x, y = end
        if depth > 1:
            for turn in (-math.pi / 3, math.pi / 3):
                branch = length * 0.35 * (1 - step / steps) * generator.uniform(0.6, 1.2)
                _grow(draw, generator, x, y, angle + turn, branch, depth - 1)
