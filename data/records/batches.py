"""Reads shards fast, one batch of records at a time, and names the record that is broken."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple, Optional

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from data.records import soft_labels
from data.records.examples import FILENAME, IMAGE, PROBABILITIES, TOP
from runtime.errors import UserError

# The one reader in TensorFlow that starts in microseconds (a tf.data pipeline takes 20 ms, and there are several to a shard)
# and that knows which record is broken. It is public, and deprecated in favour of tf.data; unwrapped it does not print that.
_tfrecord_iterator: Callable[[str], Iterator[bytes]] = inspect.unwrap(tf.compat.v1.io.tf_record_iterator)


def read_soft_labels(path: str, size: int, num_classes: int) -> Iterator[np.ndarray]:
    """Yields the soft labels of a prediction shard, `size` at a time, the last ones maybe fewer, as `parse_soft_labels` does.

    Raises:
      UserError: as `read_batches` and `parse_soft_labels`.
    """
    done = 0
    for serialized in read_batches(path, size):
        yield parse_soft_labels(path, serialized, range(done, done + len(serialized)), num_classes)
        done += len(serialized)


def read_batches(path: str, size: int, needed: Optional[int] = None) -> Iterator[list[bytes]]:
    """Yields the records of a shard, `size` at a time; the last batch may be smaller and none is empty.

    A shard that is cut short after its `needed` records ends there.

    Raises:
      UserError: a record that cannot be read, with file and record.
    """
    done = 0
    batch: list[bytes] = []
    try:
        reader = _tfrecord_iterator(path)
        while True:
            batch = []
            # Unlike list(...), this leaves in `batch` what was read before an error.
            batch.extend(itertools.islice(reader, size))
            if not batch:
                return
            yield batch
            done += len(batch)
    except tf.errors.DataLossError:
        if done + len(batch) == needed:
            if batch:
                yield batch
            return
        raise UserError(f"{path}: record {done + len(batch)} is truncated or corrupt; write the file again") from None
    except (tf.errors.OpError, OSError) as error:
        raise UserError(f"{path}: record {done + len(batch)} cannot be read: {one_line(error)}") from None


def parse_soft_labels(path: str, serialized: Sequence[bytes], numbers: Sequence[int], num_classes: int) -> np.ndarray:
    """Soft labels of n prediction records: float32 [n, C], or uint8 [n, 6 K] if they are sparse (`data/records/soft_labels.py`).

    `numbers` are the records' numbers in the file.

    Raises:
      UserError: a record without exactly `num_classes` probabilities, or whose sparse label is not one of so many classes; with
        file and record.
    """
    if not serialized:
        return np.zeros((0, num_classes), np.float32)
    probabilities = _cut_out_probabilities(serialized, num_classes)
    if probabilities is not None:
        return probabilities
    if _is_sparse(serialized[0]):
        return _parse_sparse(path, serialized, numbers, num_classes)
    return _parse(path, serialized, numbers, _Feature(PROBABILITIES, tf.float32, num_classes))


def parse_images(path: str, serialized: Sequence[bytes], numbers: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
    """Encoded images of n records, and the names of their files; `numbers` are the records' numbers in the file.

    Returns:
      n images, and n names, empty for an image that has none.

    Raises:
      UserError: a record without an image, with file and record.
    """
    both = _parse(path, serialized, numbers, _Feature(IMAGE, tf.string, 1, also=FILENAME))
    return both[:, 0].tolist(), both[:, 1].tolist()


def one_line(error: BaseException) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())


class _Feature(NamedTuple):
    """A feature that every record must have, with its number of values; `also` one of the kind that it may have, as the last."""

    name: str
    dtype: tf.DType
    length: int
    also: str = ""


_TOP = _Feature(TOP, tf.string, 1)
_ADVICE = {
    PROBABILITIES: "; is --num_label_classes that of the teacher?",
    TOP: "; predict this shard again with one --store_top_k",
}


def _is_sparse(record: bytes) -> bool:
    try:
        return TOP in tf.train.Example.FromString(record).features.feature
    except DecodeError:
        return False


def _parse_sparse(path: str, serialized: Sequence[bytes], numbers: Sequence[int], num_classes: int) -> np.ndarray:
    """uint8 [n, 6 K] of records that all keep the same number of classes."""
    labels = _parse(path, serialized, numbers, _TOP)[:, 0].tolist()
    size = max(len(labels[0]) // soft_labels.BYTES, 1) * soft_labels.BYTES
    for number, label in zip(numbers, labels):
        if len(label) != size:
            raise UserError(
                f"{path}: record {number}: got {len(label)} bytes of {TOP!r}, expected {size}{_ADVICE[TOP]}"
            )
    rows = np.frombuffer(b"".join(labels), np.uint8).reshape(len(labels), size)
    classes, _ = soft_labels.split(rows)
    outside = np.flatnonzero((classes >= num_classes).any(axis=1))
    if len(outside):
        raise UserError(
            f"{path}: record {numbers[outside[0]]}: got class {classes[outside[0]].max()}, expected 0 to {num_classes - 1}"
            f"{_ADVICE[PROBABILITIES]}"
        )
    return rows


def _cut_out_probabilities(serialized: Sequence[bytes], num_classes: int) -> Optional[np.ndarray]:
    """The probabilities, if each record ends with them and nothing else; None otherwise.

    Without this balance takes half as long again: such records differ in a label and their floats, and need no parser.
    """
    size = 4 * num_classes
    if not all(_ends_with_probabilities(head, num_classes) for head in {record[:-size] for record in serialized}):
        return None
    floats = np.frombuffer(b"".join([record[-size:] for record in serialized]), "<f4")
    return floats.reshape(-1, num_classes).astype(np.float32, copy=False)


@functools.lru_cache(maxsize=1 << 16)
def _ends_with_probabilities(head: bytes, num_classes: int) -> bool:
    """Whether in a record that begins with `head` the rest, if that is `num_classes` floats, are its probabilities."""
    floats = np.arange(1, 1 + num_classes, dtype="<f4")
    try:
        features = tf.train.Example.FromString(head + floats.tobytes()).features.feature
    except DecodeError:
        return False
    return np.array_equal(features[PROBABILITIES].float_list.value, floats)


@functools.cache
def _parser(feature: _Feature) -> Any:
    spec = {feature.name: tf.io.FixedLenFeature([feature.length], feature.dtype)}
    if feature.also:
        spec[feature.also] = tf.io.FixedLenFeature([1], feature.dtype, default_value=[""])

    def parse(serialized: tf.Tensor) -> tf.Tensor:
        found = tf.io.parse_example(serialized, spec)
        return tf.concat([found[name] for name in spec], axis=1)

    return tf.function(parse, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


def _parse(path: str, serialized: Sequence[bytes], numbers: Sequence[int], feature: _Feature) -> np.ndarray:
    try:
        return _parser(feature)(tf.constant(serialized, tf.string, [len(serialized)])).numpy()
    # TensorFlow quotes the record in its message, and then fails to decode its message where that is not text.
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
        raise _broken_record(path, serialized, numbers, feature) from None


def _broken_record(path: str, serialized: Sequence[bytes], numbers: Sequence[int], feature: _Feature) -> UserError:
    for number, record in zip(numbers, serialized):
        try:
            found = tf.train.Example.FromString(record).features.feature
        except DecodeError:
            return UserError(f"{path}: record {number} is not a tf.train.Example; write the file again")
        got = len(found[feature.name].bytes_list.value) + len(found[feature.name].float_list.value)
        if got != feature.length:
            advice = _ADVICE.get(feature.name, "")
            return UserError(
                f"{path}: record {number}: got {got} values of {feature.name!r}, expected {feature.length}{advice}"
            )
    first, last = numbers[0], numbers[-1]
    return UserError(
        f"{path}: one of the records {first}..{last} cannot be parsed for {feature.name!r}; write the file again"
    )
