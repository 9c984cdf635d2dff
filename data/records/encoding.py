"""Filtered records by the thousand: what `examples.filtered_example` makes, joined from serialised parts.

Serialised `Features` may be joined: one after the other they are the Features that hold what each of them holds. So a record is
its image, its confidence, its soft label, and bytes between them that depend on the label and on lengths alone, which protobuf
serialises once for all records that have them. A message for each record would make balance less than half as fast.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from data.records import soft_labels
from data.records.examples import CONFIDENCE, FILENAME, IMAGE, LABEL, PROBABILITIES, TOP


def filtered_examples(encoded: Sequence[bytes], rows: np.ndarray, names: Sequence[bytes] = ()) -> list[bytes]:
    """Serialised examples equal to `examples.filtered_example` of every image, but for the order of their features.

    Args:
      encoded: n images.
      rows: their soft labels as they were predicted: float32 [n, C], or sparse, uint8 [n, 6 K].
      names: the names of their files, empty for an image that has none; or none at all.
    """
    before_soft_label = _before_soft_label(rows.dtype == np.uint8, rows[0].nbytes)
    labels, confidences = soft_labels.best(rows)
    examples = []
    for image, name, label, confidence, row in zip(
        encoded, names or [b""] * len(encoded), labels.tolist(), confidences, rows
    ):
        rest = _before_confidence(label) + confidence.tobytes() + before_soft_label + row.tobytes()
        if name:
            rest = _before_name(len(name)) + name + rest
        examples.append(_before_image(len(image), len(rest)) + image + rest)
    return examples


@functools.lru_cache(maxsize=1 << 16)
def _before_image(size: int, rest: int) -> bytes:
    """What a record begins with whose image takes `size` bytes, and what follows it `rest`."""
    image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(size)]))
    features = _serialized(IMAGE, image) + bytes(rest)
    # An Example holds its Features as a BytesList holds a string: field 1, its length, and so many bytes.
    example = tf.train.BytesList(value=[features]).SerializeToString()
    return example[: len(example) - size - rest]


@functools.lru_cache(maxsize=1 << 16)
def _before_name(size: int) -> bytes:
    """What stands between the image and the name of its file, of `size` bytes."""
    name = tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(size)]))
    return _serialized(FILENAME, name)[:-size]


@functools.lru_cache(maxsize=1 << 16)
def _before_confidence(label: int) -> bytes:
    """What stands between the image (or its name) and the four bytes of the confidence."""
    value = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    zero = tf.train.Feature(float_list=tf.train.FloatList(value=[0.0]))
    return _serialized(LABEL, value) + _serialized(CONFIDENCE, zero)[:-4]


@functools.lru_cache
def _before_soft_label(is_sparse: bool, size: int) -> bytes:
    """What stands between the confidence and the soft label's bytes, `size` of them."""
    if is_sparse:
        zeros = tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(size)]))
        return _serialized(TOP, zeros)[:-size]
    zeros = tf.train.Feature(float_list=tf.train.FloatList(value=[0.0] * (size // 4)))
    return _serialized(PROBABILITIES, zeros)[:-size]


def _serialized(name: str, feature: tf.train.Feature) -> bytes:
    return tf.train.Features(feature={name: feature}).SerializeToString()
