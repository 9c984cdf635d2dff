"""Whether mirrored pictures look like the pictures themselves, measured on those that were just prepared.

If a mirrored picture is one that could have been taken, then nothing tells the two apart. So a linear rule that prefers a picture
to its mirror image is fitted to some pictures and asked about others (five-fold cross-validation). Digits and letters are told
apart nearly always, photographs of things hardly more often than by chance. Classes that mirror into each other, as left
and right hands, are not seen this way: --noflip says so.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np

from data import facts

SIDE = 16  # pixels of a thumbnail
FOLDS = 5
RIDGE = 0.1  # of the features' mean square
LEAST = 40  # pictures; of fewer nothing can be said
MARGIN = 0.1  # above a half; and three standard errors


class Handedness(NamedTuple):
    """How often a picture was told from its mirror image, 0 to 1, and among how many pictures."""

    share: float
    pictures: int

    @property
    def is_there(self) -> bool:
        """Whether that is more often than chance would have it, by far."""
        error = 0.5 / max(self.pictures, 1) ** 0.5
        return self.pictures >= LEAST and self.share > 0.5 + max(MARGIN, 3 * error)


def measure(paths: list[str]) -> Handedness:
    """Looks at a sample of the pictures in these shards."""
    pictures = np.array([_thumbnail(picture.encoded) for picture in facts.sample(paths)])
    return told_apart(pictures) if len(pictures) >= LEAST else Handedness(0.5, len(pictures))


def told_apart(pictures: np.ndarray) -> Handedness:
    """How often pictures, [N, H, W], are told from their mirror images."""
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    scaled = centred / (centred.std(axis=(1, 2), keepdims=True) + 1e-6)
    # What changes sign when a picture is mirrored. The rule is its product with weights: above 0, the picture is the original.
    signs = (scaled - scaled[:, :, ::-1])[:, :, : pictures.shape[2] // 2].reshape(len(pictures), -1)
    fold = np.arange(len(signs)) % FOLDS
    right = sum(int((signs[fold == k] @ _weights(signs[fold != k]) > 0).sum()) for k in range(FOLDS))
    return Handedness(right / len(signs), len(signs))


def _weights(signs: np.ndarray) -> np.ndarray:
    """Ridge regression of 1 on the features."""
    squares = signs.T @ signs
    ridge = RIDGE * np.trace(squares) / len(squares) + 1e-6
    return np.linalg.solve(squares + ridge * np.eye(len(squares)), signs.sum(axis=0))


def _thumbnail(encoded: bytes) -> np.ndarray:
    from PIL import Image

    image = Image.open(io.BytesIO(encoded))
    image.draft("L", (2 * SIDE, 2 * SIDE))
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
