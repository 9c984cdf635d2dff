"""Digital corruptions: contrast, elastic transform, pixelate, JPEG; and saturate (Hendrycks and Dietterich, ICLR 2019).

Every function takes a picture, uint8 [H, W, 3], then its random draws, then its constants, and returns a picture like it. The
`draw_` functions make the draws, as a tuple.
"""

from __future__ import annotations

import functools
import io

import numpy as np
import scipy.fft
from PIL import Image

from evaluation.robustness import hsv
from evaluation.robustness.blur import gaussian_taps
from evaluation.robustness.pixels import as_bytes, by_planes, reflected, unit
from evaluation.robustness.warping import affine_points, points_at, sample


def contrast(image: np.ndarray, share: float) -> np.ndarray:
    """Leaves this share of each value's distance from its channel's mean."""
    means = unit(image).mean(axis=(0, 1))[:, None]
    tables = as_bytes((np.arange(256) / 255.0 - means) * share + means)  # of each channel's 256 levels
    changed = np.empty_like(image)
    for channel, table in enumerate(tables):
        changed[..., channel] = table.take(image[..., channel])
    return changed


def pixelate(image: np.ndarray, share: float) -> np.ndarray:
    """Shrinks the picture to this share of its sides, and enlarges it again, both by boxes."""
    height, width, _ = image.shape
    small = Image.fromarray(image).resize((int(width * share), int(height * share)), Image.Resampling.BOX)
    return np.array(small.resize((width, height), Image.Resampling.NEAREST))


def jpeg_compression(image: np.ndarray, quality: int) -> np.ndarray:
    """What is left after JPEG of this quality."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def saturate(image: np.ndarray, factor: float, added: float) -> np.ndarray:
    """Multiplies the saturation of HSV and adds to it, within 0..1."""
    colours = hsv.from_rgb(image)
    return hsv.to_rgb(colours, np.clip(colours.saturation * factor + added, 0, 1), colours.value)


# --- elastic transform ----------------------------------------------------------------------------------------------


def draw_elastic(
    generator: np.random.Generator, image: np.ndarray, displacement: float, deviation: float, shift: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shifts of three points, (x, y) in pixels, float32 [3, 2]; shifts of columns and rows before they are smoothed and
    scaled, float32 [H, W] in -1..1 each.
    """
    affine = generator.uniform(-shift, shift, (3, 2)).astype(np.float32)
    return (affine, *(generator.random((2, *image.shape[:2]), dtype=np.float32) * 2 - 1))


def elastic_transform(
    image: np.ndarray,
    affine: np.ndarray,
    dx: np.ndarray,
    dy: np.ndarray,
    displacement: float,
    deviation: float,
    shift: float,
) -> np.ndarray:
    """A random affine map, then a smooth random displacement; both bilinear.

    Args:
      image: uint8 [H, W, 3].
      affine: float32 [3, 2], shifts of the three points, (x, y), in pixels.
      dx: float32 [H, W] in -1..1, smoothed and multiplied by the displacement: the shift of each pixel's column.
      dy: the same for its row.
      displacement: in pixels.
      deviation: standard deviation of what smooths the field, cut off at 3 of them.
      shift: the largest in `affine`, which holds it already.
    """
    del shift
    height, width, _ = image.shape
    mapped = affine_points(affine_matrix(affine, height, width), height, width)
    down, right = displacement * _smooth(np.stack([dy, dx]), deviation)
    moved = points_at(np.arange(height)[:, None] + down, np.arange(width) + right, height, width, reflected)
    return by_planes(lambda planes: as_bytes(sample(sample(planes / np.float32(255), mapped), moved)), image)


def fixed_points(height: int, width: int) -> np.ndarray:
    """The three points that the affine map moves, (x, y), float32 [3, 2]."""
    centre, reach = np.array([width // 2, height // 2], np.float32), np.float32(min(height, width) // 3)
    return np.stack([centre + reach, centre + reach * np.array([1, -1], np.float32), centre - reach])


def affine_matrix(shifts: np.ndarray, height: int, width: int) -> np.ndarray:
    """The affine map that takes the three points to where they are shifted, float64 [2, 3] on (x, y, 1)."""
    points = fixed_points(height, width)
    moved = (points + shifts).astype(np.float64)
    return np.linalg.solve(np.column_stack([points.astype(np.float64), np.ones(3)]), moved).T


def _smooth(fields: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian blur of this standard deviation, cut off at 3 of them, the edges mirrored: float [N, H, W] -> float64.

    Mirrors that repeat the edge are what makes a blur a product in the cosine domain, however far it reaches.
    """
    spectrum = scipy.fft.dctn(fields.astype(np.float64), axes=(1, 2))
    spectrum *= _blur_spectrum(fields.shape[1], deviation)[:, None]
    spectrum *= _blur_spectrum(fields.shape[2], deviation)
    return scipy.fft.idctn(spectrum, axes=(1, 2))


@functools.lru_cache(maxsize=16)
def _blur_spectrum(size: int, deviation: float) -> np.ndarray:
    reach = int(3 * deviation + 0.5)
    angles = np.pi / size * (np.arange(size)[:, None] * np.arange(-reach, reach + 1) % (2 * size))
    return np.cos(angles) @ gaussian_taps(deviation, reach)
