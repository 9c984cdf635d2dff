"""Shards of TFRecords: found, written whole or not at all, read with errors that name file and record."""

from __future__ import annotations

import contextlib
import fnmatch
import itertools
import os
import struct
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from runtime import places
from runtime.errors import UserError
from runtime.files import is_temporary, matching, whole_file, write_faults

_SHARD_NAME = r".+-\d{5}-of-\d{5}(-\d{5})?"


def find_shards(directories: str, pattern: str, flag: str) -> list[str]:
    """Sorted files whose names match `pattern` in any of the `;`-separated directories.

    Args:
      directories: taken as they are, whatever signs they have.
      pattern: of a name, with `?`, `*` and `[0-9]`; what a user typed must be escaped in it (`glob.escape`).
      flag: the flag that gave the directories, for messages.

    Raises:
      UserError: a directory matches nothing (says which pattern, and the flag to change).
    """
    found: list[str] = []
    for directory in directories.split(";"):
        matches = [path for path in matching(directory, fnmatch.translate(pattern)) if not is_temporary(path)]
        if not matches:
            raise UserError(f"--{flag}: no file matches {os.path.join(directory, pattern)}")
        found += matches
    return found


def contents_of(directories: str) -> str:
    """A digest of all shards in the `;`-separated directories, by which they are known again elsewhere; "" for no local ones."""
    try:
        found = [path for directory in directories.split(";") for path in matching(directory, _SHARD_NAME)]
        return places.contents([path for path in found if not is_temporary(path)])
    except OSError:
        return ""


@contextlib.contextmanager
def shard_writer(path: str, flag: str) -> Iterator[Callable[[bytes], None]]:
    """Yields a function that appends a record to the shard `path`, which appears only when whole.

    Raises:
      UserError: it cannot be written. What the block itself raises passes unchanged.
    """
    with write_faults(path, flag):
        tf.io.gfile.makedirs(os.path.dirname(path))
    with whole_file(path) as temporary:
        with write_faults(path, flag):
            writer = tf.io.TFRecordWriter(temporary)

        def append(example: bytes) -> None:
            with write_faults(path, flag):
                writer.write(example)

        try:
            yield append
        except BaseException:
            with contextlib.suppress(tf.errors.OpError):
                writer.close()
            raise
        with write_faults(path, flag):
            writer.close()


def write_shard(path: str, examples: Iterable[bytes]) -> int:
    """Writes serialised examples as the shard `path`, which appears only when whole; returns their number."""
    tf.io.gfile.makedirs(os.path.dirname(path))
    number = 0
    with whole_file(path) as temporary, tf.io.TFRecordWriter(temporary) as writer:
        for example in examples:
            writer.write(example)
            number += 1
    return number


def read_shard(path: str) -> Iterator[bytes]:
    """Yields the serialised examples of one shard.

    Raises:
      UserError: truncated or corrupt, with file, record number and byte offset.
    """
    iterator = tf.data.TFRecordDataset(path).as_numpy_iterator()
    number = offset = 0
    while True:
        try:
            record = next(iterator)
        except StopIteration:
            return
        except tf.errors.DataLossError as error:
            raise corrupt_record(path, number, offset) from error
        yield record
        offset += len(record) + 16
        number += 1


def corrupt_record(path: str, number: int, offset: int) -> UserError:
    """The error for a record that cannot be read."""
    return UserError(
        f"{path}: record {number} at byte {offset} is truncated or corrupt; "
        "write the file again, or pass --skip_corrupt_records to leave such records out"
    )


def count_records(path: str) -> int:
    """Number of records of a shard.

    Raises:
      UserError: truncated, with record number and byte offset.
    """
    return sum(1 for _ in offsets(path))


def offset_of(path: str, number: int) -> int:
    """Byte at which record `number` starts; the records before it must be whole."""
    return next(itertools.islice(offsets(path), number - 1, None)) if number else 0


def offsets(path: str) -> Iterator[int]:
    """Bytes at which the records end, from the length fields alone (no payload is read).

    Raises:
      UserError: truncated, with record number and byte offset.
    """
    size = tf.io.gfile.stat(path).length
    count = offset = 0
    with tf.io.gfile.GFile(path, "rb") as file:
        while offset < size:
            file.seek(offset)
            header = file.read(8)
            length = struct.unpack("<Q", header)[0] if len(header) == 8 else size
            if offset + length + 16 > size:
                raise corrupt_record(path, count, offset)
            offset += length + 16
            count += 1
            yield offset
