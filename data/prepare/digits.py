"""`digits`: the 1,797 real handwritten digits (UCI, 8 x 8 pixels) that come with scikit-learn; nothing is downloaded.

They are enlarged to 12 x 12, because an EfficientNet halves its input several times, and get a black border. Training shifts an
image by up to 4 pixels and fills the gap with a reflection. Without the border, a digit that reaches the edge would be
mirrored there, and parts of a second digit would appear.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from data.prepare import shards
from data.records.examples import labeled_example, shard_name, unlabeled_example
from data.tasks import TASK_FILE, TASKS, TRUE_LABELS_FILE
from runtime.errors import UserError
from runtime.files import write_text

if TYPE_CHECKING:
    from data.prepare.config import PrepareConfig

TASK = TASKS["digits"]
PIXELS = 16
BORDER = 2
STORED_MAXIMUM = 16.0
SETTINGS = ("num_labeled", "known_classes", "unlabeled_classes", "num_test_images", "num_shards", "seed")
NUM_TEST = 500


class Split(NamedTuple):
    """Indices of each split, int64: labeled in class order, unlabeled and test in random order."""

    labeled: np.ndarray
    unlabeled: np.ndarray
    test: np.ndarray


def check(config: PrepareConfig) -> None:
    """Raises UserError where the numbers asked for do not fit the task, before anything is written."""
    _, labels = load()
    _split(labels, config)


def write(config: PrepareConfig) -> dict[str, int]:
    """Writes task.json, the labeled, test and unlabeled shards and labels_for_report.json; returns {shard: records}."""
    images, labels = load()
    parts = _split(labels, config)
    encoded = [encode_png(image) for image in images]

    def labeled(index: int) -> bytes:
        return labeled_example(encoded[index], int(labels[index]) + 1)

    def unlabeled(index: int) -> bytes:
        return unlabeled_example(encoded[index])

    # Mixed, so that a reader that stops early does not see one class alone.
    training = np.random.default_rng((config.seed, 1)).permutation(parts.labeled)
    written = shards.write_shards(config.data_dir, "labeled/train", [list(training)], labeled)
    written |= shards.write_shards(config.data_dir, "labeled/test", [list(parts.test)], labeled)
    dealt = shards.spread(list(parts.unlabeled), config.num_shards)
    written |= shards.write_shards(config.data_dir, "unlabeled/train", dealt, unlabeled)

    truth = {
        shard_name("train", shard, config.num_shards): listed
        for shard, listed in enumerate(shards.spread(labels[parts.unlabeled].tolist(), config.num_shards))
    }
    write_text(os.path.join(config.data_dir, "unlabeled", TRUE_LABELS_FILE), json.dumps(truth) + "\n")
    task = dataclasses.replace(
        TASK,
        num_images={"train": len(parts.labeled), "unlabeled": len(parts.unlabeled), "test": len(parts.test)},
    )
    write_text(os.path.join(config.data_dir, TASK_FILE), json.dumps(task.to_json(), indent=2) + "\n")
    return written


def load() -> tuple[np.ndarray, np.ndarray]:
    """All digits: uint8 [1797, 16, 16, 3], white strokes on black, and labels int64 [1797] in 0..9."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.stack([enlarge(image) for image in digits.images]), digits.target.astype(np.int64)


def enlarge(image: np.ndarray) -> np.ndarray:
    """Float [8, 8] in 0..16 to uint8 [16, 16, 3]: 12 x 12 bicubic, with a black border of 2.

    In floats, so that what overshoots is clipped only once.
    """
    side = PIXELS - 2 * BORDER
    scaled = Image.fromarray((image * (255.0 / STORED_MAXIMUM)).astype(np.float32))
    grey = np.pad(np.asarray(scaled.resize((side, side), Image.Resampling.BICUBIC)), BORDER)
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=-1)


def encode_png(image: np.ndarray) -> bytes:
    """PNG of a uint8 [H, W, 3] image."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def _split(labels: np.ndarray, config: PrepareConfig) -> Split:
    num_test = NUM_TEST if config.num_test_images is None else config.num_test_images
    return split(
        labels,
        config.num_labeled,
        num_test,
        config.num_shards,
        config.seed,
        known=config.known_classes,
        unlabeled=config.unlabeled_classes,
    )


def split(
    labels: np.ndarray,
    num_labeled: int,
    num_test: int,
    num_shards: int,
    seed: int,
    *,
    known: int = TASK.num_classes,
    unlabeled: str = "all",
) -> Split:
    """Draws the test images, then as many labeled ones of every known class; the rest is unlabeled.

    The test images do not depend on `num_labeled`, and a larger `num_labeled` only adds to a smaller one's images.

    Args:
      labels: of all digits, int64 [N].
      num_labeled, num_test, num_shards, seed: as in `PrepareConfig`.
      known: only the first so many classes are labeled and tested.
      unlabeled: which classes' images are kept as unlabeled ones: all, known or unknown.

    Raises:
      UserError: a number that cannot be met, with the flag and what is possible.
    """
    if not 1 <= known <= TASK.num_classes:
        raise UserError(f"--known_classes: got {known}, expected 1 to {TASK.num_classes}")
    order = np.random.default_rng(seed).permutation(len(labels))
    is_known = labels[order] < known
    candidates, strangers = order[is_known], order[~is_known]
    most = len(candidates) - known
    if not 1 <= num_test <= most:
        raise UserError(f"--num_test_images: got {num_test}, expected 1 to {most} of the {len(candidates)} digits")
    test, pool = candidates[:num_test], candidates[num_test:]
    by_class = [pool[labels[pool] == label] for label in range(known)]
    available = min(len(members) for members in by_class)
    if num_labeled < known or num_labeled % known:
        raise UserError(
            f"--num_labeled: got {num_labeled}, expected a positive multiple of {known}, "
            f"the same number of every class, at most {available * known}"
        )
    each = num_labeled // known
    if each > available:
        raise UserError(
            f"--num_labeled: got {num_labeled}, expected at most {available * known}: "
            f"{num_test} test images leave {available} of the rarest class"
        )
    labeled = np.concatenate([members[:each] for members in by_class])
    kept = {"all": order, "known": candidates, "unknown": strangers}[unlabeled]
    rest = kept[~np.isin(kept, np.concatenate([labeled, test]))]
    if not 1 <= num_shards <= len(rest):
        raise UserError(f"--num_shards: got {num_shards}, expected 1 to {len(rest)}, the unlabeled images")
    return Split(labeled, rest, test)
