"""The pictures of the task's test split, for the corruptions and the attacks: read in order, as whole bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from data.config import SplitConfig
from data.images import decoding
from data.streams import faults
from data.streams.parsing import parse_labeled
from data.streams.reading import count_records, parallel_map, parallel_options, read_records, unreadable_records
from evaluation.robustness.own_pictures import Labeled
from evaluation.run import split_files
from runtime.errors import UserError


class TestSplit:
    """The pictures of a split.

    Args:
      data: which.

    Attributes:
      files: its shards.
      num_pictures: how many there are.

    Raises:
      UserError: no shard, or none with a picture.
    """

    __test__ = False  # it is no test

    def __init__(self, data: SplitConfig):
        self._data = data
        self.files = split_files(data)
        self._skipped = unreadable_records(self.files, data.skip_corrupt_records)
        count = count_records(self.files, self._skipped) - sum(len(shard.images) for shard in self._skipped)
        self.num_pictures = min(count, data.num_images or count)
        if not self.num_pictures:
            raise UserError(
                f"--eval_split: the shards of {data.split!r} hold no image, from {self.files[0]} on; prepare the data again"
            )

    def pictures(self, positions: Sequence[int], size: int, small: bool) -> Iterator[Labeled]:
        """Some of the pictures, in order, as the network's evaluation crops and resizes them, rounded to bytes.

        Args:
          positions: which, rising.
          size: pixels of a side.
          small: pictures enter as they are stored (`evaluation_image`).

        Returns:
          of each picture, uint8 [1, size, size, 3].

        Raises:
          UserError: a record that cannot be read.
        """
        try:
            for element in self._stream(positions, size, small).as_numpy_iterator():
                images = np.clip(np.rint(element["image"]), 0, 255).astype(np.uint8)[np.newaxis]
                yield Labeled(int(element["position"]), int(element["label"]), images)
        except tf.errors.OpError as error:
            raise faults.explain(error, self.files) from error

    def _stream(self, positions: Sequence[int], size: int, small: bool) -> tf.data.Dataset:
        task = self._data.task
        wanted = np.zeros(self.num_pictures, bool)
        wanted[list(positions)] = True
        chosen = tf.constant(wanted)

        def prepare(position: tf.Tensor, record: faults.Record) -> dict[str, tf.Tensor]:
            features = parse_labeled(record, task.num_classes)
            image = decoding.evaluation_image(features["encoded"], size, small, task.fit)
            return {"position": position, "image": image, "label": features["label"]}

        records = read_records(tf.data.Dataset.from_tensor_slices(self.files), self._skipped)
        records = records.take(self.num_pictures).enumerate().filter(lambda position, _: chosen[position])
        return parallel_map(records, prepare).prefetch(8).with_options(parallel_options())
