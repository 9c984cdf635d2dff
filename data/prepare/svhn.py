"""`svhn`: Street View House Numbers, cropped digits (Netzer et al., 2011), from the official .mat files.

The numbers are those of docs/release.md, section 10. Each file becomes:

source_dir/train_32x32.mat   labeled/train-*-of-00128 and labeled/dev-*-of-00064
source_dir/test_32x32.mat    labeled/test-*-of-00064
source_dir/extra_32x32.mat   unlabeled/extra-*-of-00128, with the true labels for the report alone

- `numpy.random.RandomState(0)` permutes the training images, whatever --seed is, so that all runs are compared on the same
  images. The last 4,000 become `dev`. (The release permutes with seed 0; which generator and which end it uses is not known.)
  `test` and `extra` keep their order.
- Images are stored as PNG, although the release's records hold JPEG (docs/release.md, section 7): at 32 pixels JPEG would add
  noise to every digit. TensorFlow's JPEG decoder reads PNG too, so the release's readers take these records.
- Class c is the digit c. The stored label counts from 1, so it is the digit + 1. (In the .mat files 10 stands for 0.)
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from data.images.files import to_png
from data.prepare import download, matlab, shards
from data.records.examples import labeled_example, shard_name, unlabeled_example
from data.tasks import TASK_FILE, TASKS
from runtime.errors import UserError
from runtime.files import write_text
from runtime.progress import progress

if TYPE_CHECKING:
    from data.prepare.config import PrepareConfig

SETTINGS: tuple[str, ...] = ()
ADDRESS = "http://ufldl.stanford.edu/housenumbers/"
OFFICIAL = {"train": 73257, "test": 26032, "extra": 531131}
DEV_IMAGES = 4000
SPLIT_SEED = 0
NUM_SHARDS = {"train": 128, "dev": 64, "test": 64, "extra": 128}


def check(config: PrepareConfig) -> None:
    """Raises UserError where a file is missing, or is not the one it should be, before anything is written."""
    if not config.source_dir:
        raise UserError(
            "--source_dir: missing; give the folder of the official files train_32x32.mat, test_32x32.mat and "
            "extra_32x32.mat, or the one to --download them into"
        )
    if "://" in config.source_dir:
        raise UserError(
            f"--source_dir: got {config.source_dir}, expected a folder of this machine; copy the files first"
        )
    for name in OFFICIAL:
        path = _path(config, name)
        if os.path.exists(path):
            Source(path)
        elif not config.download:
            raise UserError(f"--source_dir: no file {path}; get it from {ADDRESS}, or pass --download")


def write(config: PrepareConfig) -> dict[str, int]:
    """Downloads what is missing, writes all shards, task.json and labels_for_report.json; returns {shard: records}."""
    for name in OFFICIAL:
        if config.download:
            download.fetch(ADDRESS + os.path.basename(_path(config, name)), _path(config, name))
    sources = {name: Source(_path(config, name)) for name in OFFICIAL}
    for name, source in sources.items():
        if source.count != OFFICIAL[name]:
            print(f"note: {source.path} holds {source.count:,} images, the official file {OFFICIAL[name]:,}")
        source.check()
    train, dev = split(sources["train"])
    written = _write_permuted(config, sources["train"], {"train": train, "dev": dev})
    written |= _write_in_order(config, sources["test"], "labeled/test", NUM_SHARDS["test"])
    written |= _write_in_order(config, sources["extra"], "unlabeled/extra", NUM_SHARDS["extra"])
    _write_truth(config, sources["extra"])
    task = dataclasses.replace(
        TASKS["svhn"],
        num_images={
            "train": len(train),
            "dev": len(dev),
            "test": sources["test"].count,
            "unlabeled": sources["extra"].count,
        },
    )
    write_text(os.path.join(config.data_dir, TASK_FILE), json.dumps(task.to_json(), indent=2) + "\n")
    return written


def _path(config: PrepareConfig, name: str) -> str:
    return os.path.join(config.source_dir, f"{name}_32x32.mat")


class Source:
    """One official file: images, one at a time, and labels.

    Raises:
      UserError: it is cut short, or not such a file.
    """

    def __init__(self, path: str):
        self.path = path
        arrays = matlab.find_arrays(path)
        shapes = {name: array.shape for name, array in arrays.items()}
        if "X" not in arrays or "y" not in arrays or shapes["X"][:3] != (32, 32, 3) or len(shapes["X"]) != 4:
            raise UserError(
                f"{path}: holds {_described(shapes)}, expected X [32, 32, 3, N] and y [N, 1]; it is not the file of cropped "
                f"digits from {ADDRESS}"
            )
        self._images = arrays["X"]
        self.count = shapes["X"][3]
        labels = arrays["y"].read().ravel().astype(np.int64)
        if len(labels) != self.count or not ((labels >= 1) & (labels <= 10)).all():
            raise UserError(
                f"{path}: y holds {len(labels)} labels, expected {self.count} from 1 to 10; get the file again"
            )
        self.digits = labels % 10

    def check(self) -> None:
        """Reads the file to its end and its check sums, before anything is made of it; raises UserError if it is damaged."""
        with progress(f"checking {os.path.basename(self.path)}", self.count, "images") as bar:
            for _ in self.images():
                bar.update(1)

    def images(self, skip: int = 0) -> Iterator[np.ndarray]:
        """Yields uint8 [32, 32, 3], from image `skip` on."""
        return self._images.slices(skip)


def _described(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "no arrays"


def split(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the dev images, int64.

    Raises:
      UserError: too few images.
    """
    if source.count <= DEV_IMAGES:
        raise UserError(
            f"{source.path}: holds {source.count:,} images, expected more than the {DEV_IMAGES:,} that become the dev split"
        )
    order = np.random.RandomState(SPLIT_SEED).permutation(source.count)
    return order[:-DEV_IMAGES], order[-DEV_IMAGES:]


