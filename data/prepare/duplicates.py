"""Finds pictures that are there more than once, by their pixels, and decides what becomes of them.

A picture in two classes is left out of both, because nobody knows which is right. Test wins: a labeled or unlabeled picture that
is a test image too is left out, or accuracy would be that of pictures already seen. Other copies stay, and are listed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from data.images.files import Item
from data.prepare.image_shards import KEPT, LEFT_OUT, Equal
from runtime.files import write_text
from runtime.text import csv_text

DUPLICATES = "duplicates.csv"


class Copy(NamedTuple):
    """A picture that is there more than once.

    Attributes:
      item: the picture.
      of: another one with the same pixels.
      left_out: whether it is left out.
      why: in a few words, after `is`.
    """

    item: Item
    of: Item
    left_out: bool
    why: str


class Row(NamedTuple):
    """A picture that is there more than once, for people: its path, that of its equal, what became of it and why, its label."""

    picture: str
    equal_to: str
    became: str
    label: int


IN_TWO_CLASSES, A_TEST_IMAGE, A_LABELED_IMAGE, REPEATED = (
    "in two classes",
    "a test image, too",
    "a labeled image, too",
    "more than once in its class",
)


def find_contradictions(items: Iterable[Item], digests: Mapping[Item, bytes]) -> list[Copy]:
    """The pictures that are in more than one class, of training and test images together; they are left out."""
    copies = []
    for equal in _groups(items, digests):
        for item in equal:
            other = next((each for each in equal if each.label != item.label), None)
            if other is not None:
                copies.append(Copy(item, other, True, IN_TWO_CLASSES))
    return copies


def find_copies(train: Sequence[Item], test: Sequence[Item], digests: Mapping[Item, bytes]) -> list[Copy]:
    """The other pictures that are there more than once: what is a test image, too, is left out of the training images."""
    tested = set(test)
    copies = []
    for first, *others in _groups([*test, *train], digests):
        for item in others:
            seen_in_test = first in tested and item not in tested
            copies.append(Copy(item, first, seen_in_test, A_TEST_IMAGE if seen_in_test else REPEATED))
    return copies


def without_copies(items: Iterable[Item], digests: Mapping[Item, bytes]) -> list[Item]:
    """The first of equal pictures each, of those whose pixels are known."""
    found: dict[bytes, Item] = {}
    for item in items:
        if digests.get(item):
            found.setdefault(digests[item], item)
    return list(found.values())


def of_other_splits(
    train: Iterable[Item], test: Iterable[Item], digests: Mapping[Item, bytes], paths: Mapping[Item, str]
) -> dict[bytes, Equal]:
    """What unlabeled pictures are compared with: test images, whose equals are left out, and training images."""
    found: dict[bytes, Equal] = {}
    for items, became in ((test, f"{LEFT_OUT}: {A_TEST_IMAGE}"), (train, f"{KEPT}: {A_LABELED_IMAGE}")):
        for item in items:
            if digests.get(item):
                found.setdefault(digests[item], Equal(paths[item], became))
    return found


def rows_of(copies: Iterable[Copy], paths: Mapping[Item, str]) -> list[Row]:
    """The copies as people see them."""
    return [
        Row(paths[copy.item], paths[copy.of], f"{LEFT_OUT if copy.left_out else KEPT}: {copy.why}", copy.item.label)
        for copy in copies
    ]


def write_duplicates(data_dir: str, rows: Iterable[Row]) -> None:
    """Writes `duplicates.csv`: picture, equal_to, became."""
    text = csv_text([Row._fields[:3], *(row[:3] for row in sorted(rows))])
    write_text(os.path.join(data_dir, DUPLICATES), text)


def _groups(items: Iterable[Item], digests: Mapping[Item, bytes]) -> list[list[Item]]:
    """Equal pictures, two and more; a picture whose pixels are not known is equal to none."""
    found: dict[bytes, list[Item]] = {}
    for item in items:
        if digests.get(item):
            found.setdefault(digests[item], []).append(item)
    return [equal for equal in found.values() if len(equal) > 1]
