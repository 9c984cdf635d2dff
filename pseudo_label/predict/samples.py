"""Saves a few images of each predicted class as JPEGs, to look at (docs/release.md, section 8)."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from data.records.examples import image_of
from data.records.shards import read_shard
from pseudo_label.config import PredictConfig
from pseudo_label.predict.shards import Shard


class Samples:
    """About `samples_per_class` images a class as JPEGs to look at, named with their confidence.

    Every shard has its own quota, so that what is saved does not depend on which shards an earlier run had finished.
    """

    def __init__(self, config: PredictConfig, shards: list[Shard]):
        limit = config.samples_per_class
        self._quota = {
            shard.source: limit // len(shards) + (position < limit % len(shards))
            for position, shard in enumerate(shards)
        }
        self._folder = os.path.join(config.output_dir, "samples")
        self._names = config.class_names
        self._width = len(str(config.model.num_classes - 1))

    def of(self, shard: Shard) -> ShardSamples:
        """Collects the samples of one shard."""
        return ShardSamples(shard.source, self._quota[shard.source], self._class_folder)

    def _class_folder(self, label: int) -> str:
        name = f"_{self._names[label]}" if self._names and self._names[label] != str(label) else ""
        return os.path.join(self._folder, f"{label:0{self._width}d}{name.replace('/', '_')}")


class ShardSamples:
    """The first `quota` images of every predicted class of one shard."""

    def __init__(self, path: str, quota: int, folder: Callable[[int], str]):
        self._path = path
        self._quota = quota
        self._folder = folder
        self._per_class: Counter[int] = Counter()
        self._chosen: dict[int, tuple[int, float]] = {}

    def consider(self, number: int, probabilities: np.ndarray) -> None:
        """Notes record `number` if its class has too few samples."""
        label = int(np.argmax(probabilities))
        if self._per_class[label] < self._quota:
            self._per_class[label] += 1
            self._chosen[number] = (label, float(probabilities[label]))

    def save(self) -> None:
        """Writes the noted samples."""
        if not self._chosen:
            return
        last = max(self._chosen)
        for number, record in enumerate(read_shard(self._path)):
            if number in self._chosen:
                label, confidence = self._chosen[number]
                name = f"{confidence:.4f}_{os.path.basename(self._path)}_{number:07d}.jpg"
                tf.io.gfile.makedirs(self._folder(label))
                with tf.io.gfile.GFile(os.path.join(self._folder(label), name), "wb") as file:
                    file.write(as_jpeg(image_of(record)))
            if number == last:
                return


def as_jpeg(encoded: bytes) -> bytes:
    """The image as JPEG bytes; a JPEG stays as it is."""
    if encoded[:2] == b"\xff\xd8":
        return encoded
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(encoded)).convert("RGB").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
