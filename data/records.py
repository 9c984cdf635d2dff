"""Every record's schema and every shard's file name, once (RELEASE section 7), and reading and writing whole shards.

Shards are GZIP-less TFRecords of `tf.train.Example`. A shard appears under its final name only when it is whole.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from data import soft_labels
from errors import UserError, reason

IMAGE = "image/encoded"
CLASS_LABEL = "image/class/label"
PROBABILITIES = "probabilities"
CLASSES = "classes"
LABEL = "label"
CONFIDENCE = "prob"
TOP = "top"

SHARD_PATTERN = "{prefix}-{shard:05d}-of-{num_shards:05d}"


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))


def _floats(values: np.ndarray) -> tf.train.Feature:
    # Its constructor would take each value for itself: 160 microseconds for 1,000 of them instead of 3. Serialised, the floats
    # of a FloatList are what a string of a BytesList is: field 1, its length, and so many bytes.
    packed = tf.train.BytesList(value=[np.asarray(values, "<f4").tobytes()])
    return tf.train.Feature(float_list=tf.train.FloatList.FromString(packed.SerializeToString()))


def _serialize(features: dict[str, tf.train.Feature]) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def labeled_example(encoded: bytes, label: int) -> bytes:
    """A labeled image; `label` is 1-based, as in the release."""
    return _serialize({IMAGE: _bytes(encoded), CLASS_LABEL: _int(label)})


def unlabeled_example(encoded: bytes) -> bytes:
    """An image without a label."""
    return _serialize({IMAGE: _bytes(encoded)})


def prediction_example(probabilities: np.ndarray, top_k: int = 0) -> bytes:
    """Soft label of one image, float32 [C], with its argmax beside it; or, with `top_k`, its sparse form alone."""
    if top_k:
        return _serialize({TOP: _bytes(soft_labels.keep_top(probabilities, top_k))})
    return _serialize({PROBABILITIES: _floats(probabilities), CLASSES: _int(int(np.argmax(probabilities)))})


def filtered_example(encoded: bytes, probabilities: np.ndarray, top_k: int = 0) -> bytes:
    """An image with its soft label (with `top_k` in its sparse form), the argmax (0-based) and its confidence."""
    label = int(np.argmax(probabilities))
    features = {IMAGE: _bytes(encoded), LABEL: _int(label), CONFIDENCE: _floats(probabilities[label : label + 1])}
    if top_k:
        features[TOP] = _bytes(soft_labels.keep_top(probabilities, top_k))
    else:
        features[PROBABILITIES] = _floats(probabilities)
    return _serialize(features)


def shard_name(prefix: str, shard: int, num_shards: int) -> str:
    """`train-00000-of-01024`: labeled and unlabeled input."""
    return SHARD_PATTERN.format(prefix=prefix, shard=shard, num_shards=num_shards)


def prediction_name(prefix: str, shard: int, num_shards: int, worker: int) -> str:
    """`train-info-00000-of-00128-00000`: predictions that worker `worker` made for one shard."""
    return f"{shard_name(prefix + '-info', shard, num_shards)}-{worker:05d}"


def prediction_count_name(shard: int, num_shards: int, worker: int) -> str:
    """`info-00000-of-00128-00000.txt`: JSON {"image_num": n} beside a prediction shard."""
    return f"{shard_name('info', shard, num_shards)}-{worker:05d}.txt"


def filtered_name(prefix: str, task: int, shard: int, num_shards: int) -> str:
    """`train-0-00000-of-00128`: filtered and balanced records."""
    return shard_name(f"{prefix}-{task}", shard, num_shards)


def find_shards(directories: str, pattern: str, flag: str) -> list[str]:
    """Sorted files that match `pattern` in any of the `;`-separated directories.

    Raises:
      UserError: a directory matches nothing (says which pattern, and the flag to change).
    """
    found: list[str] = []
    for directory in directories.split(";"):
        full = os.path.join(directory, pattern)
        matches = [path for path in tf.io.gfile.glob(full) if not is_temporary(path)]
        if not matches:
            raise UserError(f"--{flag}: no file matches {full}")
        found += sorted(matches)
    return found


def is_temporary(path: str) -> bool:
    """Whether `path` is a file that is still being written."""
    return ".writing-" in os.path.basename(path)


def remove_unfinished(folder: str) -> None:
    """Removes what a killed run left half written under `folder`, of which this process must be the only writer."""
    for path, _, names in tf.io.gfile.walk(folder):
        for name in filter(is_temporary, names):
            tf.io.gfile.remove(os.path.join(path, name))


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[str]:
    """Yields a temporary path beside `path` that is renamed to it on success and removed on failure."""
    temporary = f"{path}.writing-{uuid.uuid4().hex[:12]}"
    try:
        yield temporary
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except BaseException:
        with contextlib.suppress(tf.errors.OpError, OSError):
            tf.io.gfile.remove(temporary)
        raise


@contextlib.contextmanager
def writing(path: str, flag: str) -> Iterator[None]:
    """Turns what a filesystem says while `path`, of which `flag` gave the folder, is written into a UserError."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        raise UserError(
            f"--{flag}: cannot write {path}: {reason(error)}; make room or name another folder, and run the same command again"
        ) from error


@contextlib.contextmanager
def shard_writer(path: str, flag: str) -> Iterator[Callable[[bytes], None]]:
    """Yields a function that appends a record to the shard `path`, which appears only when whole.

    Raises:
      UserError: it cannot be written. What the block itself raises passes unchanged.
    """
    with writing(path, flag):
        tf.io.gfile.makedirs(os.path.dirname(path))
    with whole_file(path) as temporary:
        with writing(path, flag):
            writer = tf.io.TFRecordWriter(temporary)

        def append(example: bytes) -> None:
            with writing(path, flag):
                writer.write(example)

        try:
            yield append
        except BaseException:
            with contextlib.suppress(tf.errors.OpError):
                writer.close()
            raise
        with writing(path, flag):
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


def write_text(path: str, text: str) -> None:
    """Writes a text file that appears only when whole."""
    tf.io.gfile.makedirs(os.path.dirname(path))
    with whole_file(path) as temporary, tf.io.gfile.GFile(temporary, "w") as file:
        file.write(text)


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


def image_of(example: bytes) -> bytes:
    """The encoded image of any record of ours."""
    return tf.train.Example.FromString(example).features.feature[IMAGE].bytes_list.value[0]


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
