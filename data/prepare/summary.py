"""What `prepare` says of a person's own pictures: classes with counts, and by class and reason whatever is left out or odd."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from data.images.files import HARDLY_SEEN
from data.prepare.duplicates import DUPLICATES, Row
from data.prepare.image_shards import LEFT_OUT, NOTED, UNREADABLE, Split
from data.prepare.listing import shown
from runtime.text import padded, width

MAX_REASONS = 20
_SEEN = {
    "crop": "a network sees only their middle: --fit=pad or --fit=stretch shows them whole",
    "pad": "--fit=pad shows them whole, between grey",
    "stretch": "--fit=stretch shows them whole, distorted",
}


class Splits(NamedTuple):
    """What was written."""

    train: Split
    test: Split
    unlabeled: Split


def lines(data_dir: str, classes: Sequence[str], splits: Splits, copies: Sequence[Row], fit: str) -> list[str]:
    """The classes as a table, then whatever was left out or is odd."""
    unreadable = [line for split in splits for line in split.unreadable]
    noted = [line for split in splits for line in split.noted]
    left_out = [copy for copy in copies if copy.became.startswith(LEFT_OUT)]
    lost = Counter(label for _, _, label in unreadable) + Counter(copy.label for copy in left_out)
    said = table(classes, splits, lost)
    written = sum(split.num_images for split in splits)
    if unreadable:
        listed = os.path.join(data_dir, UNREADABLE)
        total = written + len(unreadable) + len(left_out)
        said.append(
            f"{len(unreadable):,} of {total:,} files could not be used and were left out; {listed} says which and why"
        )
        said += _by_reason(classes, unreadable)
    if copies:
        listed = os.path.join(data_dir, DUPLICATES)
        said.append(
            f"{len(copies):,} pictures are there more than once, {len(left_out):,} of them were left out; {listed} says which"
        )
        said += _by_reason(classes, [(copy.picture, copy.became, copy.label) for copy in copies])
    if noted:
        listed = os.path.join(data_dir, NOTED)
        said.append(f"{len(noted):,} pictures are odd and used all the same, so look at them; {listed} says which")
        said += _by_reason(classes, noted)
        if any(HARDLY_SEEN in remark for _, remark, _ in noted):
            said.append(
                f"  {HARDLY_SEEN}? Pictures of 16 bits that use few of them look so: scale them to 8 bits first"
            )
    elongated = sum(split.elongated for split in splits)
    if elongated:
        said.append(f"{elongated:,} of {written:,} pictures are longer than 2:1; {_SEEN[fit]}")
    return said


def table(classes: Sequence[str], splits: Splits, lost: Mapping[int, int]) -> list[str]:
    """A row a class, and one for what is unlabeled: images written of each split, and those `lost`, by label (0: unlabeled)."""
    train, test = splits.train.labels, splits.test.labels
    rows = [["class", "labeled", "test", "left out"]]
    rows += [
        [shown(name), f"{train[label]:,}", f"{test[label]:,}", f"{lost.get(label, 0):,}"]
        for label, name in enumerate(classes, start=1)
    ]
    rows.append(["(unlabeled)", f"{splits.unlabeled.num_images:,}", "", f"{lost.get(0, 0):,}"])
    kept = [0, 1, *([2] if splits.test.num_images else []), *([3] if sum(lost.values()) else [])]
    rows = [[row[column] for column in kept] for row in rows]
    widths = [max(map(width, column)) for column in zip(*rows)]
    said = []
    for name, *numbers in rows:
        cells = [cell.rjust(columns) for cell, columns in zip(numbers, widths[1:])]
        said.append("  ".join([padded(name, widths[0]), *cells]).rstrip())
    return said


def commonest(unreadable: Iterable[Sequence]) -> str:
    """The reason that most of these have, and how many; "" for none."""
    found = Counter(reason for _, reason, _ in unreadable).most_common(1)
    return f"{found[0][1]:,} x {found[0][0]}" if found else ""


def counted(names: Mapping[str, int]) -> str:
    """Names with how often each is there, the most frequent ones first."""
    found = sorted(names.items(), key=lambda each: (-each[1], each[0]))
    named = [f"{count:,} x {shown(name)}" for name, count in found[:MAX_REASONS]]
    return ", ".join(named) + (", ..." if len(found) > len(named) else "")


def _by_reason(classes: Sequence[str], found: Iterable[Sequence]) -> list[str]:
    """A line for each split, class and reason of (path, reason, label); reasons that differ in numbers are one."""
    groups: dict[tuple[str, str], list[str]] = {}
    for path, reason, label in found:
        place = path.split("/")[0] + (f"/{shown(classes[label - 1])}" if label else "")
        groups.setdefault((place, re.sub(r"\d[\d,]*", "#", reason)), []).append(reason)
    ordered = sorted(groups.items(), key=lambda group: (group[0][0], -len(group[1]), group[0][1]))
    said = [f"  {place}: {len(reasons):,} x {reasons[0]}" for (place, _), reasons in ordered[:MAX_REASONS]]
    return said + (
        [f"  ... and {len(ordered) - len(said):,} more reasons and classes"] if len(ordered) > len(said) else []
    )
