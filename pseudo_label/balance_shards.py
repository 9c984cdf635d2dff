"""The work on one shard: reading the confidences of its predictions, and writing its balanced records."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from data import records
from errors import UserError
from flags.config import BalanceConfig
from pseudo_label.balance_encoding import filtered_examples
from pseudo_label.balance_inputs import ShardFiles
from pseudo_label.balance_plan import Confidences, Plan, copies, shuffled_copies

BATCH = 1024
# Kept images are held in memory by windows of so many bytes, and the order is shuffled within one. Part of the format: another
# value gives other (equally good) shards.
WINDOW_BYTES = 128 << 20

# The one reader in TensorFlow that starts in microseconds (a tf.data pipeline takes 20 ms, three times a shard) and that knows
# which record is broken. It is public and deprecated; unwrapped, it does not say so at every first call.
_tfrecord_iterator: Callable[[str], Iterator[bytes]] = inspect.unwrap(tf.compat.v1.io.tf_record_iterator)


def read_confidences(files: ShardFiles, config: BalanceConfig) -> Confidences:
    """Labels and confidences of one shard, in the order of its images.

    Raises:
      UserError: an unreadable record, probabilities of another length than `num_classes` or that are not finite and >= 0, or
        workers whose numbers of records do not fit together; names file and record.
    """
    parts = [_read_worker(path, config.num_classes) for path in files.predictions]
    counts = [len(labels) for labels, _ in parts]
    total, workers = sum(counts), len(parts)
    for worker, count in enumerate(counts):
        expected = len(range(worker, total, workers))
        if count != expected:
            raise UserError(
                f"{files.predictions[worker]}: got {count} predictions, expected {expected} of the shard's {total} from worker "
                f"{worker} of {workers}; run predict for this shard and worker again"
            )
    labels = np.zeros(total, np.min_scalar_type(config.num_classes - 1))
    confidences = np.zeros(total, np.float32)
    for worker, (own_labels, own_confidences) in enumerate(parts):
        labels[worker::workers], confidences[worker::workers] = own_labels, own_confidences
    return Confidences(files.shard, labels, confidences)


def write_balanced(files: ShardFiles, part: Confidences, plan: Plan, config: BalanceConfig) -> int:
    """Writes the filtered shard, whole or not at all, and returns its number of records.

    Raises:
      UserError: images that are unreadable or not as many as the predictions; names file and record.
    """
    number_of_copies = copies(part, plan, config)
    if files.finished:
        return int(number_of_copies.sum())
    with writing(files.output):
        return records.write_shard(files.output, _balanced_records(files, number_of_copies, config))


def _balanced_records(files: ShardFiles, number_of_copies: np.ndarray, config: BalanceConfig) -> Iterator[bytes]:
    kept = _kept_records(files, number_of_copies > 0, config.num_classes)
    kept_copies = number_of_copies[number_of_copies > 0]
    start = 0
    for number, window in enumerate(_windows(kept)):
        window_copies = kept_copies[start : start + len(window)]
        start += len(window)
        for index in shuffled_copies(window_copies, config.seed, files.shard, number).tolist():
            yield window[index]


def _windows(examples: Iterator[bytes]) -> Iterator[list[bytes]]:
    window: list[bytes] = []
    size = 0
    for example in examples:
        window.append(example)
        size += len(example)
        if size >= WINDOW_BYTES:
            yield window
            window, size = [], 0
    if window:
        yield window


def _kept_records(files: ShardFiles, keep: np.ndarray, num_classes: int) -> Iterator[bytes]:
    """Yields the filtered record of every image whose `keep` bool [n] is set, in order."""
    images = read_records(files.images)
    done = 0
    for probabilities in _probabilities_in_order(files.predictions, num_classes):
        chunk = list(itertools.islice(images, len(probabilities)))
        chosen = keep[done : done + len(probabilities)]
        if len(chunk) == len(chosen):
            numbers = (done + np.flatnonzero(chosen)).tolist()
            encoded = _parse(files.images, list(itertools.compress(chunk, chosen)), numbers, _image())[:, 0].tolist()
            yield from filtered_examples(encoded, probabilities[chosen])
        done += len(chunk)
    done += sum(1 for _ in images)
    if done != len(keep):
        raise UserError(
            f"{files.images}: got {done} images and {len(keep)} predictions ({files.predictions[0]}); expected one prediction "
            "an image: run predict for this shard again"
        )


def _probabilities_in_order(paths: tuple[str, ...], num_classes: int) -> Iterator[np.ndarray]:
    """Yields float32 [at most BATCH, C], the records of all workers dealt out in turn."""
    workers = len(paths)
    each = max(1, BATCH // workers)
    readers = [read_records(path) for path in paths]
    done = 0
    while True:
        dealt = [list(itertools.islice(reader, each)) for reader in readers]
        rows = np.zeros((sum(map(len, dealt)), num_classes), np.float32)
        if not len(rows):
            return
        for worker, serialized in enumerate(dealt):
            numbers = range(done, done + len(serialized))
            rows[worker::workers] = _parse(paths[worker], serialized, numbers, _probabilities(num_classes))
        done += each
        yield rows


def _read_worker(path: str, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    labels, confidences = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    reader, done = read_records(path), 0
    while serialized := list(itertools.islice(reader, BATCH)):
        numbers = range(done, done + len(serialized))
        probabilities = _parse(path, serialized, numbers, _probabilities(num_classes))
        _check_values(path, probabilities, numbers)
        labels.append(np.argmax(probabilities, axis=1))
        # Adding zero turns -0.0 into 0.0, so that equal confidences have equal bit patterns.
        confidences.append(np.max(probabilities, axis=1) + np.float32(0))
        done += len(serialized)
    return np.concatenate(labels), np.concatenate(confidences)


def _check_values(path: str, probabilities: np.ndarray, numbers: Sequence[int]) -> None:
    good = (probabilities >= 0) & (probabilities < np.inf)
    if not good.all():
        row, column = np.argwhere(~good)[0]
        raise UserError(
            f"{path}: record {numbers[row]}: got the probability {probabilities[row, column]} for class {column}, "
            "expected finite values >= 0; look for NaN in the teacher and run predict again"
        )


def read_records(path: str) -> Iterator[bytes]:
    """Yields the records of a shard; raises a UserError that names file and record where it cannot be read."""
    done = 0
    try:
        for record in _tfrecord_iterator(path):
            yield record
            done += 1
    except tf.errors.DataLossError:
        raise UserError(f"{path}: record {done} is truncated or corrupt; write the file again") from None
    except (tf.errors.OpError, OSError) as error:
        raise UserError(f"{path}: cannot be read from record {done} on: {_one_line(error)}") from None


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turns what a filesystem says while `path` is written into a UserError."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        raise UserError(f"--output_dir: cannot write {path}: {_one_line(error)}") from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


class _Feature(NamedTuple):
    """A feature that every record must have: its name and its number of values."""

    name: str
    length: int
    parse: Callable[[list[bytes]], Any]


@functools.cache
def _probabilities(num_classes: int) -> _Feature:
    return _feature(records.PROBABILITIES, tf.float32, num_classes)


@functools.cache
def _image() -> _Feature:
    return _feature(records.IMAGE, tf.string, 1)


def _feature(name: str, dtype: tf.DType, length: int) -> _Feature:
    spec = {name: tf.io.FixedLenFeature([length], dtype)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def parse(serialized: tf.Tensor) -> tf.Tensor:
        return tf.io.parse_example(serialized, spec)[name]

    return _Feature(name, length, parse)


def _parse(path: str, serialized: list[bytes], numbers: Sequence[int], feature: _Feature) -> np.ndarray:
    """The feature of every record, [n, length]; `numbers` are the records' numbers in the file, for errors."""
    try:
        return feature.parse(tf.constant(serialized, tf.string, [len(serialized)])).numpy()
    except tf.errors.InvalidArgumentError:
        raise _broken_record(path, serialized, numbers, feature) from None


def _broken_record(path: str, serialized: list[bytes], numbers: Sequence[int], feature: _Feature) -> UserError:
    for number, record in zip(numbers, serialized):
        try:
            found = tf.train.Example.FromString(record).features.feature
        except DecodeError:
            return UserError(f"{path}: record {number} is not a tf.train.Example; write the file again")
        got = len(found[feature.name].bytes_list.value) + len(found[feature.name].float_list.value)
        if got != feature.length:
            return UserError(
                f"{path}: record {number}: got {got} values of {feature.name!r}, expected {feature.length}"
                + ("" if feature.name == records.IMAGE else "; is --num_label_classes that of the teacher?")
            )
    return UserError(
        f"{path}: no record {numbers[0]}..{numbers[-1]} can be parsed for {feature.name!r}; write the file again"
    )
