"""Encodes filtered records in bulk: the bytes of `examples.filtered_example`, without one protocol message for each record."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from data.records import soft_labels
from data.records.examples import CONFIDENCE, IMAGE, LABEL, PROBABILITIES, TOP, field_head, varint

# Field numbers of `tf.train.Feature`.
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3


def filtered_examples(encoded: Sequence[bytes], rows: np.ndarray) -> list[bytes]:
    """Serialised examples equal to `examples.filtered_example` of every image.

    Args:
      encoded: n images.
      rows: their soft labels as they were predicted: float32 [n, C], or sparse, uint8 [n, 6 K].
    """
    labels, confidences = soft_labels.best(rows)
    examples = [b""] * len(encoded)
    # Labels of equal varint length make entries of equal length, which NumPy lays out for all records at once.
    lengths = np.array([len(varint(label)) for label in range(1 + max(labels, default=0))])[labels]
    for length in np.unique(lengths).tolist():
        same = np.flatnonzero(lengths == length)
        tails = _tails(labels[same], confidences[same], rows[same])
        size, joined = tails.shape[1], tails.tobytes()
        for start, row in zip(range(0, len(joined), size), same.tolist()):
            image = encoded[row]
            examples[row] = _example_head(len(image), size) + image + joined[start : start + size]
    return examples


def _tails(labels: np.ndarray, confidences: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """uint8 [n, size]: what follows the image in each record, always in this order."""
    if rows.dtype == np.uint8:
        key, kind, values = TOP, _BYTES_LIST, rows
    else:
        key, kind, values = PROBABILITIES, _FLOAT_LIST, rows.astype("<f4").view(np.uint8)
    distinct, which = np.unique(labels, return_inverse=True)
    columns = (
        _as_rows([_label_entry(label) for label in distinct.tolist()])[which],
        _as_rows([_entry_head(CONFIDENCE, _FLOAT_LIST, 4)] * len(labels)),
        confidences.astype("<f4")[:, np.newaxis].view(np.uint8),
        _as_rows([_entry_head(key, kind, values.shape[1])] * len(labels)),
        values,
    )
    return np.concatenate(columns, axis=1)


def _as_rows(parts: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(parts), np.uint8).reshape(len(parts), -1)


@functools.lru_cache(maxsize=1 << 16)
def unlabeled_head(size: int) -> bytes:
    """What stands before the image in a record of `size` bytes that holds an image and nothing else.

    No record has some sizes (a length that takes another byte skips one): for them bytes that no record of that size starts with.
    """
    for image_length in range(size, -1, -1):
        head = _example_head(image_length, 0)
        if len(head) + image_length == size:
            return head
        if len(head) + image_length < size:
            break
    return bytes(size + 1)


@functools.lru_cache(maxsize=1 << 16)
def _example_head(image_length: int, rest_length: int) -> bytes:
    entry = _entry_head(IMAGE, _BYTES_LIST, image_length)
    return field_head(1, len(entry) + image_length + rest_length) + entry


def _label_entry(label: int) -> bytes:
    value = varint(label)
    return _entry_head(LABEL, _INT64_LIST, len(value)) + value


def _entry_head(key: str, kind: int, length: int) -> bytes:
    """All that stands before the `length` bytes of a feature's values, from the map entry down to the list."""
    name = key.encode()
    head = field_head(1, length)
    head = field_head(kind, len(head) + length) + head
    head = field_head(1, len(name)) + name + field_head(2, len(head) + length) + head
    return field_head(1, len(head) + length) + head
