"""Which records of a shard cannot be read: asked for by --skip_corrupt_records, and after a stream has failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from data.images import decoding
from data.records.examples import IMAGE
from runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """One shard's unreadable records.

    Attributes:
      path: the shard.
      images: numbers of the records whose image cannot be decoded.
      cut_at: number of the record at which the file itself cannot be read on; None where it can be read to its end.
    """

    path: str
    images: tuple[int, ...]
    cut_at: Optional[int]

    def first(self) -> int:
        """The first record that cannot be read."""
        return min([*self.images, *([] if self.cut_at is None else [self.cut_at])])


def scan(files: list[str]) -> list[Unreadable]:
    """Reads every record and decodes every image; returns the shards that hold unreadable ones.

    Raises:
      UserError: a file is gone.
    """
    return [found for found in map(_scan_file, files) if found.images or found.cut_at is not None]


def _scan_file(path: str) -> Unreadable:
    if not tf.io.gfile.exists(path):
        raise UserError(f"{path}: the file is gone; put it back and run the same command again")

    def decode(number: tf.Tensor, example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = tf.io.parse_single_example(example, {IMAGE: tf.io.FixedLenFeature([], tf.string)})
        return number, tf.shape(decoding.decode(features[IMAGE]))

    intact = tf.data.TFRecordDataset(path).ignore_errors()
    decoded = intact.enumerate().map(decode, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    readable = {int(number) for number, _ in decoded.as_numpy_iterator()}
    total = int(intact.reduce(tf.constant(0, tf.int64), lambda count, _: count + 1))
    try:
        for _ in tf.data.TFRecordDataset(path).skip(total):
            pass
        cut_at = None
    except tf.errors.DataLossError:
        cut_at = total
    return Unreadable(path, tuple(sorted(set(range(total)) - readable)), cut_at)


def cuts(found: Sequence[Unreadable]) -> dict[str, int]:
    """Of each file that cannot be read to its end: the number of the record there."""
    return {shard.path: shard.cut_at for shard in found if shard.cut_at is not None}


def describe(found: list[Unreadable]) -> str:
    """One line: how many records are left out, and where the first is."""
    images = sum(len(shard.images) for shard in found)
    cut = sum(shard.cut_at is not None for shard in found)
    parts = [f"{images} images that cannot be decoded"] if images else []
    parts += [f"the rest of {cut} corrupt shard{'s' if cut > 1 else ''}"] if cut else []
    return f"--skip_corrupt_records leaves out {' and '.join(parts)}, the first in {found[0].path}: record {found[0].first()}"
