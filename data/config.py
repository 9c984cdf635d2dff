"""Where a stream's images come from and how they are prepared, as frozen dataclasses. No TensorFlow here."""

from __future__ import annotations

import dataclasses
from typing import Optional

from data.tasks import Task


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """RandAugment of one stream.

    Attributes:
      enabled: False trains on crops and flips alone.
      layers: ops applied in sequence (`randaug_layer`).
      magnitude: level M (`randaug_mag`); may exceed 10.
      cutout: whether Cutout is among the ops.
    """

    enabled: bool = True
    layers: int = 2
    magnitude: float = 27.0
    cutout: bool = True


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where a training's images come from and how they are prepared.

    Attributes:
      task: classes, statistics and splits.
      label_data_dir: directory of labeled shards (`;` separates several).
      unlabel_data_dir: directory of filtered shards (offline) or of plain images (with an online teacher); "" for none.
      image_size: pixels at which the network sees images.
      small_image_model: images enter as they are stored.
      augment, unlabeled_augment: RandAugment of each stream.
      remove_aug: train on the evaluation preprocessing.
      teacher_image_size: when an online teacher is set, the pixels of the second copy; None otherwise.
      noise_teacher: that copy is cropped and augmented too, in its own way, instead of the evaluation preprocessing.
      num_train_shards: how many of the labeled shards are used; None for all.
      use_cache: keep the labeled records (encoded) in memory.
      skip_corrupt_records: count unreadable records and go on instead of stopping.
      even_classes: draw labeled images evenly by class, instead of evenly by image.
      seed: every random choice follows from it and from the position in the stream.
    """

    task: Task
    label_data_dir: str
    unlabel_data_dir: str = ""
    image_size: int = 224
    small_image_model: bool = False
    augment: AugmentConfig = AugmentConfig()
    unlabeled_augment: AugmentConfig = AugmentConfig()
    remove_aug: bool = False
    teacher_image_size: Optional[int] = None
    noise_teacher: bool = False
    num_train_shards: Optional[int] = None
    use_cache: bool = True
    skip_corrupt_records: bool = False
    even_classes: bool = False
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class SplitConfig:
    """The labeled images that a network is measured on.

    Attributes:
      task: classes and splits.
      label_data_dir: directory of labeled shards (`;` separates several).
      split: what the names of its shards begin with, as `test` of `test-00000-of-00001`.
      num_images: only the first so many; None for all.
      eval_batch_size: images of one replica's batch.
      skip_corrupt_records: count unreadable records and go on instead of stopping.
    """

    task: Task
    label_data_dir: str
    split: str = "test"
    num_images: Optional[int] = None
    eval_batch_size: int = 8
    skip_corrupt_records: bool = False


@dataclasses.dataclass(frozen=True)
class TeacherNoise:
    """Noise of a teacher that predicts as a student trains: crops, `augment`, dropout and stochastic depth.

    Attributes:
      augment: RandAugment.
      flip: whether a mirrored image keeps its class.
      fit: how an image that is no square becomes one (`data.tasks.FITS`).
      seed: an image's noise follows from this and from its bytes alone.
    """

    augment: AugmentConfig
    flip: bool
    seed: int
    fit: str = "crop"
