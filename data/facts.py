"""What is known of prepared pictures before anything is trained: how many, of which classes, how large."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data.records.examples import CLASS_LABEL, IMAGE
from data.records.shards import find_shards, read_shard
from data.streams.evaluation import count_labels
from data.tasks import Task
from runtime.files import listed

SAMPLE = 400  # pictures of each split that are looked at


@dataclasses.dataclass(frozen=True)
class PictureFacts:
    """What a folder of records holds.

    Attributes:
      labeled, unlabeled, test: pictures of each split.
      classes: their number.
      fewest, most: labeled pictures of the class that has fewest, and most.
      side: pixels, the median of the pictures' shorter sides.
    """

    labeled: int
    unlabeled: int
    test: int
    classes: int
    fewest: int
    most: int
    side: int


class Picture(NamedTuple):
    """A picture as it is stored, and its label from 1 (0 if it has none)."""

    encoded: bytes
    label: int


def picture_facts(task: Task, labeled_dir: str, unlabeled_dir: str = "") -> PictureFacts:
    """Reads what there is; of the pictures themselves a sample.

    Raises:
      UserError: no labeled shard, or one that cannot be read.
    """
    from PIL import Image

    files = find_shards(labeled_dir, "train-?????-of-?????", "label_data_dir")
    counts = count_labels(files, task.num_classes)
    others = unlabeled_shards(unlabeled_dir)
    sides = [
        min(Image.open(io.BytesIO(picture.encoded)).size) for paths in (files, others) for picture in sample(paths)
    ]
    return PictureFacts(
        labeled=sum(counts),
        unlabeled=task.num_images.get("unlabeled", 0),
        test=task.num_images.get("test", 0),
        classes=task.num_classes,
        fewest=min(counts),
        most=max(counts),
        side=int(np.median(sides)),
    )


def unlabeled_shards(folder: str) -> list[str]:
    """The shards of plain unlabeled pictures in a folder; none if it is not there."""
    is_there = folder and any(name.startswith("train-") for name in listed(folder))
    return find_shards(folder, "train-?????-of-?????", "unlabel_data_dir") if is_there else []


def sample(paths: list[str], number: int = SAMPLE) -> Iterator[Picture]:
    """The first pictures of each shard, which are in random order there; about `number` in all."""
    for path in paths:
        for _, record in zip(range(-(-number // len(paths))), read_shard(path)):
            features = tf.train.Example.FromString(record).features.feature
            label = features[CLASS_LABEL].int64_list.value if CLASS_LABEL in features else [0]
            yield Picture(features[IMAGE].bytes_list.value[0], label[0])
