"""How many pictures show nothing: every pixel of them has one colour. Looked for when a training fails."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from data.images import decoding
from data.records.examples import IMAGE

MOST = 256  # pictures that are looked at, of all files alike


def count(files: Sequence[str]) -> tuple[int, int]:
    """(pictures looked at, those of one colour) among the first of each file; what cannot be read is passed over."""
    each = -(-MOST // max(len(files), 1))
    records = tf.data.Dataset.from_tensor_slices(list(files)[:MOST]).flat_map(
        lambda path: tf.data.TFRecordDataset(path).take(each).ignore_errors()
    )

    def has_one_colour(example: tf.Tensor) -> tf.Tensor:
        features = tf.io.parse_single_example(example, {IMAGE: tf.io.FixedLenFeature([], tf.string)})
        pixels = tf.reshape(decoding.decode(features[IMAGE]), [-1, 3])
        return tf.reduce_all(pixels == pixels[:1])

    found = [bool(answer) for answer in records.map(has_one_colour).ignore_errors().take(MOST)]
    return len(found), sum(found)
