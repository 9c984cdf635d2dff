"""Weather: snow, frost, fog and brightness (Hendrycks and Dietterich, ICLR 2019).

Every function takes a picture, uint8 [S, S, 3], then its random draws, then its constants, and returns a picture like it. The
`draw_` functions make the draws, as a tuple.
"""

from __future__ import annotations

import numpy as np

from evaluation.robustness import hsv
from evaluation.robustness.blur import motion_blur, zooms
from evaluation.robustness.frost import TEXTURES, texture
from evaluation.robustness.pixels import as_bytes, by_strips, unit

# --- snow -----------------------------------------------------------------------------------------------------------


def draw_snow(generator: np.random.Generator, image: np.ndarray, *_: float) -> tuple[np.ndarray, float]:
    """Standard normal values, float32 [S, S], and the direction of the wind, uniform in -135..-45 degrees."""
    return generator.standard_normal(image.shape[:2], dtype=np.float32), generator.uniform(-135, -45)


def snow(
    image: np.ndarray,
    standard_normal: np.ndarray,
    angle: float,
    mean: float,
    deviation: float,
    factor: float,
    threshold: float,
    radius: float,
    blur_deviation: float,
    share: float,
) -> np.ndarray:
    """Whitens the picture (`share` stays), adds a layer of flakes in motion, and adds the layer turned by 180 degrees."""
    flakes = snow_layer(standard_normal, mean, deviation, factor, threshold)
    return with_snow(image, motion_blur(flakes, angle, radius, blur_deviation), share)


def snow_layer(
    standard_normal: np.ndarray, mean: float, deviation: float, factor: float, threshold: float
) -> np.ndarray:
    """Flakes at rest, uint8 [S, S]: normal values, enlarged, and those below the threshold made black."""
    layer = np.multiply(standard_normal, deviation, dtype=np.float64)
    layer += mean
    layer = zooms(layer[None], (factor,))[0, :, 0].T
    layer[layer < threshold] = 0
    return as_bytes(layer)


def with_snow(image: np.ndarray, layer: np.ndarray, share: float) -> np.ndarray:
    """The whitened picture with a layer of flakes, uint8 [S, S], and the layer turned by 180 degrees; blended in float32."""
    flakes = unit(layer)
    flakes += flakes[::-1, ::-1].copy()
    weights = np.array([0.299, 0.587, 0.114], np.float32)

    def work(rows: np.ndarray, falling: np.ndarray) -> np.ndarray:
        clean = rows / np.float32(255)
        red, green, blue = (clean[..., channel] * weights[channel] for channel in range(3))
        grey = red + green + blue
        white = np.maximum(clean, (grey * np.float32(1.5) + np.float32(0.5))[..., None])
        snowy = np.float32(share) * clean + np.float32(1 - share) * white
        return as_bytes(snowy + falling[..., None])

    return by_strips(work, image, flakes)


# --- frost ----------------------------------------------------------------------------------------------------------


def draw_frost(
    generator: np.random.Generator, image: np.ndarray, weight: float, frost_weight: float, scale: float
) -> tuple[int, int, int]:
    """Number of the texture, and the top and left of what is cut out of it."""
    number = int(generator.integers(TEXTURES))
    rows, columns = (have - need for have, need in zip(texture(number, scale).shape, image.shape[:2]))
    return number, int(generator.integers(rows + 1)), int(generator.integers(columns + 1))


def frost(
    image: np.ndarray,
    number: int,
    top: int,
    left: int,
    weight: float,
    frost_weight: float,
    scale: float,
) -> np.ndarray:
    """Adds a piece of a texture of frost to the picture, each with its weight.

    The textures are this project's own (`frost.texture`), not the photographs of ImageNet-C, so results differ from theirs.
    """
    height, width, _ = image.shape
    piece = texture(number, scale)[top : top + height, left : left + width]
    frosted = np.multiply(image, weight, dtype=np.float64)
    frosted += np.multiply(piece, frost_weight, dtype=np.float64)
    return np.clip(frosted, 0, 255, out=frosted).astype(np.uint8)


# --- fog ------------------------------------------------------------------------------------------------------------


def draw_fog(generator: np.random.Generator, image: np.ndarray, thickness: float, decay: float) -> tuple[np.ndarray]:
    """What moves each point of the height map, float64 [M * M - 1], M = `fog_size`: uniform in -w..w, w falling by `decay`.

    Level by level, in each the centres, then the edges on top, then those on the left.
    """
    size, roughness, levels = fog_size(max(image.shape[:2])), 100.0, []
    while size > 1:
        points = 3 * (fog_size(max(image.shape[:2])) // size) ** 2
        levels.append(generator.uniform(-roughness, roughness, points))
        size, roughness = size // 2, roughness / decay
    return (np.concatenate(levels),)


def fog(image: np.ndarray, uniform: np.ndarray, thickness: float, decay: float) -> np.ndarray:
    """Adds a height map times `thickness`, and scales the sum so that the brightest value could stay what it was."""
    height, width, _ = image.shape
    largest = image.max() / 255.0
    heights = thickness * plasma(uniform, decay, fog_size(max(height, width)))[:height, :width, None]

    def work(rows: np.ndarray, over: np.ndarray) -> np.ndarray:
        foggy = unit(rows)
        foggy += over
        foggy *= largest
        foggy /= largest + thickness
        return as_bytes(foggy)

    return by_strips(work, image, heights)


def fog_size(side: int) -> int:
    """The side of the height map: the power of two that holds the picture."""
    return 1 << (side - 1).bit_length()


def plasma(uniform: np.ndarray, decay: float, size: int) -> np.ndarray:
    """A height map in 0..1 by the diamond-square algorithm on a torus, float64 [size, size].

    Each new point is the mean of four neighbours plus the current roughness (100, divided by `decay` from level to level)
    times its draw. The draws themselves shrink with the roughness too, as the authors' do.
    """
    draws, heights = uniform.astype(np.float64), np.zeros((size, size))
    roughness, step, position = 100.0, size, 0
    while step > 1:
        half, number = step // 2, (size // step) ** 2
        centres, tops, lefts = (
            roughness * draws[position + part * number :][:number].reshape(size // step, size // step)
            for part in range(3)
        )
        corners = heights[::step, ::step]
        below, right = _moved(corners, 1, axis=0), _moved(corners, 1, axis=1)
        centres += (corners + below + (right + _moved(below, 1, axis=1))) / 4
        tops += (centres + _moved(centres, -1, axis=0) + corners + right) / 4
        lefts += (centres + _moved(centres, -1, axis=1) + corners + below) / 4
        heights[half::step, half::step] = centres
        heights[::step, half::step] = tops
        heights[half::step, ::step] = lefts
        position, step, roughness = position + 3 * number, half, roughness / decay
    heights -= heights.min()
    return heights / heights.max()


def _moved(points: np.ndarray, by: int, axis: int) -> np.ndarray:
    """Each point's neighbour so many further along the axis, on a torus."""
    return points.take(np.arange(by, by + points.shape[axis]), axis=axis, mode="wrap")


# --- brightness -----------------------------------------------------------------------------------------------------


def brightness(image: np.ndarray, added: float) -> np.ndarray:
    """Adds to the value of HSV, which stays within 0..1."""
    colours = hsv.from_rgb(image)
    return hsv.to_rgb(colours, colours.saturation, np.clip(colours.value + added, 0, 1))
