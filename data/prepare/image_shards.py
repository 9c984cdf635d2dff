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
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf

from data.images import files
from data.images.files import Item, Loaded, Rules
from data.prepare import listing, shards
from data.records.examples import labeled_example, shard_name, unlabeled_example
from data.records.shards import count_records, write_shard
from runtime.errors import UserError
from runtime.files import listed, matching, write_text
from runtime.progress import Progress, progress
from runtime.workers import Workers

PARTS = "prepare"
UNREADABLE, NOTED = "unreadable.txt", "noted.txt"
LONG = 2.0  # a picture longer than this to 1 is mostly outside the square that a network sees
LEFT_OUT, KEPT = "left out", "kept"
_PART_NAME = r".+-\d{5}-of-\d{5}\.json"
PATIENCE = 2.0  # seconds of work before other processes are started: hundreds of small images are done by then


@dataclasses.dataclass
class Part:
    """What went into one shard.

    Attributes:
      digest: of the images asked for.
      records: images written.
      labels: {1-based label: images}.
      unreadable: [path below the source, reason, label] of every image that cannot be used.
      noted: the same of every image that is used although something is odd about it.
      duplicates: [path, path of the equal picture, what became of it], of pictures that another split has, too.
      elongated: images longer than `LONG` to 1.
      incomplete: an image was left out for a reason that may pass; another run tries again.
      mean, mean_square: sums over the images of their per-channel means / 255.
    """

    digest: str
    records: int = 0
    labels: Counter[int] = dataclasses.field(default_factory=Counter)
    unreadable: list[list[Any]] = dataclasses.field(default_factory=list)
    noted: list[list[Any]] = dataclasses.field(default_factory=list)
    duplicates: list[list[str]] = dataclasses.field(default_factory=list)
    elongated: int = 0
    incomplete: bool = False
    mean: list[float] = dataclasses.field(default_factory=lambda: [0.0] * 3)
    mean_square: list[float] = dataclasses.field(default_factory=lambda: [0.0] * 3)

    def add(self, item: Item, loaded: Loaded) -> None:
        """Counts an image that was written."""
        self.records += 1
        self.labels[item.label] += 1
        self.elongated += loaded.elongation > LONG
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
    def unreadable(self) -> list[list[Any]]:
        """[path, reason, label] of every image that cannot be used, sorted."""
        return sorted(line for part in self.parts for line in part.unreadable)

    @property
    def noted(self) -> list[list[Any]]:
        """[path, remark, label] of every image that is used although something is odd about it, sorted."""
        return sorted(line for part in self.parts for line in part.noted)

    @property
    def duplicates(self) -> list[list[str]]:
        """[path, path of the equal picture, what became of it], sorted."""
        return sorted(line for part in self.parts for line in part.duplicates)

    @property
    def elongated(self) -> int:
        """Images longer than `LONG` to 1."""
        return sum(part.elongated for part in self.parts)


class Equal(NamedTuple):
    """A picture of another split that one may be equal to: its path, and what becomes of the equal one, `left out: ...` or
    `kept: ...`."""

    path: str
    became: str


