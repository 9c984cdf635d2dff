"""Picks a few pseudo-labeled images of each class from the balanced shards, to look at."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data.records.examples import CONFIDENCE, IMAGE, LABEL
from runtime.files import matching

MAX_CLASSES = 12
PER_CLASS = 10
# Bounds on time and memory where there are millions of records.
MAX_RECORDS = 20_000
MAX_CANDIDATES = 100


class Sample(NamedTuple):
    """One picked image: its confidence in 0..1 and its encoded bytes."""

    confidence: float
    encoded: bytes


def pick(balanced_dir: str, labels: Sequence[int], seed: int = 0) -> dict[int, list[Sample]]:
    """Picks up to PER_CLASS different images of up to MAX_CLASSES classes, evenly spread over `labels`.

    Args:
      balanced_dir: folder with data/ of filtered shards.
      labels: 0-based classes that have records.
      seed: fixes the pick.

    Returns:
      {label: samples, the most confident first}.
    """
    places = np.linspace(0, len(labels) - 1, min(len(labels), MAX_CLASSES)).round().astype(int)
    shown = [labels[place] for place in places]
    generator = np.random.default_rng(seed)
    paths = matching(os.path.join(balanced_dir, "data"), r".*-of-\d{5}")
    # Keyed by the image, because balancing writes some images several times.
    found: dict[int, dict[bytes, float]] = {label: {} for label in shown}
    features = {
        IMAGE: tf.io.FixedLenFeature([], tf.string),
        LABEL: tf.io.FixedLenFeature([], tf.int64),
        CONFIDENCE: tf.io.FixedLenFeature([], tf.float32),
    }
    shuffled = [paths[index] for index in generator.permutation(len(paths))]
    batches = tf.data.TFRecordDataset(shuffled).take(MAX_RECORDS).batch(256)
    for batch in batches.map(lambda batch: tf.io.parse_example(batch, features)).as_numpy_iterator():
        for image, label, confidence in zip(batch[IMAGE], batch[LABEL], batch[CONFIDENCE]):
            if label in found and len(found[label]) < MAX_CANDIDATES:
                found[int(label)][image] = float(confidence)
    picked = {}
    for label, images in found.items():
        candidates = [Sample(confidence, image) for image, confidence in sorted(images.items())]
        chosen = generator.permutation(len(candidates))[:PER_CLASS]
        picked[label] = sorted((candidates[index] for index in chosen), reverse=True)
    return {label: samples for label, samples in sorted(picked.items()) if samples}


def tile(encoded: bytes, pixels: int) -> np.ndarray:
    """The image's centred square, uint8 [pixels, pixels, 3]; tiny images are enlarged by whole factors, on white."""
    from PIL import Image

    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side * 2 > pixels:
        return np.asarray(image.resize((pixels, pixels), Image.Resampling.LANCZOS))
    shown = side * (pixels // side)
    margin = (pixels - shown) // 2
    square = np.full([pixels, pixels, 3], 255, np.uint8)
    enlarged = image.resize((shown, shown), Image.Resampling.NEAREST)
    square[margin : margin + shown, margin : margin + shown] = np.asarray(enlarged)
    return square
