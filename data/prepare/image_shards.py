"""Writes image files into shards, with several processes, and continues an interrupted run shard by shard.

The part file of a shard, `prepare/<shard>.json` in the data_dir, says what went into it. A run that continues keeps every
shard that is whole and whose images are the same.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from data.images import files
from data.images.files import Item, Loaded, Rules
from data.prepare import listing, shards
from data.records.examples import labeled_example, shard_name, unlabeled_example
from data.records.shards import count_records, write_shard
from runtime.errors import UserError
from runtime.files import write_text
from runtime.progress import Progress, progress
from runtime.workers import Workers

PARTS = "prepare"
UNREADABLE = "unreadable.txt"
SERIAL_LIMIT = 64  # fewer images than this are read before a second process would have started


@dataclasses.dataclass
class Part:
    """What went into one shard.

    Attributes:
      digest: of the images asked for.
      records: images written.
      labels: {1-based label: images}.
      unreadable: [path below the source, reason] of every image left out.
      incomplete: an image was left out for a reason that may pass; another run tries again.
      mean, mean_square: sums over the images of their per-channel means / 255.
    """

    digest: str
    records: int = 0
    labels: Counter[int] = dataclasses.field(default_factory=Counter)
    unreadable: list[list[str]] = dataclasses.field(default_factory=list)
    incomplete: bool = False
    mean: list[float] = dataclasses.field(default_factory=lambda: [0.0] * 3)
    mean_square: list[float] = dataclasses.field(default_factory=lambda: [0.0] * 3)

    def add(self, item: Item, loaded: Loaded) -> None:
        """Counts an image that was written."""
        self.records += 1
        self.labels[item.label] += 1
        self.mean = [total + value for total, value in zip(self.mean, loaded.mean)]
        self.mean_square = [total + value for total, value in zip(self.mean_square, loaded.mean_square)]


@dataclasses.dataclass
class Split:
    """What one split became: {shard below the data_dir: records} and the shards' parts."""

    written: dict[str, int]
    parts: list[Part]

    @property
    def num_images(self) -> int:
        """Images written."""
        return sum(self.written.values())

    @property
    def labels(self) -> Counter[int]:
        """{1-based label: images}."""
        return sum((part.labels for part in self.parts), Counter())

    @property
    def unreadable(self) -> list[list[str]]:
        """[path, reason] of every image left out, sorted."""
        return sorted(line for part in self.parts for line in part.unreadable)


def write_images(
    data_dir: str,
    prefix: str,
    items: Sequence[Item],
    num_shards: int,
    rules: Rules,
    *,
    source_dir: str,
    num_processes: int = 0,
) -> Split:
    """Writes the images as `<prefix>-SSSSS-of-NNNNN` below `data_dir`; unusable ones are left out and noted.

    Args:
      data_dir, prefix: the task's folder; folder and name of the shards, e.g. `labeled/train`.
      items: the images; dealt out by `shards.spread`, a label of 0 makes an unlabeled record.
      num_shards: number of shards.
      rules: what becomes of an image.
      source_dir: the folder that the items' paths are shown and remembered relative to.
      num_processes: processes that decode; 0 for one a core.
    """
    written: dict[str, int] = {}
    parts = []
    load = functools.partial(files.load, rules=rules)
    with (
        progress(f"writing {prefix}", len(items), "images") as bar,
        Workers[Item, Loaded](load, 1 if len(items) < SERIAL_LIMIT else num_processes) as workers,
    ):
        for shard, shard_items in enumerate(shards.spread(items, num_shards)):
            name = shard_name(prefix, shard, num_shards)
            digest = _digest(shard_items, rules, source_dir)
            part = _finished(data_dir, name, digest)
            if part is None:
                part = Part(digest)
                examples = _examples(shard_items, workers, part, source_dir, bar)
                write_shard(os.path.join(data_dir, name), examples)
                write_text(_part_file(data_dir, name), json.dumps(vars(part)) + "\n")
            else:
                bar.update(len(shard_items))
            written[name] = part.records
            parts.append(part)
    return Split(written, parts)


def _examples(
    items: Sequence[Item], workers: Workers[Item, Loaded], part: Part, source_dir: str, bar: Progress
) -> Iterator[bytes]:
    for item, loaded in zip(items, workers.map(items)):
        bar.update(1)
        if loaded.problem:
            part.unreadable.append([_relative(item, source_dir), loaded.problem])
            part.incomplete |= loaded.may_pass
            continue
        part.add(item, loaded)
        if item.label:
            yield labeled_example(loaded.encoded, item.label)
        else:
            yield unlabeled_example(loaded.encoded)


def _relative(item: Item, source_dir: str) -> str:
    path = listing.shown(os.path.relpath(item.path, source_dir))
    return f"{path} at byte {item.offset}" if item.offset else path


def _digest(items: Sequence[Item], rules: Rules, source_dir: str) -> str:
    digest = hashlib.sha256(repr(rules).encode())
    for item in items:
        path = os.path.relpath(item.path, source_dir)
        digest.update(b"%s\0%d %d %d\n" % (os.fsencode(path), item.size, item.label, item.offset))
    return digest.hexdigest()


def _part_file(data_dir: str, name: str) -> str:
    return os.path.join(data_dir, PARTS, f"{name}.json")


def _finished(data_dir: str, name: str, digest: str) -> Optional[Part]:
    """The part of a shard that an earlier run finished with the same images; None where there is none."""
    path, shard = _part_file(data_dir, name), os.path.join(data_dir, name)
    if not (tf.io.gfile.exists(path) and tf.io.gfile.exists(shard)):
        return None
    with tf.io.gfile.GFile(path) as file:
        values: dict[str, Any] = json.loads(file.read())
    values["labels"] = Counter({int(label): count for label, count in values["labels"].items()})
    part = Part(**values)
    try:
        whole = count_records(shard) == part.records
    except UserError:
        whole = False
    return part if whole and part.digest == digest and not part.incomplete else None


def remove_others(data_dir: str, splits: Sequence[Split]) -> None:
    """Removes shards that an unfinished run wrote for images that have changed since: our own, by their part files."""
    current = {name for split in splits for name in split.written}
    root = os.path.join(data_dir, PARTS)
    for path in tf.io.gfile.glob(os.path.join(root, "*", "*.json")):
        name = os.path.relpath(path, root)[: -len(".json")]
        if name not in current:
            shard = os.path.join(data_dir, name)
            if tf.io.gfile.exists(shard):
                tf.io.gfile.remove(shard)
            tf.io.gfile.remove(path)


def write_unreadable(data_dir: str, splits: Sequence[Split]) -> int:
    """Writes `unreadable.txt`, a line `path<TAB>reason` for each image left out; returns their number."""
    lines = [f"{path}\t{reason}\n" for split in splits for path, reason in split.unreadable]
    write_text(os.path.join(data_dir, UNREADABLE), "".join(lines))
    return len(lines)


def mean_and_std(splits: Sequence[Split]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation per channel / 255 over all images, every image with the same weight.

    Images are seen at one size, whatever theirs is; so a large one counts no more than a small one. A channel that
    hardly varies gets the deviation 1/255, the smallest step that a pixel can make, because it is divided by.
    """
    count = sum(split.num_images for split in splits)
    parts = [part for split in splits for part in split.parts]
    mean = np.sum([part.mean for part in parts], axis=0) / count
    square = np.sum([part.mean_square for part in parts], axis=0) / count
    std = np.sqrt(np.maximum(square - mean**2, 1 / 255.0**2))
    return _rounded(mean), _rounded(std)


def _rounded(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 6) for value in values)
    return red, green, blue
