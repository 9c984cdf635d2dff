"""The task's own test pictures, as bytes, and what is made of them: corrupted pictures and perturbed sequences."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from evaluation.robustness.alexnet import SEVERITIES
from evaluation.robustness.constants import table_of
from evaluation.robustness.corruptions import CORRUPTIONS, corrupt, picture_generator
from evaluation.robustness.perturbations import PERTURBATIONS, perturb

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


def corrupted(picture: Labeled, seed: int) -> Labeled:
    """The clean picture, then every corruption at severity 1..5, in the order of `CORRUPTIONS`: uint8 [76, S, S, 3]."""
    clean = picture.images[0]
    images = [clean]
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            generator = picture_generator(seed, name, severity, picture.position)
            images.append(_as_stored(corrupt(clean, name, severity, generator)))
    return picture._replace(images=np.stack(images))


def perturbed(picture: Labeled, seed: int, size: int) -> Labeled:
    """The frames of all sequences, one sequence after the other, in the order of `PERTURBATIONS`: uint8 [F, S, S, 3]."""
    frames = [
        perturb(picture.images[0], name, picture_generator(seed, name, 1, picture.position), size)
        for name in PERTURBATIONS
    ]
    return picture._replace(images=np.concatenate(frames))


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
