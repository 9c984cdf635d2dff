"""The perturbations of ImageNet-P on anyone's pictures: each turns a picture into a sequence that changes little by little.

Source: Hendrycks and Dietterich, ICLR 2019, and their code, whose arithmetic these functions follow to the byte where that is
known. The mp4 in which ImageNet-P is stored is not part of a perturbation. The tables are those for CIFAR-10-P (32 pixels),
Tiny-ImageNet-P (64), ImageNet-P (224) and its larger version (299); other sides take the one that `constants.table_of` says, with
its lengths in pixels as they stand. At 64 the authors blur pictures of any size and then shrink them; here the picture
is blurred at its size, with their radius.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Callable, Optional

import numpy as np
from PIL import Image

from evaluation.robustness import hsv, noise, weather
from evaluation.robustness.blur import motion_blur
from evaluation.robustness.constants import table_of
from evaluation.robustness.corruptions import SMALLEST_SIDE, check_picture
from evaluation.robustness.warping import warp_perspective

DIFFICULTIES = (1, 2, 3)

# By table. Noise: by difficulty.
_GAUSSIAN_DEVIATION = {
    32: (0.02, 0.04, 0.06),
    64: (0.025, 0.05, 0.075),
    224: (0.03, 0.05, 0.08),
    299: (0.035, 0.055, 0.085),
}
_SHOT_PHOTONS = {32: (700, 400, 200), 64: (500, 250, 125), 224: (300, 120, 60), 299: (250, 100, 50)}
_MOTION = {32: (6, 1.8), 64: (14, 3), 224: (10, 3), 299: (13, 3)}  # radius, standard deviation
_MOTION_ANGLES = {
    32: range(-180, 1, 9),
    64: range(-150, 1, 5),
    224: range(-120, 1, 4),
    299: range(-120, 1, 4),
}  # degrees
_SNOW_LAYER = {  # mean, standard deviation, zoom, threshold
    32: (0.05, 0.3, 2, 0.5),
    64: (0.05, 0.28, 2, 0.5),
    224: (0.05, 0.3, 3, 0.5),
    299: (0.05, 0.3, 3, 0.5),
}
_SNOW_MOTION = {32: (10, 2), 64: (10, 2.5), 224: (14, 4), 299: (14, 4)}  # radius, standard deviation
_SNOW_ANGLES = range(-150, -29, 4)  # degrees
_SNOW_SHARE = 0.85
_BRIGHTNESS_PERCENT = {32: 1.5, 64: 2, 224: 2, 299: 2}  # of white, from frame to frame
_SHIFTS = {32: range(-7, 9), 64: range(-15, 16), 224: range(-20, 21), 299: range(-20, 21)}  # columns
_TILT_STEP = {32: 0.75, 64: 1, 224: 1, 299: 1}  # degrees
_SCALE_PERCENT = {32: (70, 2), 64: (40, 2.5), 224: (40, 2.5), 299: (40, 2.5)}  # of the first frame, from frame to frame
_ZOOM_STEP = 0.004
_FRAMES = 31
_AROUND_ZERO = range(-15, 16)


# --- frames ---------------------------------------------------------------------------------------------------------
# Each takes a picture, uint8 [H, W, 3], the side of what is cut out of its middle, its table, and its draws if it has any. It
# returns the frames, uint8 [F, size, size, 3].


def gaussian_noise(
    image: np.ndarray, size: int, table: int, difficulty: int, standard_normal: np.ndarray
) -> np.ndarray:
    """The clean picture, then new noise in every frame. Draws: float32 [30, size, size, 3]."""
    clean, deviation = center_crop(image, size), _GAUSSIAN_DEVIATION[table][difficulty - 1]
    return np.stack([clean, *(noise.gaussian_noise(clean, draw, deviation) for draw in standard_normal)])


def shot_noise(image: np.ndarray, size: int, table: int, difficulty: int, counts: np.ndarray) -> np.ndarray:
    """The clean picture, then new photons in every frame. Draws: int [30, size, size, 3]."""
    clean, photons = center_crop(image, size), _SHOT_PHOTONS[table][difficulty - 1]
    return np.stack([clean, *(noise.shot_noise(clean, draw, photons) for draw in counts)])


def motion_blur_frames(image: np.ndarray, size: int, table: int) -> np.ndarray:
    """Motion blur whose direction turns."""
    clean = center_crop(image, size)
    return np.stack([motion_blur(clean, angle, *_MOTION[table]) for angle in _MOTION_ANGLES[table]])


def zoom_blur(image: np.ndarray, size: int, table: int) -> np.ndarray:
    """The mean of more and more zooms into the middle; float32, as the authors have it."""
    del table
    total = center_crop(image, size) / np.float32(255)
    frames = [center_crop(image, size)]
    for number in range(1, _FRAMES):
        total += center_crop(_affine(image, scale=1 + _ZOOM_STEP * number), size) / np.float32(255)
        frames.append((total / np.float32(number + 1) * np.float32(255)).astype(np.uint8))
    return np.stack(frames)


def snow(image: np.ndarray, size: int, table: int, standard_normal: np.ndarray) -> np.ndarray:
    """One layer of flakes that the wind drives in a direction that turns. Draws: float32 [size, size]."""
    clean, flakes = center_crop(image, size), weather.snow_layer(standard_normal, *_SNOW_LAYER[table])
    layers = (motion_blur(flakes, angle, *_SNOW_MOTION[table]) for angle in _SNOW_ANGLES)
    return np.stack([weather.with_snow(clean, layer, _SNOW_SHARE) for layer in layers])


def brightness(image: np.ndarray, size: int, table: int) -> np.ndarray:
    """From dark to bright: the value of HSV."""
    colours, step = hsv.from_rgb(center_crop(image, size)), _BRIGHTNESS_PERCENT[table]
    values = (np.clip(colours.value + number * step / 100.0, 0, 1) for number in _AROUND_ZERO)
    return np.stack([hsv.to_rgb(colours, colours.saturation, value) for value in values])


def translate(image: np.ndarray, size: int, table: int) -> np.ndarray:
    """From left to right, one pixel a frame; black where nothing is left of the picture."""
    reach = max(abs(shift) for shift in _SHIFTS[table])
    framed = np.pad(image, ((0, 0), (reach, reach), (0, 0)))
    width = image.shape[1]
    return np.stack([center_crop(framed[:, reach - by : reach - by + width], size) for by in _SHIFTS[table]])


def rotate(image: np.ndarray, size: int, table: int) -> np.ndarray:
    """From -15 to 15 degrees."""
    del table
    return np.stack([center_crop(_affine(image, degrees=degrees), size) for degrees in _AROUND_ZERO])


def tilt(image: np.ndarray, size: int, table: int) -> np.ndarray:
    """Turned out of its plane about both axes at once, as a camera sees it whose focal length is the picture's diagonal."""
    height, width, _ = image.shape
    angles = (math.radians(number * _TILT_STEP[table]) for number in _AROUND_ZERO)
    return np.stack(
        [warp_perspective(image, tilt_matrix(height, width, angle), _middle(image, size)) for angle in angles]
    )


