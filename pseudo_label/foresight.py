"""What can be known before hours are spent: pictures for the students, folders that can be written to, room on the disk."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Sequence
from typing import NamedTuple, Optional

import tensorflow as tf

from data.images import decoding
from data.records.examples import image_of
from data.records.shards import read_shard
from data.streams.reading import count_records
from pseudo_label.config import BalanceConfig, IterateConfig, PredictConfig
from pseudo_label.manifest import Stage
from pseudo_label.predict.shards import EXACT_COUNT_LIMIT, find_shards
from runtime.errors import UserError
from training.config import TrainConfig

LOOKED_AT = 1000  # records among which one must be a picture
OF_A_RECORD = 64  # bytes around a record's values
KINDS_OF_VALUES = 4  # in a checkpoint, of each weight: itself, its average and two of the optimiser
TOLD = 1 / 4  # of the free space: what takes more is said


class Images(NamedTuple):
    """The unlabeled pictures: how many, and their bytes."""

    number: int
    size: int


class Room(NamedTuple):
    """Bytes that a kind of file will take, at least and at most."""

    what: str
    least: int
    most: int


def check(config: IterateConfig, to_do: Collection[str], planned: Sequence[Stage]) -> None:
    """Looks at what the stages `to_do` will need.

    Raises:
      UserError: no picture for the first students, a folder that cannot be written to, a disk that is too small in any case.
    """
    check_folders([stage for stage in planned if stage.name in to_do])
    images = check_images(config) if "teacher" in to_do else None
    check_room(config, to_do, images)


# --- pictures -------------------------------------------------------------------------------------------------------


def check_images(config: IterateConfig) -> Optional[Images]:
    """Raises UserError where the first students will have no images, before a teacher is trained for them."""
    try:
        for this in config.rounds[:1]:
            return _readable(this.predict)
    except UserError as error:
        raise UserError(
            f"{error}; a student learns from unlabeled images (--unlabel_data_dir): to train the teacher alone, use "
            "--mode=train_and_eval"
        ) from error
    return None


def _readable(config: PredictConfig) -> Images:
    files = [shard.source for shard in find_shards(config)]
    sizes = [tf.io.gfile.stat(path).length for path in files]
    few = sum(sizes) <= EXACT_COUNT_LIMIT
    looked_at = count_records(files if few else files[:1], []) if not config.skip_corrupt_records else 0
    if not _has_a_picture(files):
        raise UserError(
            f"--{config.input_flag}: none of the records of {files[0]} and the {len(files) - 1} files after it holds a picture "
            "that can be decoded"
        )
    total = looked_at if few else int(looked_at * sum(sizes) / max(sizes[0], 1))
    return Images(total, sum(sizes))


def _has_a_picture(files: Sequence[str]) -> bool:
    looked_at = 0
    for path in files:
        try:
            for record in read_shard(path):
                looked_at += 1
                if _is_picture(record):
                    return True
                if looked_at == LOOKED_AT:
                    return False
        except UserError:  # the rest is damaged: predict says so, or leaves it out
            continue
    return False


def _is_picture(record: bytes) -> bool:
    try:
        decoding.decode(tf.constant(image_of(record)))
    except Exception:  # the record's format and the picture's have their own types
        return False
    return True


# --- folders --------------------------------------------------------------------------------------------------------


def check_folders(stages: Sequence[Stage]) -> None:
    """Raises UserError for the first folder of a later stage that cannot be made or written to."""
    for stage in stages:
        for name in ("data_dir", "model_dir", "output_dir"):
            folder = getattr(stage.config, name, None)
            if isinstance(folder, str) and folder and "://" not in folder:
                _check_folder(folder, stage.name)


def _check_folder(folder: str, stage: str) -> None:
    place = existing(folder)
    if not os.path.isdir(place):
        raise UserError(f"--work_dir: {place} is a file, and the stage {stage} needs {folder}; move it away")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"--work_dir: {place} cannot be written to, and the stage {stage} needs it; make it writable")


def existing(path: str) -> str:
    """The path, or the nearest above it that is there."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


# --- room -----------------------------------------------------------------------------------------------------------


def check_room(config: IterateConfig, to_do: Collection[str], images: Optional[Images]) -> None:
    """Says how much the stages `to_do` will write if that is a large part of what the disk has free.

    Raises:
      UserError: it is more, in any case.
    """
    if "://" in config.work_dir:
        return
    free = shutil.disk_usage(existing(config.work_dir)).free
    parts = [part for part in room(config, to_do, images) if part.most]
    least, most = sum(part.least for part in parts), sum(part.most for part in parts)
    listed = ", ".join(f"{part.what} {in_words(part.least, part.most)}" for part in parts)
    needs = f"the run will write {in_words(least, most)} ({listed}), and {in_words(free, free)} are free"
    if least > free:
        raise UserError(f"--work_dir: {config.work_dir}: {needs}; make room, or name a folder on another disk")
    if most > TOLD * free:
        print(f"notice: {needs}", file=sys.stderr)


def room(config: IterateConfig, to_do: Collection[str], images: Optional[Images]) -> list[Room]:
    """What the stages `to_do` will write; `images` are counted where the first teacher is still to be trained."""
    trainings = [("teacher", config.teacher)] if config.ready_teacher is None else []
    predictions = balanced_least = balanced_most = 0
    for number, this in enumerate(config.rounds, start=1):
        trainings.append((f"round{number}/student", this.student))
        trainings += [] if this.finetune is None else [(f"round{number}/finetune", this.finetune)]
        if images and f"round{number}/predict" in to_do:
            predictions += images.number * _label_size(this.predict, this.balance)
        if images and f"round{number}/balance" in to_do:
            least, most = _balanced(this.balance, images, _label_size(this.predict, this.balance))
            balanced_least, balanced_most = balanced_least + least, balanced_most + most
    checkpoints = sum(_checkpoints(training) for name, training in trainings if name in to_do)
    return [
        Room("checkpoints", checkpoints, checkpoints),
        Room("soft labels", predictions, predictions),
        Room("balanced records", balanced_least, balanced_most),
    ]


def _checkpoints(training: TrainConfig) -> int:
    saved = -(-training.optimizer.steps_to_train // training.save_checkpoints_steps)
    kept = min(saved, training.keep_checkpoint_max + 1) if training.keep_checkpoint_max else saved
    return kept * training.model.num_values * KINDS_OF_VALUES * 4


def _label_size(predict: PredictConfig, balance: BalanceConfig) -> int:
    return OF_A_RECORD + (8 * predict.store_top_k if predict.store_top_k else 4 * balance.num_classes)


def _balanced(balance: BalanceConfig, images: Images, label: int) -> tuple[int, int]:
    """Bytes of the balanced records: nothing is sure, and at most each class is full of the average picture."""
    if balance.only_get_stats or not images.number:
        return 0, 0
    full = balance.num_image * balance.num_classes
    records = images.number if balance.use_all else full if balance.upsample else min(full, images.number)
    return 0, int(records * (images.size / images.number + label))


def in_words(least: int, most: int) -> str:
    """`1.5 GB`, `up to 1.5 GB`, or `1.5 GB to 2 GB`."""
    if least == most:
        return _in_bytes(most)
    return f"{_in_bytes(least)} to {_in_bytes(most)}" if least else f"up to {_in_bytes(most)}"


def _in_bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1000:.3g} kB"
