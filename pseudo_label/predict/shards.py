"""The shards that a prediction reads, and the files that it writes for each."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence

import tensorflow as tf

from data.records import shards as records_shards
from data.records.examples import prediction_count_name, prediction_name, shard_name
from data.records.shards import read_shard
from data.streams.reading import count_records
from data.streams.training import FILTERED_PATTERN
from data.streams.unreadable import Unreadable
from pseudo_label.config import PredictConfig
from runtime.errors import UserError
from runtime.files import remove_unfinished

EXACT_COUNT_LIMIT = 1 << 30  # bytes of shards whose records are counted beforehand; more are estimated


@dataclasses.dataclass(frozen=True)
class Shard:
    """One input shard and the files that its predictions become; `finished_before` as in `prediction_stream`."""

    source: str
    output: str
    count_file: str
    finished_before: int = 0


def pending_shards(shards: Sequence[Shard]) -> list[Shard]:
    """The shards that are not finished, each with the images of the finished ones since the last of them.

    Raises:
      UserError: a count file that holds no count.
    """
    pending, finished = list[Shard](), list[Shard]()
    for shard in shards:
        if tf.io.gfile.exists(shard.count_file):
            finished.append(shard)
        else:
            pending.append(dataclasses.replace(shard, finished_before=sum(map(_images_of, finished))))
            finished = []
    return pending


def _images_of(shard: Shard) -> int:
    """Images of a finished shard."""
    with tf.io.gfile.GFile(shard.count_file, "rb") as file:
        text = file.read()
    try:
        return int(json.loads(text)["image_num"])
    except (ValueError, KeyError, TypeError) as error:
        got = text[:50].decode(errors="replace")
        raise UserError(
            f'{shard.count_file}: got {got!r}, expected {{"image_num": n}}; remove it, then its shard is predicted again'
        ) from error


def find_shards(config: PredictConfig) -> list[Shard]:
    """This worker's input shards and their outputs, in order.

    Raises:
      UserError: a shard that does not exist (says what was looked for).
    """
    if config.reassign_label:
        sources = records_shards.find_shards(config.input_dir, FILTERED_PATTERN, config.input_flag)
        _check_none_twice(sources, config)
        ids = config.shard_ids if config.shard_ids is not None else range(len(sources))
        chosen = [sources[shard_id] for shard_id in ids if shard_id < len(sources)]
        folder = os.path.join(config.output_dir, "data")
        return [Shard(path, os.path.join(folder, os.path.basename(path)), _count_file(config, path)) for path in chosen]
    ids = config.shard_ids if config.shard_ids is not None else tuple(range(config.num_shards))
    return [_input_shard(config, shard_id) for shard_id in ids]


def _count_file(config: PredictConfig, path: str) -> str:
    return os.path.join(config.info_dir or config.output_dir, f"info-{os.path.basename(path)}.txt")


def has_predictions(config: PredictConfig) -> bool:
    """Whether the first worker's predictions of every shard are there."""
    count = config.num_shards
    names = [prediction_name(config.file_prefix, shard, count, worker=0) for shard in range(count)]
    return all(tf.io.gfile.exists(os.path.join(config.output_dir, name)) for name in names)


def _input_shard(config: PredictConfig, shard_id: int) -> Shard:
    name = shard_name(config.file_prefix, shard_id, config.num_shards)
    candidates = [os.path.join(directory, name) for directory in config.input_dir.split(";")]
    found = [path for path in candidates if tf.io.gfile.exists(path)]
    if not found:
        raise UserError(
            f"--{config.input_flag}: no file {' or '.join(candidates)}; check --num_shards (got {config.num_shards}), "
            f"--shard_id and --file_prefix (got {config.file_prefix!r})"
        )
    _check_none_twice(found, config)
    output = prediction_name(config.file_prefix, shard_id, config.num_shards, config.worker_id)
    count = prediction_count_name(shard_id, config.num_shards, config.worker_id)
    return Shard(
        found[0], os.path.join(config.output_dir, output), os.path.join(config.info_dir or config.output_dir, count)
    )


def _check_none_twice(paths: Sequence[str], config: PredictConfig) -> None:
    """Raises UserError where two directories hold the same shard, because one's predictions would replace the other's."""
    first: dict[str, str] = {}
    for path in paths:
        other = first.setdefault(os.path.basename(path), path)
        if other != path:
            raise UserError(
                f"--{config.input_flag}: {path} and {other} are the same shard; name only one of the directories"
            )


def expected_images(config: PredictConfig, pending: list[Shard], skipped: Sequence[Unreadable]) -> int:
    """How many images are to come: exact for small inputs, estimated from the first shard's record size otherwise."""
    files = [shard.source for shard in pending]
    sizes = [tf.io.gfile.stat(path).length for path in files]
    if sum(sizes) <= EXACT_COUNT_LIMIT:
        total = count_records(files, skipped)
    else:
        total = int(count_records(files[:1], skipped) * sum(sizes) / max(sizes[0], 1))
    return total // config.total_replicas


def share_of_records(path: str, config: PredictConfig) -> Iterator[bytes]:
    """The records of a shard that this worker predicts."""
    for number, record in enumerate(read_shard(path)):
        if number % config.total_replicas == config.worker_id:
            yield record


def remove_unfinished_shards(pending: Sequence[Shard]) -> None:
    """Removes what a killed run left of the files that are about to be written; those of other processes stay."""
    for paths in ([shard.output for shard in pending], [shard.count_file for shard in pending]):
        for folder in {os.path.dirname(path) for path in paths}:
            remove_unfinished(folder, {os.path.basename(path) for path in paths})
