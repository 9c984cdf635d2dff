"""The constants of the corruptions, severities 1 to 5, for pictures of 32, 64, 224 and 299 pixels.

Source: the authors of ImageNet-C (Hendrycks and Dietterich, ICLR 2019), who published a table for each of their sets:
CIFAR-10-C (32), Tiny-ImageNet-C (64), ImageNet-C (224) and its larger version (299).

Other sides take a table near theirs, see `table_of`. No table was published for pictures below 32 pixels (16, say): they take
that of 32 as it stands, its lengths in pixels too, so blur and offsets weigh more in proportion. Halved lengths would leave
nothing of some blurs: a disk of radius .75 is one pixel. Above 299 pixels every length is multiplied by side / 299.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Union

SEVERITIES = (1, 2, 3, 4, 5)

Row = tuple[Union[int, float], ...]  # the constants of one severity
_Tables = dict[int, tuple[Row, ...]]


def _single(*values: float) -> tuple[Row, ...]:
    return tuple((value,) for value in values)


_GAUSSIAN_NOISE: _Tables = {  # standard deviation
    32: _single(0.04, 0.06, 0.08, 0.09, 0.10),
    64: _single(0.04, 0.08, 0.12, 0.15, 0.18),
    224: _single(0.08, 0.12, 0.18, 0.26, 0.38),
    299: _single(0.09, 0.13, 0.19, 0.27, 0.40),
}

_SHOT_NOISE: _Tables = {  # photons of a white value
    32: _single(500, 250, 100, 75, 50),
    64: _single(250, 100, 50, 30, 15),
    224: _single(60, 25, 12, 5, 3),
    299: _single(50, 20, 10, 5, 3),
}

_IMPULSE_NOISE: _Tables = {  # share of the values
    32: _single(0.01, 0.02, 0.03, 0.05, 0.07),
    64: _single(0.01, 0.02, 0.05, 0.08, 0.14),
    224: _single(0.03, 0.06, 0.09, 0.17, 0.27),
    299: _single(0.04, 0.07, 0.10, 0.18, 0.28),
}

_SPECKLE_NOISE: _Tables = {  # standard deviation
    32: _single(0.06, 0.10, 0.12, 0.16, 0.20),
    64: _single(0.15, 0.20, 0.25, 0.30, 0.35),
    224: _single(0.15, 0.20, 0.35, 0.45, 0.60),
    299: _single(0.16, 0.21, 0.36, 0.46, 0.61),
}

_DEFOCUS_BLUR: _Tables = {  # radius of the disk, standard deviation of what smooths its edge
    32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    299: ((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
}

_GLASS_BLUR: _Tables = {  # standard deviation, largest offset, passes
    32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    299: ((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
}

_MOTION_BLUR: _Tables = {  # radius, standard deviation
    32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    299: ((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
}

_FEW_ZOOMS = ((1.11, 0.01), (1.15, 0.01), (1.20, 0.02), (1.24, 0.02), (1.30, 0.03))
_MANY_ZOOMS = ((1.06, 0.01), (1.11, 0.01), (1.15, 0.01), (1.20, 0.01), (1.25, 0.01))
_ZOOM_BLUR: _Tables = {32: _MANY_ZOOMS, 64: _MANY_ZOOMS, 224: _FEW_ZOOMS, 299: _FEW_ZOOMS}  # largest factor, step

_GAUSSIAN_BLUR: _Tables = {  # standard deviation
    32: _single(0.4, 0.6, 0.7, 0.8, 1),
    64: _single(0.5, 0.75, 1, 1.25, 1.5),
    224: _single(1, 2, 3, 4, 6),
    299: _single(1.5, 2.5, 3.5, 4.5, 6.5),
}

_LARGE_SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
_SNOW: _Tables = {  # layer: mean, standard deviation, zoom, threshold; its motion blur: radius, deviation; share of the picture
    32: (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    64: (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    224: _LARGE_SNOW,
    299: _LARGE_SNOW,
}

_LARGE_FROST = ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1))
_FROST: _Tables = {  # weight of the picture, weight of the texture, scale of the texture
    32: ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    64: ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
    224: _LARGE_FROST,
    299: _LARGE_FROST,
}

_FOG: _Tables = {  # thickness, decay of the roughness from level to level
    32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    299: ((1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
}

_LARGE_BRIGHTNESS = _single(0.1, 0.2, 0.3, 0.4, 0.5)
_BRIGHTNESS: _Tables = {  # what is added to the HSV value
    32: _single(0.05, 0.1, 0.15, 0.2, 0.3),
    64: _LARGE_BRIGHTNESS,
    224: _LARGE_BRIGHTNESS,
    299: _LARGE_BRIGHTNESS,
}

_LARGE_CONTRAST = _single(0.4, 0.3, 0.2, 0.1, 0.05)
_CONTRAST: _Tables = {  # what is left of the contrast
    32: _single(0.75, 0.5, 0.4, 0.3, 0.15),
    64: _LARGE_CONTRAST,
    224: _LARGE_CONTRAST,
    299: _LARGE_CONTRAST,
}

_LARGE_ELASTIC = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
_ELASTIC_TRANSFORM: _Tables = {  # displacement, standard deviation of what smooths it, shift of the corners
    32: ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    64: ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
    224: _LARGE_ELASTIC,
    299: _LARGE_ELASTIC,
}
# One unit of the elastic constants in pixels. 244 pixels for a picture of 224 is what the authors have.
_ELASTIC_UNIT = {32: 32, 64: 64, 224: 244, 299: 360}

_PIXELATE: _Tables = {  # share of the side that is left
    32: _single(0.95, 0.9, 0.85, 0.75, 0.65),
    64: _single(0.9, 0.8, 0.7, 0.6, 0.5),
    224: _single(0.6, 0.5, 0.4, 0.3, 0.25),
    299: _single(0.5, 0.4, 0.3, 0.25, 0.2),
}

_JPEG_COMPRESSION: _Tables = {  # quality
    32: _single(80, 65, 58, 50, 40),
    64: _single(65, 58, 50, 40, 25),
    224: _single(25, 18, 15, 10, 7),
    299: _single(23, 16, 13, 8, 5),
}

_LARGE_SATURATE = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))
_SATURATE: _Tables = {  # factor of the HSV saturation, what is added to it
    32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    64: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    224: _LARGE_SATURATE,
    299: _LARGE_SATURATE,
}

TABLES: Mapping[str, _Tables] = {
    "gaussian_noise": _GAUSSIAN_NOISE,
    "shot_noise": _SHOT_NOISE,
    "impulse_noise": _IMPULSE_NOISE,
    "defocus_blur": _DEFOCUS_BLUR,
    "glass_blur": _GLASS_BLUR,
    "motion_blur": _MOTION_BLUR,
    "zoom_blur": _ZOOM_BLUR,
    "snow": _SNOW,
    "frost": _FROST,
    "fog": _FOG,
    "brightness": _BRIGHTNESS,
    "contrast": _CONTRAST,
    "elastic_transform": _ELASTIC_TRANSFORM,
    "pixelate": _PIXELATE,
    "jpeg_compression": _JPEG_COMPRESSION,
    "speckle_noise": _SPECKLE_NOISE,
    "gaussian_blur": _GAUSSIAN_BLUR,
    "saturate": _SATURATE,
}

# Which constants are lengths in pixels.
_LENGTHS: Mapping[str, tuple[int, ...]] = {
    "defocus_blur": (0, 1),
    "glass_blur": (0, 1),
    "motion_blur": (0, 1),
    "gaussian_blur": (0,),
    "snow": (2, 4, 5),
    "frost": (2,),
}
LARGEST_TABLE = 299


def table_of(side: int) -> int:
    """The table for pictures of so many pixels: 32 up to a side of 48, 64 up to 128, 224 up to 260, 299 above."""
    return next((table for table, largest in ((32, 48), (64, 128), (224, 260)) if side <= largest), LARGEST_TABLE)


@functools.cache
def constants_of(name: str, severity: int, side: int) -> Row:
    """A corruption's constants, lengths in pixels, for a square picture.

    Args:
      name: a corruption, a key of `TABLES`.
      severity: 1 to 5.
      side: of the picture, in pixels.
    """
    table = table_of(side)
    row: list[Any] = list(TABLES[name][table][severity - 1])
    if name == "elastic_transform":
        return tuple(constant * _ELASTIC_UNIT[table] * side / table for constant in row)
    if side > LARGEST_TABLE:
        for index in _LENGTHS.get(name, ()):
            row[index] *= side / LARGEST_TABLE
    if name == "glass_blur":  # offsets are whole pixels
        row[1] = round(row[1])
    return tuple(row)