# --- writing --------------------------------------------------------------------------------------------------------


def _write_permuted(config: PrepareConfig, source: Source, parts: dict[str, np.ndarray]) -> dict[str, int]:
    images = np.empty((source.count, 32, 32, 3), np.uint8)  # 225 MB of train_32x32.mat
    for index, image in enumerate(source.images()):
        images[index] = image

    def labeled(index: int) -> bytes:
        return _labeled(images[index], source.digits[index])

    written: dict[str, int] = {}
    for name, indices in parts.items():
        written |= shards.write_shards(config.data_dir, f"labeled/{name}", list(indices), NUM_SHARDS[name], labeled)
    return written


def _write_in_order(config: PrepareConfig, source: Source, prefix: str, num_shards: int) -> dict[str, int]:
    """Writes the images, shard after shard, as they come out of the file."""
    is_labeled = prefix.startswith("labeled")

    def serialize(numbered: tuple[int, np.ndarray]) -> bytes:
        index, image = numbered
        return _labeled(image, source.digits[index]) if is_labeled else unlabeled_example(_encoded(image))

    return shards.write_stream(
        config.data_dir, prefix, lambda skip: enumerate(source.images(skip), skip), source.count, num_shards, serialize
    )


def _labeled(image: np.ndarray, digit: int) -> bytes:
    return labeled_example(_encoded(image), int(digit) + 1)


def _encoded(image: np.ndarray) -> bytes:
    return to_png(Image.fromarray(np.ascontiguousarray(image)))


def _write_truth(config: PrepareConfig, source: Source) -> None:
    num_shards = NUM_SHARDS["extra"]
    bounds = shards.bounds(source.count, num_shards)
    truth = {
        shard_name("extra", shard, num_shards): source.digits[bounds[shard] : bounds[shard + 1]].tolist()
        for shard in range(num_shards)
    }
    write_text(os.path.join(config.data_dir, "unlabeled", "labels_for_report.json"), json.dumps(truth) + "\n")
