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
- A file is read whole: preparing takes 1.6 GB of memory for the 531,131 images of extra_32x32.mat.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError, matfile_version

from data.images.files import to_png
from data.prepare import download, shards
from data.records.examples import labeled_example, shard_name, unlabeled_example
from data.tasks import TASK_FILE, TASKS, TRUE_LABELS_FILE
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
    """Raises UserError if a file is missing, before anything is written."""
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
        if not os.path.exists(path) and not config.download:
            raise UserError(f"--source_dir: no file {path}; get it from {ADDRESS}, or pass --download")


def write(config: PrepareConfig) -> dict[str, int]:
    """Downloads what is missing, writes all shards, task.json and labels_for_report.json; returns {shard: records}.

    Raises:
      UserError: a file that is damaged or another one, before anything is made of any.
    """
    for name in OFFICIAL:
        if config.download:
            download.fetch(ADDRESS + os.path.basename(_path(config, name)), _path(config, name))
    counts = _check_files(config)
    written = _write_train(config) | _write_test(config) | _write_extra(config)
    task = dataclasses.replace(
        TASKS["svhn"],
        num_images={
            "train": counts["train"] - DEV_IMAGES,
            "dev": DEV_IMAGES,
            "test": counts["test"],
            "unlabeled": counts["extra"],
        },
    )
    write_text(os.path.join(config.data_dir, TASK_FILE), json.dumps(task.to_json(), indent=2) + "\n")
    return written


def _path(config: PrepareConfig, name: str) -> str:
    return os.path.join(config.source_dir, f"{name}_32x32.mat")


class Source(NamedTuple):
    """One official file.

    Attributes:
      images: uint8 [32, 32, 3, N].
      digits: int64 [N], 0 to 9.
    """

    images: np.ndarray
    digits: np.ndarray


def read(path: str) -> Source:
    """Reads a file whole.

    Raises:
      UserError: it is damaged, or not such a file.
    """
    if not _is_matlab_5(path):
        raise UserError(f"{path}: not a MATLAB 5 file; is it the archive that the task is made of?")
    with _damaged_if_this_fails(path):
        shapes = {name: shape for name, shape, _ in whosmat(path)}
    if "X" not in shapes or "y" not in shapes or shapes["X"][:3] != (32, 32, 3) or len(shapes["X"]) != 4:
        described = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "no arrays"
        raise UserError(
            f"{path}: holds {described}, expected X [32, 32, 3, N] and y [N, 1]; it is not the file of cropped digits from "
            f"{ADDRESS}"
        )
    with _damaged_if_this_fails(path):
        arrays = loadmat(path, variable_names=["X", "y"])
        images, labels = arrays["X"], arrays["y"].ravel().astype(np.int64)
    count = images.shape[3]
    if len(labels) != count or not ((labels >= 1) & (labels <= 10)).all():
        raise UserError(f"{path}: y holds {len(labels)} labels, expected {count} from 1 to 10; get the file again")
    return Source(images, labels % 10)


def _is_matlab_5(path: str) -> bool:
    try:
        return matfile_version(path)[0] == 1
    except (ValueError, IndexError, MatReadError):
        return False


@contextlib.contextmanager
def _damaged_if_this_fails(path: str) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # SciPy raises six kinds, zlib.error and TypeError among them, and promises none
        raise UserError(f"{path}: cut short or corrupt ({error}); get it again") from error


def split(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the dev images among `count`, int64."""
    order = np.random.RandomState(SPLIT_SEED).permutation(count)
    return order[:-DEV_IMAGES], order[-DEV_IMAGES:]


def _check_files(config: PrepareConfig) -> dict[str, int]:
    """Reads every file once, one after another, and returns their numbers of images."""
    counts = {}
    with progress("checking the files", len(OFFICIAL), "files") as bar:
        for name, official in OFFICIAL.items():
            path = _path(config, name)
            counts[name] = len(read(path).digits)
            if counts[name] != official:
                print(f"note: {path} holds {counts[name]:,} images, the official file {official:,}")
            bar.update(1)
    if counts["train"] <= DEV_IMAGES:
        raise UserError(
            f"{_path(config, 'train')}: holds {counts['train']:,} images, expected more than the {DEV_IMAGES:,} that become "
            "the dev split"
        )
    return counts


# --- writing --------------------------------------------------------------------------------------------------------


def _write_train(config: PrepareConfig) -> dict[str, int]:
    source = read(_path(config, "train"))
    written: dict[str, int] = {}
    for name, indices in zip(("train", "dev"), split(len(source.digits))):
        written |= _write(config, source, f"labeled/{name}", shards.spread(indices.tolist(), NUM_SHARDS[name]))
    return written


def _write_test(config: PrepareConfig) -> dict[str, int]:
    source = read(_path(config, "test"))
    return _write(config, source, "labeled/test", shards.in_pieces(range(len(source.digits)), NUM_SHARDS["test"]))


def _write_extra(config: PrepareConfig) -> dict[str, int]:
    source = read(_path(config, "extra"))
    pieces = shards.in_pieces(range(len(source.digits)), NUM_SHARDS["extra"])
    truth = {
        shard_name("extra", shard, len(pieces)): source.digits[list(piece)].tolist()
        for shard, piece in enumerate(pieces)
    }
    write_text(os.path.join(config.data_dir, "unlabeled", TRUE_LABELS_FILE), json.dumps(truth) + "\n")
    return _write(config, source, "unlabeled/extra", pieces)


def _write(config: PrepareConfig, source: Source, prefix: str, indices: list[Sequence[int]]) -> dict[str, int]:
    """Writes the images with these indices, a list for each shard."""

    def serialize(index: int) -> bytes:
        encoded = to_png(Image.fromarray(np.ascontiguousarray(source.images[..., index])))
        if prefix.startswith("unlabeled"):
            return unlabeled_example(encoded)
        return labeled_example(encoded, int(source.digits[index]) + 1)

    return shards.write_shards(config.data_dir, prefix, indices, serialize)
