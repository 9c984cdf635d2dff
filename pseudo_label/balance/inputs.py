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
      UserError: shards that are missing or in two directories, or predictions that are missing; names flag and files, and the
        command that makes the predictions.
    """
    num_shards = config.num_shards
    if config.only_use_num_shards > 0:
        num_shards = min(num_shards, config.only_use_num_shards)
    images = _image_shards(config)
    predictions = _prediction_shards(config)
    absent = [shard for shard in range(num_shards) if shard not in images]
    if absent:
        raise UserError(
            f"--input_dir: {shard_name(config.file_prefix, absent[0], config.num_shards)}{_others(absent)} is missing in "
            f"{config.input_dir}; expected shards 0..{num_shards - 1} as --num_shards={config.num_shards} says"
        )
    _check_predictions(config, num_shards, predictions)
    return [
        ShardFiles(
            shard=shard,
            images=images[shard],
            predictions=tuple(predictions[shard][worker] for worker in sorted(predictions[shard])),
            output=os.path.join(data_dir(config), filtered_name(OUTPUT_PREFIX, 0, shard, config.num_shards)),
        )
        for shard in range(num_shards)
    ]


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


def _check_predictions(config: BalanceConfig, num_shards: int, predictions: dict[int, dict[int, str]]) -> None:
    """Raises UserError if a worker's predictions of a shard are missing; says of how many, and what makes them."""
    workers = 1 + max((worker for shard in range(num_shards) for worker in predictions.get(shard, ())), default=0)
    missing: dict[int, list[int]] = {}
    for worker in range(workers):
        shards = [shard for shard in range(num_shards) if worker not in predictions.get(shard, ())]
        if shards:
            missing[worker] = shards
    if not missing:
        return
    worker, shards = next(iter(missing.items()))
    name = prediction_name(config.file_prefix, shards[0], config.num_shards, worker)
    count = sum(map(len, missing.values()))
    flags = [
        f"--shard_id={','.join(map(str, shards))} --worker_id={worker} --total_replicas={workers}"
        for worker, shards in missing.items()
    ]
    raise UserError(
        f"--prediction_dir: {name}{f' and {count - 1} more' if count > 1 else ''} is missing in {config.prediction_dir}, of "
        f"{num_shards * workers} ({num_shards} shards, {workers} workers); run predict again, with the flags of before and "
        + "; then with ".join(flags)
    )


def _others(shards: list[int]) -> str:
    return f" (and {len(shards) - 1} more)" if len(shards) > 1 else ""
