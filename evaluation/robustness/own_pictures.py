"""The task's own test pictures, as bytes, and what is made of them: corrupted pictures and perturbed sequences."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Callable, NamedTuple

import numpy as np
from PIL import Image

from evaluation.robustness.alexnet import SEVERITIES
from evaluation.robustness.constants import table_of
from evaluation.robustness.corruptions import corrupt, picture_generator
from evaluation.robustness.perturbations import PERTURBATIONS, perturb
from runtime.workers import Workers

# ImageNet-C is stored as JPEGs, the small sets of the same authors are stored without loss.
STORED_AS_JPEG, JPEG_QUALITY = (224, 299), 85


class Labeled(NamedTuple):
    """Pictures that belong together, in an order that the part of the suite knows.

    Attributes:
      position: of the picture in its whole set.
      label: its class, from 0.
      images: uint8 or float32 [V, S, S, 3].
    """

    position: int
    label: int
    images: np.ndarray


CLEAN = ""


def corrupted(task: tuple[Labeled, str], seed: int) -> np.ndarray:
    """A picture under one corruption at severity 1..5, uint8 [5, S, S, 3]; `CLEAN` is the picture itself, [1, S, S, 3]."""
    picture, name = task
    clean = picture.images[0]
    if name == CLEAN:
        return picture.images
    generators = (picture_generator(seed, name, severity, picture.position) for severity in SEVERITIES)
    return np.stack([_as_stored(corrupt(clean, name, *drawn)) for drawn in zip(SEVERITIES, generators)])


def perturbed(task: tuple[Labeled, str], seed: int, size: int) -> np.ndarray:
    """The frames of a picture's sequence under one perturbation, uint8 [F, size, size, 3]."""
    picture, name = task
    return perturb(picture.images[0], name, picture_generator(seed, name, 1, picture.position), size)


def with_variants(
    pictures: Iterator[Labeled], names: Sequence[str], make: Callable[[tuple[Labeled, str]], np.ndarray], processes: int
) -> Iterator[Labeled]:
    """Each picture with all that `make` makes of it, one name after the other.

    What travels between processes is one name's: all sequences of a picture of 600 pixels would be 350 MB.
    """
    asked, given = itertools.tee(pictures)
    with Workers(make, processes) as workers:
        made = workers.map((picture, name) for picture in asked for name in names)
        for picture in given:
            yield picture._replace(images=np.concatenate([next(made) for _ in names]))


def frame_counts(size: int) -> dict[str, int]:
    """{perturbation: frames of its sequence} for pictures of so many pixels."""
    blank, generator = np.zeros([size, size, 3], np.uint8), np.random.default_rng(0)
    return {name: len(perturb(blank, name, generator)) for name in PERTURBATIONS}


def _as_stored(image: np.ndarray) -> np.ndarray:
    if table_of(len(image)) not in STORED_AS_JPEG:
        return image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return np.asarray(Image.open(file))
