"""RGB to hue, saturation and value, and back, in float64: the bytes of the usual sextant formulas."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evaluation.robustness.pixels import as_bytes

# Which of a pixel's largest (0), middle (1) and smallest (2) value goes where, by sextant of the hue: rows red, green, blue.
_PLACES = np.array([[0, 1, 2, 2, 1, 0], [1, 0, 0, 1, 2, 2], [2, 2, 1, 0, 0, 1]])


class Colours(NamedTuple):
    """A picture's colours, each array [H, W]."""

    sextant: np.ndarray  # int, 0 to 5: 6 times the hue, cut off
    fraction: np.ndarray  # float64, what was cut off
    saturation: np.ndarray  # float64
    value: np.ndarray  # float64


def from_rgb(image: np.ndarray) -> Colours:
    """The colours of a picture, uint8 [H, W, 3]. Grey has the hue 0."""
    red, green, blue = image.transpose(2, 0, 1) / 255.0
    value = np.maximum(np.maximum(red, green), blue)
    delta = value - np.minimum(np.minimum(red, green), blue)
    hue = np.where(green == value, blue - red, green - blue)
    is_blue = blue == value
    np.copyto(hue, red - green, where=is_blue)
    divisor = np.where(delta == 0, 1.0, delta)
    hue /= divisor
    hue += np.where(is_blue, 4.0, np.where(green == value, 2.0, 0.0))
    hue[delta == 0] = 0
    hue = (hue / 6) % 1.0 * 6
    sextant = np.floor(hue)
    saturation = delta / np.where(value == 0, 1.0, value)
    return Colours(sextant.astype(np.intp) % 6, hue - sextant, saturation, value)


def to_rgb(colours: Colours, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A picture, uint8 [H, W, 3], of the same hues with other saturations and values, float64 [H, W] in 0..1."""
    odd = colours.sextant % 2 == 1
    middle = value * (1 - np.where(odd, colours.fraction, 1 - colours.fraction) * saturation)
    sorted_values = as_bytes(np.stack([value, middle, value * (1 - saturation)])).reshape(-1)
    pixel = np.arange(value.size)
    channels = [sorted_values[places[colours.sextant.ravel()] * value.size + pixel] for places in _PLACES]
    return np.stack(channels, axis=-1).reshape(*value.shape, 3)
