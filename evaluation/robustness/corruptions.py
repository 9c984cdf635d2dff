"""The corruptions of ImageNet-C on anyone's pictures: 15 in four groups, and three of the four extra ones.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019, and
their code, whose arithmetic these functions follow to the byte where that is known. What differs: frost uses textures drawn
by this project, random numbers are numpy's, and the extra corruption spatter is left out (it needs OpenCV). So results on
these pictures are no published mCE. The JPEG of quality 85 in which ImageNet-C is stored is not part of a corruption.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any, Callable, Optional

import numpy as np

from evaluation.robustness import blur, digital, noise, weather
from evaluation.robustness.constants import SEVERITIES, constants_of

SMALLEST_SIDE = 8


@dataclasses.dataclass(frozen=True)
class Corruption:
    """Its group, `apply(image, *draws, *constants)`, and `draw(generator, image, *constants)` if it is random."""

    group: str
    apply: Callable[..., np.ndarray]
    draw: Optional[Callable[..., tuple[Any, ...]]] = None


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption("noise", noise.gaussian_noise, noise.draw_standard_normal),
    "shot_noise": Corruption("noise", noise.shot_noise, noise.draw_counts),
    "impulse_noise": Corruption("noise", noise.impulse_noise, noise.draw_impulses),
    "defocus_blur": Corruption("blur", blur.defocus_blur),
    "glass_blur": Corruption("blur", blur.glass_blur, blur.draw_offsets),
    "motion_blur": Corruption("blur", blur.motion_blur, blur.draw_angle),
    "zoom_blur": Corruption("blur", blur.zoom_blur),
    "snow": Corruption("weather", weather.snow, weather.draw_snow),
    "frost": Corruption("weather", weather.frost, weather.draw_frost),
    "fog": Corruption("weather", weather.fog, weather.draw_fog),
    "brightness": Corruption("weather", weather.brightness),
    "contrast": Corruption("digital", digital.contrast),
    "elastic_transform": Corruption("digital", digital.elastic_transform, digital.draw_elastic),
    "pixelate": Corruption("digital", digital.pixelate),
    "jpeg_compression": Corruption("digital", digital.jpeg_compression),
}
# Held out by the authors for tuning: never part of the mean over the 15.
EXTRA_CORRUPTIONS: Mapping[str, Corruption] = {
    "speckle_noise": Corruption("extra", noise.speckle_noise, noise.draw_standard_normal),
    "gaussian_blur": Corruption("extra", blur.gaussian_blur),
    "saturate": Corruption("extra", digital.saturate),
}
_ALL = {**CORRUPTIONS, **EXTRA_CORRUPTIONS}


def picture_generator(seed: int, name: str, severity: int, picture: int) -> np.random.Generator:
    """The source of one corrupted picture's draws: nothing else shares it, so no order or number of workers changes them.

    A new version of numpy may make other numbers of the same seed; constraints.txt fixes the version.

    Args:
      seed: of the run, 0 to 2^64 - 1.
      name: of the corruption or perturbation.
      severity: 1 to 5; for perturbations the difficulty.
      picture: number of the picture in its set, 0 to 2^32 - 1.
    """
    words = [seed % 2**32, seed // 2**32, zlib.crc32(name.encode()), severity, picture]
    return np.random.default_rng(np.array(words, np.uint32))


def corrupt(image: np.ndarray, name: str, severity: int, generator: np.random.Generator) -> np.ndarray:
    """A corrupted picture.

    Args:
      image: uint8 [S, S, 3], as it enters the network, S at least 8. Its constants: `constants_of(name, severity, S)`.
      name: one of `CORRUPTIONS` or `EXTRA_CORRUPTIONS`.
      severity: 1 to 5.
      generator: for the draws, see `picture_generator`. Not used if the corruption is not random.

    Returns:
      uint8 [S, S, 3].

    Raises:
      ValueError: another name, severity, type or shape.
    """
    if name not in _ALL:
        raise ValueError(f"got the corruption {name!r}, expected one of {', '.join(_ALL)}")
    if severity not in SEVERITIES:
        raise ValueError(f"got the severity {severity!r}, expected 1 to 5")
    check_picture(image)
    if image.shape[0] != image.shape[1]:
        raise ValueError(
            f"got a picture of {image.shape[0]} x {image.shape[1]} pixels, expected a square: crop it first"
        )
    corruption = _ALL[name]
    constants = constants_of(name, severity, len(image))
    draws = corruption.draw(generator, image, *constants) if corruption.draw else ()
    return corruption.apply(image, *draws, *constants)


def check_picture(image: np.ndarray) -> None:
    """Raises ValueError unless this is uint8 [H, W, 3] with sides of at least 8 pixels."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < SMALLEST_SIDE:
        expected = f"uint8 [H, W, 3] with sides of at least {SMALLEST_SIDE} pixels"
        raise ValueError(f"got a picture of {image.dtype} {list(image.shape)}, expected {expected}")
