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
from data.records.encoding import unlabeled_head
from data.records.examples import IMAGE, PROBABILITIES, TOP
from pseudo_label.balance.framed import frame_size, framed_rows, prediction_layout
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
    for rows in framed_rows(path, size, num_classes):
        yield rows
        done += len(rows)
    if done and done * frame_size(num_classes) == tf.io.gfile.stat(path).length:
        return
    for serialized in read_batches(path, size, done):
        yield parse_soft_labels(path, serialized, range(done, done + len(serialized)), num_classes)
        done += len(serialized)


def read_batches(path: str, size: int, skip: int = 0, needed: Optional[int] = None) -> Iterator[list[bytes]]:
    """Yields the records of a shard but the first `skip`, `size` at a time; the last batch may be smaller and none is empty.

    A shard that is cut short after its `needed` records ends there.

    Raises:
      UserError: a record that cannot be read, with file and record.
    """
    done = skip
    batch: list[bytes] = []
    try:
        reader = itertools.islice(_tfrecord_iterator(path), skip, None)
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


def parse_images(path: str, serialized: Sequence[bytes], numbers: Sequence[int]) -> list[bytes]:
    """Encoded images of n records; `numbers` are the records' numbers in the file.

    Raises:
      UserError: a record without an image, with file and record.
    """
    images = _cut_out_images(serialized)
    return _parse(path, serialized, numbers, _Feature(IMAGE, tf.string, 1))[:, 0].tolist() if images is None else images


def one_line(error: BaseException) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())


class _Feature(NamedTuple):
    """A feature that every record must have, with its number of values."""

    name: str
    dtype: tf.DType
    length: int


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
    """The floats of records that are, byte for byte, what `records.prediction_example` writes around them; else None.

    Parsing such records, which differ in a label and a row of floats, would be a fifth of balance's time.
    """
    head, label_at = prediction_layout(num_classes)
    size = len(head) + 4 * num_classes
    if set(map(len, serialized)) != {size}:
        return None
    rows = np.frombuffer(b"".join(serialized), np.uint8).reshape(len(serialized), size)
    same = rows[:, : len(head)] == np.frombuffer(head, np.uint8)
    same[:, label_at] = rows[:, label_at] < 128
    if not same.all():
        return None
    return np.ascontiguousarray(rows[:, len(head) :]).view("<f4").astype(np.float32, copy=False)


def _cut_out_images(serialized: Sequence[bytes]) -> Optional[list[bytes]]:
    """The images of records that hold nothing else; None if there is any other record."""
    heads = [unlabeled_head(len(record)) for record in serialized]
    if not all(map(bytes.startswith, serialized, heads)):
        return None
    return [record[len(head) :] for record, head in zip(serialized, heads)]


@functools.cache
def _parser(feature: _Feature) -> Any:
    spec = {feature.name: tf.io.FixedLenFeature([feature.length], feature.dtype)}
    return tf.function(
        lambda serialized: tf.io.parse_example(serialized, spec)[feature.name],
        input_signature=[tf.TensorSpec([None], tf.string)],
    )


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