def write_images(
    data_dir: str,
    prefix: str,
    items: Sequence[Item],
    num_shards: int,
    rules: Rules,
    *,
    source_dir: str,
    num_processes: int = 0,
    names: bool = False,
    others: Mapping[bytes, Equal] = MappingProxyType({}),
) -> Split:
    """Writes the images as `<prefix>-SSSSS-of-NNNNN` below `data_dir`; unusable ones are left out and noted.

    Args:
      data_dir, prefix: the task's folder; folder and name of the shards, e.g. `labeled/train`.
      items: the images; dealt out by `shards.spread`, a label of 0 makes an unlabeled record.
      num_shards: number of shards.
      rules: what becomes of an image.
      source_dir: the folder that the items' paths are shown and remembered relative to.
      num_processes: processes that decode; 0 for one a core.
      names: whether records keep the names of their files.
      others: pictures of other splits, by the digests of their pixels; needs `Rules.statistics`.
    """
    written: dict[str, int] = {}
    parts = []
    known = hashlib.sha256(repr((names, sorted(others.items()))).encode()).hexdigest()
    load = functools.partial(files.load, rules=rules)
    with (
        progress(f"writing {prefix}", len(items), "images") as bar,
        Workers[Item, Loaded](load, num_processes, PATIENCE) as workers,
    ):
        for shard, shard_items in enumerate(shards.spread(items, num_shards)):
            name = shard_name(prefix, shard, num_shards)
            digest = _digest(shard_items, rules, source_dir, known)
            part = _finished(data_dir, name, digest)
            if part is None:
                part = Part(digest)
                examples = _examples(shard_items, workers, part, source_dir, bar, names, others)
                write_shard(os.path.join(data_dir, name), examples)
                write_text(_part_file(data_dir, name), json.dumps(vars(part)) + "\n")
            else:
                bar.update(len(shard_items))
            written[name] = part.records
            parts.append(part)
    return Split(written, parts)


def _examples(
    items: Sequence[Item],
    workers: Workers[Item, Loaded],
    part: Part,
    source_dir: str,
    bar: Progress,
    names: bool,
    others: Mapping[bytes, Equal],
) -> Iterator[bytes]:
    for item, loaded in zip(items, workers.map(items)):
        bar.update(1)
        path = shown_path(item, source_dir)
        if loaded.problem:
            part.unreadable.append([path, loaded.problem, item.label])
            part.incomplete |= loaded.may_pass
            continue
        equal = others.get(loaded.digest)
        if equal:
            part.duplicates.append([path, equal.path, equal.became])
            if equal.became.startswith(LEFT_OUT):
                continue
        if loaded.remark:
            part.noted.append([path, loaded.remark, item.label])
        part.add(item, loaded)
        name = os.fsencode(os.path.relpath(item.path, source_dir)) if names else b""
        if item.label:
            yield labeled_example(loaded.encoded, item.label, name)
        else:
            yield unlabeled_example(loaded.encoded, name)


def look_at(items: Sequence[Item], rules: Rules, num_processes: int = 0) -> list[Loaded]:
    """What `files.load` says of each image, without its bytes."""
    look = functools.partial(_look, rules=dataclasses.replace(rules, store=False, statistics=True))
    with (
        progress("comparing pictures", len(items), "images") as bar,
        Workers[Item, Loaded](look, num_processes, PATIENCE) as workers,
    ):
        found = []
        for loaded in workers.map(items):
            found.append(loaded)
            bar.update(1)
        return found


def _look(item: Item, rules: Rules) -> Loaded:
    return files.load(item, rules)._replace(encoded=b"")


def shown_path(item: Item, source_dir: str) -> str:
    """The image's place below the source_dir, as one line of text."""
    path = listing.shown(os.path.relpath(item.path, source_dir))
    return f"{path} at byte {item.offset}" if item.offset else path


def _digest(items: Sequence[Item], rules: Rules, source_dir: str, known: str) -> str:
    digest = hashlib.sha256(f"{rules!r} {known}".encode())
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
    parts = [path for folder in listed(root) for path in matching(os.path.join(root, folder), _PART_NAME)]
    for path in parts:
        name = os.path.relpath(path, root)[: -len(".json")]
        if name not in current:
            shard = os.path.join(data_dir, name)
            if tf.io.gfile.exists(shard):
                tf.io.gfile.remove(shard)
            tf.io.gfile.remove(path)


def write_unreadable(data_dir: str, splits: Sequence[Split]) -> int:
    """Writes `unreadable.txt` and `noted.txt`, a line `path<TAB>reason` for each image that cannot be used, or is used although
    something is odd; returns the number of the former."""
    unreadable = [line for split in splits for line in split.unreadable]
    for name, found in ((UNREADABLE, unreadable), (NOTED, [line for split in splits for line in split.noted])):
        write_text(os.path.join(data_dir, name), "".join(f"{path}\t{reason}\n" for path, reason, _ in found))
    return len(unreadable)


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
