"""What `prepare` does, as a frozen dataclass. No TensorFlow here."""

from __future__ import annotations

import dataclasses
from typing import Optional

UNLABELED_CLASSES = ("all", "known", "unknown")


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """Building a task's records.

    Attributes:
      data_dir: receives `task.json`, `labeled/` and `unlabeled/`.
      num_labeled: digits: labeled training images, the same number of every class; the rest of the pool is unlabeled.
      known_classes: digits: only the first so many classes are labeled and tested; images of the others are unknown.
      unlabeled_classes: digits: which unlabeled images are kept (`UNLABELED_CLASSES`), by whether their class is known.
      num_test_images: held-out images; None is the task's own choice (digits: 500; folder: none but those in test/).
      num_shards: shards of the unlabeled set (digits, folder; svhn and imagenet have the release's numbers).
      source_dir: the user's own files, for tasks that read some.
      download: fetch the task's official files into source_dir where they are not there (svhn).
      flip: folder: whether a mirrored image keeps its class; None: as the pictures tell (`data/prepare/mirror.py`).
      fit: folder: how an image that is no square becomes one (`data.tasks.FITS`).
      num_processes: processes that decode images; 0 for one a core. Changes nothing in what is written.
    """

    task_name: str
    data_dir: str
    num_labeled: int = 40
    known_classes: int = 10
    unlabeled_classes: str = "all"
    num_test_images: Optional[int] = None
    num_shards: int = 4
    seed: int = 0
    source_dir: str = ""
    download: bool = False
    flip: Optional[bool] = None
    fit: str = "crop"
    num_processes: int = 0
