"""Filtered records by the thousand: the bytes of `records.filtered_example` without a protocol message for each."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from data import records

# Field numbers of `tf.train.Feature`.
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3


def filtered_examples(encoded: Sequence[bytes], probabilities: np.ndarray) -> list[bytes]:
    """`records.filtered_example` of every image, byte for byte.

    Args:
      encoded: n images.
      probabilities: float32 [n, C].
    """
    width = 4 * probabilities.shape[1]
    labels = np.argmax(probabilities, axis=1)
    confidences = np.take_along_axis(probabilities, labels[:, None], axis=1).astype("<f4").tobytes()
    floats = probabilities.astype("<f4").tobytes()
    before_confidence = [
        _label_entry(label) + _entry_head(records.CONFIDENCE, _FLOAT_LIST, 4) for label in range(width // 4)
    ]
    before_probabilities = _entry_head(records.PROBABILITIES, _FLOAT_LIST, width)
    examples = []
    for row, (image, label) in enumerate(zip(encoded, labels.tolist())):
        middle = before_confidence[label]
        # The fields stand in the order of their names, as in a deterministic serialisation.
        examples.append(
            _example_head(len(image), len(middle) + 4 + len(before_probabilities) + width)
            + image
            + middle
            + confidences[4 * row : 4 * row + 4]
            + before_probabilities
            + floats[width * row : width * (row + 1)]
        )
    return examples


@functools.lru_cache(maxsize=1 << 16)
def _example_head(image_length: int, rest_length: int) -> bytes:
    entry = _entry_head(records.IMAGE, _BYTES_LIST, image_length)
    return _head(1, len(entry) + image_length + rest_length) + entry


def _label_entry(label: int) -> bytes:
    value = _varint(label)
    return _entry_head(records.LABEL, _INT64_LIST, len(value)) + value


@functools.lru_cache(maxsize=1 << 16)
def _entry_head(key: str, kind: int, length: int) -> bytes:
    """All that stands before the `length` bytes of a feature's values, from the map entry down to the list."""
    name = key.encode()
    head = _head(1, length)
    head = _head(kind, len(head) + length) + head
    head = _head(1, len(name)) + name + _head(2, len(head) + length) + head
    return _head(1, len(head) + length) + head


def _head(field: int, length: int) -> bytes:
    """Tag and length of a length-delimited protobuf field."""
    return bytes((field << 3 | 2,)) + _varint(length)


def _varint(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes((*digits, value))
