"""The names of the files that images came from."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from data.records.batches import parse_images
from data.records.encoding import filtered_examples
from data.records.examples import (
    filtered_example,
    image_of,
    labeled_example,
    name_of,
    unlabeled_example,
)

IMAGES = st.binary(max_size=300)
NAMES = st.one_of(
    st.binary(min_size=1, max_size=60), st.integers(90, 140).map(lambda length: b"x" * length), st.just(b"y" * 4000)
)


@given(IMAGES, NAMES)
def test_a_record_holds_the_name_of_its_file(image, name):
    for record in (unlabeled_example(image, name), labeled_example(image, 3, name)):
        assert (image_of(record), name_of(record)) == (image, name)
    assert unlabeled_example(image, b"") == unlabeled_example(image)
    assert name_of(unlabeled_example(image)) == name_of(labeled_example(image, 3)) == b""


@given(
    st.lists(st.tuples(IMAGES, st.one_of(st.just(b""), NAMES)), min_size=1, max_size=4),
    st.sampled_from(["plain", "labeled"]),
)
def test_names_are_read_with_their_images_and_written_with_their_labels(pictures, kind):
    make = unlabeled_example if kind == "plain" else lambda image, name: labeled_example(image, 1, name)
    images, names = parse_images("shard", [make(image, name) for image, name in pictures], range(len(pictures)))
    assert images == [image for image, _ in pictures]
    assert (names or [b""] * len(images)) == [name for _, name in pictures]
    rows = np.random.default_rng(0).random((len(images), 5), np.float32)
    found = filtered_examples(images, rows, names)
    for record, (image, name), row in zip(found, pictures, rows):
        expected = filtered_example(image, row, name=name)
        assert tf.train.Example.FromString(record) == tf.train.Example.FromString(expected)
