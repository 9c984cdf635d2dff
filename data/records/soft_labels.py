"""Sparse soft labels: the K most probable classes as they are, and the rest of the probability spread evenly over the others.

They are one string of 6 K bytes, little endian: the classes as uint16, most probable first, then their probabilities as
float32. With 1000 classes and K = 3 a prediction takes 49 bytes on disk instead of 4 KB. Where the first probability is zero
the label is that of a record left out: zero for every class.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

CLASS_BYTES = 2
BYTES = CLASS_BYTES + 4  # of one kept class


def keep_top(probabilities: np.ndarray, count: int) -> bytes:
    """The sparse form of float32 [C] with `count` of its classes; the first of equals comes first."""
    classes = np.argsort(-probabilities, kind="stable")[:count]
    return classes.astype("<u2").tobytes() + probabilities[classes].astype("<f4").tobytes()


def split(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes int64 [n, K] and probabilities float32 [n, K], most probable first, of n sparse labels, uint8 [n, 6 K]."""
    kept = rows.shape[1] // BYTES
    classes = np.ascontiguousarray(rows[:, : CLASS_BYTES * kept]).view("<u2")
    probabilities = np.ascontiguousarray(rows[:, CLASS_BYTES * kept :]).view("<f4")
    return classes.astype(np.int64), probabilities.astype(np.float32)


def best(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most probable class and its probability, [n] each, of dense labels, float32 [n, C], or sparse ones, uint8 [n, 6 K]."""
    if rows.dtype == np.uint8:
        classes, probabilities = split(rows)
        return classes[:, 0], probabilities[:, 0]
    return np.argmax(rows, axis=1), np.max(rows, axis=1)


def spread(rows: np.ndarray, num_classes: int) -> np.ndarray:
    """Soft labels float32 [n, C] of n sparse ones, uint8 [n, 6 K]; a class outside `num_classes` raises IndexError."""
    classes, probabilities = split(rows)
    rest = np.maximum(0.0, 1.0 - probabilities.sum(axis=1)) / max(1, num_classes - classes.shape[1])
    rest *= probabilities[:, 0] > 0
    dense = np.repeat(rest.astype(np.float32)[:, np.newaxis], num_classes, axis=1)
    np.put_along_axis(dense, classes, probabilities, axis=1)
    return dense


def spread_tensor(sparse: tf.Tensor, num_classes: int) -> tf.Tensor:
    """`spread` of one sparse label, a string scalar, inside a stream: float32 [C]. Its classes must be in range."""
    classes, probabilities = _split_tensor(sparse)
    others = tf.maximum(1, num_classes - tf.size(classes))
    rest = tf.maximum(0.0, 1.0 - tf.reduce_sum(probabilities)) / tf.cast(others, tf.float32)
    return tf.tensor_scatter_nd_update(tf.fill([num_classes], rest), classes[:, tf.newaxis], probabilities)


def in_range(sparse: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Whether a string scalar is a sparse label of at most `num_classes` classes: bool scalar."""
    whole = tf.strings.length(sparse) % BYTES == 0
    return whole & tf.reduce_all(_split_tensor(tf.where(whole, sparse, ""))[0] < num_classes)


def _split_tensor(sparse: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    length = tf.strings.length(sparse)
    border = length // BYTES * CLASS_BYTES
    classes = tf.io.decode_raw(tf.strings.substr(sparse, 0, border), tf.uint16)
    return tf.cast(classes, tf.int32), tf.io.decode_raw(tf.strings.substr(sparse, border, length), tf.float32)
