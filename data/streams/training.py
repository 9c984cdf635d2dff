"""The training stream: shards to batches of labeled and unlabeled images, joined."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf

from data.config import AugmentConfig, DataConfig
from data.images import decoding, randaugment
from data.images.training import Augmenter, TrainingOptions, augmented, crop_and_draw
from data.records.shards import find_shards
from data.streams.faults import Record
from data.streams.parsing import Parse, parse_filtered, parse_labeled, parse_unlabeled
from data.streams.reading import finished_at_once, parallel_map, parallel_options
from data.streams.segments import Segments, Shards, positions
from data.streams.unreadable import Unreadable
from runtime.errors import UserError
from runtime.files import matching
from runtime.workers import Pipeline

LABELED_PATTERN = "train-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"
FILTERED_PATTERN = "train-[0-9]*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"
UNLABELED_PATTERN = "*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]"


_OF_TEACHER = 0x1F3D5B79A2C4  # makes a noised teacher's seed of an image's


def training_files(data: DataConfig, online_teacher: bool) -> tuple[list[str], list[str]]:
    """Labeled and unlabeled shards of a training.

    Raises:
      UserError: a directory holds none (names pattern and flag).
    """
    labeled = find_shards(data.label_data_dir, LABELED_PATTERN, "label_data_dir")
    if data.num_train_shards is not None:
        labeled = labeled[: data.num_train_shards]
    if not data.unlabel_data_dir:
        return labeled, []
    pattern = UNLABELED_PATTERN if online_teacher else FILTERED_PATTERN
    try:
        return labeled, find_shards(data.unlabel_data_dir, pattern, "unlabel_data_dir")
    except UserError:
        _check_labels_exist(data.unlabel_data_dir)
        raise


def _check_labels_exist(directories: str) -> None:
    for directory in directories.split(";"):
        images = matching(directory, fnmatch.translate(UNLABELED_PATTERN))
        if images and not matching(directory, fnmatch.translate(FILTERED_PATTERN)):
            raise UserError(
                f"--unlabel_data_dir: {min(images)} and its neighbours have no pseudo labels; make them with --mode=predict and "
                "--mode=balance, or give the teacher that labels them in training (--teacher_model_name, --teacher_model_path)"
            )


@tf.autograph.experimental.do_not_convert
def training_stream(
    data: DataConfig,
    labeled_batch: int,
    unlabeled_batch: int,
    replicas: int,
    segments: Segments,
    pipeline: Pipeline = Pipeline(),
    *,
    online_teacher: bool = False,
    skipped: Sequence[Unreadable] = (),
    augmenter: Augmenter = randaugment.randaugment,
    class_counts: Optional[Sequence[int]] = None,
) -> tf.data.Dataset:
    """Endless joined batches, one element a replica and step.

    Args:
      data: files and preprocessing.
      labeled_batch, unlabeled_batch: images of a step over all replicas; multiples of `replicas`. 0: none of that kind.
      replicas: replicas over all pipelines; an element has batch / replicas images.
      segments: where the stream starts and how it is cut.
      pipeline: this process's share.
      online_teacher: unlabeled images come without labels and with a second copy for the teacher.
      skipped: records to leave out (see `unreadable_records`).
      augmenter: computes RandAugment.
      class_counts: labeled images of each class, to draw them evenly by class; None draws them evenly by image.

    Returns:
      {"labeled": {"image" float32 [B, H, W, 3] in 0..255, "label" int32 [B]}, "unlabeled": {"image" [U, H, W, 3],
      "probabilities" float32 [U, C], "label" int32 [U], or with an online teacher "teacher_image" [U, T, T, 3]}};
      without the kind whose batch is 0.
    """
    labeled_files, unlabeled_files = training_files(data, online_teacher)
    num_classes = data.task.num_classes
    joined = {}
    if labeled_batch:
        joined["labeled"] = _images(
            Shards(labeled_files, 0, data.seed, data.use_cache, skipped, class_counts),
            lambda record: parse_labeled(record, num_classes),
            data,
            data.augment,
            (labeled_batch, replicas, segments, pipeline),
            augmenter,
        )
    if unlabeled_batch:
        joined["unlabeled"] = _images(
            Shards(unlabeled_files, 1, data.seed, data.use_cache, skipped),
            parse_unlabeled if online_teacher else lambda record: parse_filtered(record, num_classes),
            data,
            data.unlabeled_augment,
            (unlabeled_batch, replicas, segments, pipeline),
            augmenter,
            teacher_image_size=data.teacher_image_size if online_teacher else None,
        )
    # Only the next step's batches wait as float32, which takes four times the memory.
    return tf.data.Dataset.zip(joined).map(_as_float32).with_options(parallel_options())


def _as_float32(batches: dict[str, dict[str, tf.Tensor]]) -> dict[str, dict[str, tf.Tensor]]:
    return tf.nest.map_structure(lambda part: tf.cast(part, tf.float32) if part.dtype == tf.uint8 else part, batches)


def _images(
    shards: Shards,
    parse: Parse,
    data: DataConfig,
    augment: AugmentConfig,
    shape: tuple[int, int, Segments, Pipeline],
    augmenter: Augmenter,
    teacher_image_size: Optional[int] = None,
) -> tf.data.Dataset:
    batch, replicas, segments, pipeline = shape

    task = data.task
    options = TrainingOptions(data.image_size, data.small_image_model, task.flip, augment, data.remove_aug, task.fit)
    begun: dict[str, TrainingOptions] = {"image": options}
    if teacher_image_size is not None and data.noise_teacher:
        begun["teacher_image"] = dataclasses.replace(options, image_size=teacher_image_size, augment=data.augment)

    def begin(seed: tf.Tensor, positioned: tuple[tf.Tensor, Record]) -> dict[str, Any]:
        position, record = positioned
        features = parse(record)
        encoded = features.pop("encoded")
        if teacher_image_size is not None and not data.noise_teacher:
            features["teacher_image"] = decoding.evaluation_image(
                encoded, teacher_image_size, data.small_image_model, task.fit
            )
        for name, options in begun.items():
            own = 0 if name == "image" else _OF_TEACHER
            image_seed = tf.bitwise.bitwise_xor(tf.stack([seed, position]), tf.constant(own, tf.int64))
            features[name] = crop_and_draw(encoded, image_seed, options)
        return features

    def finish(features: dict[str, Any]) -> dict[str, Any]:
        return {**features, **{name: augmented(features[name], options, augmenter) for name, options in begun.items()}}

    images = parallel_map(positions(shards, batch, segments, pipeline), begin)
    batches = images.batch(batch // replicas, drop_remainder=True)
    return batches.map(finish, num_parallel_calls=finished_at_once(), deterministic=True)
