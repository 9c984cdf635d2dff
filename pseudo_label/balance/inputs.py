"""Finds the files that balance reads: the image shards and the prediction shards of each, none missing and none double."""

from __future__ import annotations

import dataclasses
import glob
import os

import tensorflow as tf

from data.records import shards as records_shards
from data.records.examples import filtered_name, prediction_name, shard_name
from pseudo_label.config import BalanceConfig
from runtime.errors import UserError

# Whatever the input's prefix (`extra` for SVHN): training looks for `train-T-*` (docs/release.md, section 7).
OUTPUT_PREFIX = "train"


@dataclasses.dataclass(frozen=True)
class ShardFiles:
    """One unit of work.

    Attributes:
      shard: its number.
      images: the image shard.
      predictions: its prediction shards; worker w of R holds the records w, w+R, w+2R... in order.
      output: the filtered shard to write.
      finished: whether `output` is there already, whole and newer than every input.
    """

    shard: int
    images: str
    predictions: tuple[str, ...]
    output: str
    finished: bool = False


def find_shards(config: BalanceConfig) -> list[ShardFiles]:
    """Every shard's files, in the order of shards.

    Raises:
      UserError: a shard that is missing or in two directories, predictions of a worker that are missing, or other numbers
        of workers for different shards; names flag and file.
    """
    num_shards = config.num_shards
    if config.only_use_num_shards > 0:
        num_shards = min(num_shards, config.only_use_num_shards)
    images = _image_shards(config)
    predictions = _prediction_shards(config)
    shards = []
    for shard in range(num_shards):
        name = shard_name(config.file_prefix, shard, config.num_shards)
        output = filtered_name(OUTPUT_PREFIX, 0, shard, config.num_shards)
        if shard not in images:
            raise UserError(
                f"--input_dir: {name} is missing in {config.input_dir}; expected shards 0..{num_shards - 1} "
                f"as --num_shards={config.num_shards} says"
            )
        shards.append(
            ShardFiles(
                shard=shard,
                images=images[shard],
                predictions=_all_workers(config, shard, predictions.get(shard, {})),
                output=os.path.join(data_dir(config), output),
            )
        )
    _check_same_workers(config, shards)
    return shards


def data_dir(config: BalanceConfig) -> str:
    """Where the filtered shards go."""
    return os.path.join(config.output_dir, "data")


def newest_input(shards: list[ShardFiles]) -> int:
    """When the last of all input files was written, in nanoseconds."""
    return max(_modified(path) for files in shards for path in (files.images, *files.predictions))


def is_newer(path: str, nanoseconds: int) -> bool:
    """Whether `path` exists and was not written before the given time."""
    return tf.io.gfile.exists(path) and _modified(path) >= nanoseconds


def _modified(path: str) -> int:
    # TensorFlow rounds local times to seconds, which are too long for stages that take less than one.
    return tf.io.gfile.stat(path).mtime_nsec if "://" in path else os.stat(path).st_mtime_ns


def _image_shards(config: BalanceConfig) -> dict[int, str]:
    pattern = f"{glob.escape(config.file_prefix)}-?????-of-{config.num_shards:05d}"
    found: dict[int, str] = {}
    for path in records_shards.find_shards(config.input_dir, pattern, "input_dir"):
        shard = int(os.path.basename(path).rsplit("-", 3)[1])
        if shard in found:
            raise UserError(
                f"--input_dir: {path} and {found[shard]} are the same shard; name only one of the directories"
            )
        found[shard] = path
    return found


def _prediction_shards(config: BalanceConfig) -> dict[int, dict[int, str]]:
    pattern = f"{glob.escape(config.file_prefix)}-info-?????-of-{config.num_shards:05d}-?????"
    found: dict[int, dict[int, str]] = {}
    for path in records_shards.find_shards(config.prediction_dir, pattern, "prediction_dir"):
        shard, _, _, worker = os.path.basename(path).rsplit("-", 4)[1:]
        workers = found.setdefault(int(shard), {})
        if int(worker) in workers:
            raise UserError(
                f"--prediction_dir: {path} and {workers[int(worker)]} are the same shard; name only one of the directories"
            )
        workers[int(worker)] = path
    return found


def _all_workers(config: BalanceConfig, shard: int, workers: dict[int, str]) -> tuple[str, ...]:
    for worker in range(max(workers, default=0) + 1):
        if worker not in workers:
            name = prediction_name(config.file_prefix, shard, config.num_shards, worker)
            raise UserError(
                f"--prediction_dir: {name} is missing in {config.prediction_dir}; "
                f"run predict for --shard_id={shard} --worker_id={worker}"
            )
    return tuple(workers[worker] for worker in sorted(workers))


def _check_same_workers(config: BalanceConfig, shards: list[ShardFiles]) -> None:
    most = max(shards, key=lambda files: len(files.predictions))
    for files in shards:
        if len(files.predictions) < len(most.predictions):
            name = prediction_name(config.file_prefix, files.shard, config.num_shards, len(files.predictions))
            raise UserError(
                f"--prediction_dir: {name} is missing in {config.prediction_dir}: shard {files.shard} has predictions of "
                f"{len(files.predictions)} workers, shard {most.shard} of {len(most.predictions)}"
            )
