"""Labeled records drawn evenly by class, where a set has many of one class and few of another.

In a pass over the files each record of the rarest class comes up to `COPIES` times, each of another class in proportion less
often: in one of several passes where that is below one. So each class has as many records in a pass, copies of one record stay
few enough for a shuffle to part them, and nothing is held in memory. Which records come follows from the seed and their order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from data.records.examples import CLASS_LABEL

COPIES = 8  # of a record of the rarest class in one pass


def expected_copies(counts: Sequence[int]) -> np.ndarray:
    """How often a record of each class comes in one pass, float64 [C]; 0 for classes without any."""
    numbers = np.asarray(counts, np.float64)
    filled = numbers > 0
    rarest, commonest = numbers[filled].min(), numbers.max()
    # As few passes' worth as let each record of the commonest class come once, if that is not too many copies of the rarest.
    return np.divide(min(COPIES * rarest, commonest), numbers, out=np.zeros_like(numbers), where=filled)


def read_for_one(counts: Sequence[int]) -> float:
    """Records that are read for one that is drawn."""
    return float(sum(counts) / (expected_copies(counts) @ np.asarray(counts)))


def evened(records: tf.data.Dataset, counts: Sequence[int], seed: tf.Tensor) -> tf.data.Dataset:
    """One pass over labeled records (see `reading.read_records`) in which every class comes equally often.

    Args:
      records: labels beyond the classes are left to whoever parses the records.
      counts: records of each class.
      seed: int64 []; of a pass.
    """
    expected = tf.constant(expected_copies(counts), tf.float64)
    # Of each class so many that their sum after any record is what is expected, rounded: a pass is even to within one record.
    starts = tf.random.stateless_uniform([len(counts)], tf.stack([seed, 0]), dtype=tf.float64)

    def count(
        so_far: tf.Tensor, record: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, dict[str, tf.Tensor]]]:
        features = tf.io.parse_single_example(
            record["example"], {CLASS_LABEL: tf.io.FixedLenFeature([], tf.int64, default_value=1)}
        )
        label = tf.clip_by_value(features[CLASS_LABEL] - 1, 0, len(counts) - 1)
        before, after = so_far[label], so_far[label] + expected[label]
        copies = tf.cast(tf.floor(after) - tf.floor(before), tf.int64)
        return tf.tensor_scatter_nd_update(so_far, [[label]], [after]), (copies, record)

    def repeated(copies: tf.Tensor, record: dict[str, tf.Tensor]) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors(record).repeat(copies)

    evened: tf.data.Dataset = records.scan(starts, count).flat_map(repeated)
    return evened
