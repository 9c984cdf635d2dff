"""Reads prediction shards whose records all have one size as a NumPy array: frames, checksums and floats of many at once.

A TFRecord frame is: length (uint64), checksum, payload, checksum. The checksums are CRC-32C, rotated and shifted. A CRC is
linear: if two records of one size differ in some bytes, their CRCs differ by the XOR of one value for each of these bytes, and
the value depends on the byte and its place alone. Prediction records differ only in a label and their floats, so one table
lookup for each of these bytes checks a record, and a batch of records is checked at once.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from data.records.examples import prediction_example

# Longer rows are checked faster by TensorFlow's reader, whose cost is in the number of records.
MAX_CLASSES = 128
HEADER, FOOTER = 12, 4
_POLYNOMIAL = 0x82F63B78  # CRC-32C, bits reversed
_MASK_DELTA = 0xA282EAD8
# An int64 list that holds one 0: field 1, one byte, 0.
_PACKED_ZERO = b"\n\x01\x00"


class Layout(NamedTuple):
    """How a prediction record looks whose label takes one byte.

    Attributes:
      head: what stands before the floats, for label 0.
      label_at: where in it the label stands.
    """

    head: bytes
    label_at: int


@functools.cache
def prediction_layout(num_classes: int) -> Layout:
    """The layout of `records.prediction_example` of so many classes."""
    label_0 = np.zeros(num_classes, np.float32)
    record = prediction_example(label_0)
    head = record[: len(record) - label_0.nbytes]
    return Layout(head, head.index(_PACKED_ZERO) + len(_PACKED_ZERO) - 1)


def framed_rows(path: str, size: int, num_classes: int) -> Iterator[np.ndarray]:
    """Yields float32 [size, C] from the start of a shard, the last one maybe shorter, and stops where a batch is unusual.

    Unusual is whatever is not, byte for byte, what `records.prediction_example` writes, in whole frames whose checksums are
    right; also a file that cannot be read. What it is, and whether it is an error, is left to a reader that knows more.
    """
    if num_classes > MAX_CLASSES:
        return
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            while content := file.read(size * _frames(num_classes).size):
                rows = _rows(content, num_classes)
                if rows is None:
                    return
                yield rows
    except (tf.errors.OpError, OSError):
        return


def frame_size(num_classes: int) -> int:
    """Bytes of a record and its frame."""
    return _frames(num_classes).size


class _Frames(NamedTuple):
    """What `_rows` compares with.

    Attributes:
      size: bytes of a frame.
      start: uint8 [s], what stands before the floats: header of the frame and head of the record.
      label_at: where in `start` the label stands.
      checksum: CRC of the record whose label and floats are 0.
      changes: uint32 [1 + 4 C, 256], what each value of the label's byte and the floats' bytes changes in the CRC.
    """

    size: int
    start: np.ndarray
    label_at: int
    checksum: int
    changes: np.ndarray


@functools.cache
def _frames(num_classes: int) -> _Frames:
    layout = prediction_layout(num_classes)
    zeros = layout.head + bytes(4 * num_classes)
    length = struct.pack("<Q", len(zeros))
    start = length + _masked(np.array([_crc(length)], "<u4")).tobytes() + layout.head
    changes = _changes(len(zeros))
    varying = [layout.label_at, *range(len(layout.head), len(zeros))]
    return _Frames(
        HEADER + len(zeros) + FOOTER,
        np.frombuffer(start, np.uint8),
        HEADER + layout.label_at,
        _crc(zeros),
        changes[varying],
    )


def _rows(content: bytes, num_classes: int) -> Optional[np.ndarray]:
    """The floats of whole frames, or None where anything is unusual."""
    frames = _frames(num_classes)
    if len(content) % frames.size:
        return None
    table = np.frombuffer(content, np.uint8).reshape(-1, frames.size)
    labels = table[:, frames.label_at]
    same = table[:, : len(frames.start)] == frames.start
    same[:, frames.label_at] = labels < 128
    if not same.all():
        return None
    floats = np.ascontiguousarray(table[:, len(frames.start) : -FOOTER])
    found = np.bitwise_xor.reduce(_look_up(frames.changes[1:], floats), axis=1)
    crc = found ^ frames.changes[0][labels] ^ np.uint32(frames.checksum)
    if not np.array_equal(_masked(crc), np.ascontiguousarray(table[:, -FOOTER:]).view("<u4")[:, 0]):
        return None
    return floats.view("<f4").astype(np.float32, copy=False)


def _look_up(tables: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """[n, m] values of uint8 [n, m], each column in its own row of `tables` [m, 256]."""
    places = columns.astype(np.int32)
    places += np.arange(len(tables), dtype=np.int32) << 8
    return tables.ravel().take(places)


@functools.cache
def _of_byte() -> np.ndarray:
    """uint32 [256]: the remainder of every byte."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, crc >> 1 ^ np.uint32(_POLYNOMIAL), crc >> 1)
    return crc


def _changes(length: int) -> np.ndarray:
    """uint32 [length, 256]: what each byte at each place of `length` bytes adds to the remainder."""
    changes = np.zeros((length, 256), np.uint32)
    crc = _of_byte()
    for place in reversed(range(length)):
        changes[place] = crc
        crc = _of_byte()[crc & 255] ^ crc >> 8
    return changes


def _crc(content: bytes) -> int:
    crc, table = 0xFFFFFFFF, _of_byte().tolist()
    for byte in content:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _masked(crc: np.ndarray) -> np.ndarray:
    """uint32 [n] as they stand in the file."""
    return (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(_MASK_DELTA)