def scale(image: np.ndarray, size: int, table: int) -> np.ndarray:
    """From small to large."""
    first, step = _SCALE_PERCENT[table]
    scales = ((first + step * number) / 100.0 for number in range(_FRAMES))
    return np.stack([center_crop(_affine(image, scale=factor), size) for factor in scales])


# --- geometry -------------------------------------------------------------------------------------------------------


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """The middle of a picture, [size, size, 3]."""
    rows, columns = _middle(image, size)
    return image[rows, columns]


def _middle(image: np.ndarray, size: int) -> tuple[slice, slice]:
    top, left = (round((have - size) / 2) for have in image.shape[:2])
    return slice(top, top + size), slice(left, left + size)


def _affine(image: np.ndarray, degrees: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Turns clockwise and scales about the centre, with PIL's bilinear filter; black outside.

    The centre is half a pixel down and to the right of the middle, as torchvision had it when the sets were made.
    """
    height, width, _ = image.shape
    x, y = width / 2 + 0.5, height / 2 + 0.5
    cosine, sine = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    inverse = (cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y)
    picture = Image.fromarray(image)
    return np.asarray(picture.transform((width, height), Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR))


def tilt_matrix(height: int, width: int, angle: float) -> np.ndarray:
    """The perspective map of a picture turned by the angle (radians) about its upright and its level axis: float64 [3, 3]."""
    cosine, sine = math.cos(angle), math.sin(angle)
    focal = math.sqrt(width**2 + height**2)
    about_x = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    about_y = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    # A pixel lies at (x - w/2, y - h/2, 1) from the centre, and the plane is moved away by the focal length.
    space = about_x @ about_y @ np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    space[2, 2] += focal
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]) @ space


# --- the table ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """`frames(image, size, table, [difficulty,] [draws])`, and `draw(generator, image, size, table, difficulty)` if random."""

    frames: Callable[..., np.ndarray]
    draw: Optional[Callable[..., np.ndarray]] = None
    is_noise: bool = False


def draw_noise(generator: np.random.Generator, image: np.ndarray, size: int, table: int, difficulty: int) -> np.ndarray:
    """Standard normal values for each frame but the first, float32 [30, size, size, 3]."""
    return generator.standard_normal((_FRAMES - 1, size, size, 3), dtype=np.float32)


def draw_counts(
    generator: np.random.Generator, image: np.ndarray, size: int, table: int, difficulty: int
) -> np.ndarray:
    """Poisson counts for each frame but the first, int64 [30, size, size, 3]."""
    clean, photons = center_crop(image, size), _SHOT_PHOTONS[table][difficulty - 1]
    return np.stack([noise.draw_counts(generator, clean, photons)[0] for _ in range(_FRAMES - 1)])


def draw_flakes(
    generator: np.random.Generator, image: np.ndarray, size: int, table: int, difficulty: int
) -> np.ndarray:
    """Standard normal values of one layer of flakes, float32 [size, size]."""
    return generator.standard_normal((size, size), dtype=np.float32)


PERTURBATIONS: Mapping[str, Perturbation] = {
    "gaussian_noise": Perturbation(gaussian_noise, draw_noise, is_noise=True),
    "shot_noise": Perturbation(shot_noise, draw_counts, is_noise=True),
    "motion_blur": Perturbation(motion_blur_frames),
    "zoom_blur": Perturbation(zoom_blur),
    "snow": Perturbation(snow, draw_flakes),
    "brightness": Perturbation(brightness),
    "translate": Perturbation(translate),
    "rotate": Perturbation(rotate),
    "tilt": Perturbation(tilt),
    "scale": Perturbation(scale),
}


def perturb(
    image: np.ndarray,
    name: str,
    generator: np.random.Generator,
    size: Optional[int] = None,
    difficulty: int = 1,
) -> np.ndarray:
    """The frames of a perturbed picture.

    Args:
      image: uint8 [H, W, 3], both sides at least 8. What lies outside the middle moves in if a perturbation moves the picture;
        ImageNet-P takes pictures whose shorter side is 256 for frames of 224.
      name: one of `PERTURBATIONS`.
      generator: for the draws, see `corruptions.picture_generator`. Not used if the perturbation is not random.
      size: the side of the frames, cut out of the middle; the shorter side of the picture if not given. The table is that of
        `constants.table_of(size)`.
      difficulty: 1 to 3: how strong the noise is. The published rates are those at 1. In the other perturbations 2 and 3 mean
        frames that far apart, which is for the metric to do; the frames are the same.

    Returns:
      uint8 [F, size, size, 3]: 31 frames, but 41 of translate at 224 pixels, 21 of motion_blur and 16 of translate at 32.

    Raises:
      ValueError: another name, size, difficulty, type or shape.
    """
    if name not in PERTURBATIONS:
        raise ValueError(f"got the perturbation {name!r}, expected one of {', '.join(PERTURBATIONS)}")
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"got the difficulty {difficulty!r}, expected 1 to 3")
    check_picture(image)
    shorter = min(image.shape[:2])
    size = shorter if size is None else size
    if not SMALLEST_SIDE <= size <= shorter:
        raise ValueError(
            f"got frames of {size} pixels, expected {SMALLEST_SIDE} to {shorter}, the picture's shorter side"
        )
    perturbation, table = PERTURBATIONS[name], table_of(size)
    level = (difficulty,) if perturbation.is_noise else ()
    draws = (perturbation.draw(generator, image, size, table, difficulty),) if perturbation.draw else ()
    return perturbation.frames(image, size, table, *level, *draws)
