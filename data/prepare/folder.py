"""`folder`: anyone's images, without a line of code.

source_dir/labeled/<class>/...   images with a known class; the folder's name is the class
source_dir/unlabeled/...         images without a class, in folders of any depth
source_dir/test/<class>/...      held-out images; optional

Classes are numbered in the order of their names. The content of a file decides its format; `data/images/files.py` says what
becomes of it. Images whose longer side exceeds 2,048 pixels are scaled down to that. What cannot be used is left out and listed
in `data_dir/unreadable.txt`. Without source_dir/test there is no test split, unless `num_test_images` takes some of the labeled
images. Mean and standard deviation are those of the training images, labeled and unlabeled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data.images.files import Item, Rules
from data.prepare import listing
from data.prepare.image_shards import UNREADABLE, Split, mean_and_std, remove_others, write_images, write_unreadable
from data.tasks import TASK_FILE, TASKS
from runtime.errors import UserError
from runtime.files import write_text

if TYPE_CHECKING:
    from data.prepare.config import PrepareConfig

SETTINGS = ("num_test_images", "num_shards", "seed")
LABELED, UNLABELED, TEST = "labeled", "unlabeled", "test"
IMAGES_PER_SHARD = 1024
MAX_LABELED_SHARDS = 128


class Plan(NamedTuple):
    """Which images become what, in the order in which they are written."""

    classes: list[str]
    train: list[Item]
    unlabeled: list[Item]
    test: list[Item]


def check(config: PrepareConfig) -> None:
    """Raises UserError where the source folder or the numbers do not fit, before anything is written."""
    plan(config)


def fingerprint(config: PrepareConfig) -> Any:
    """What tells this source folder's content from another's: names and sizes, not the images themselves."""
    digest = hashlib.sha256()
    for name in (LABELED, UNLABELED, TEST):
        folder = os.path.join(config.source_dir, name)
        if not os.path.isdir(folder):
            continue
        with listing.reading(folder):
            for item in listing.list_files(folder):
                digest.update(b"%s\0%d\n" % (os.fsencode(os.path.relpath(item.path, config.source_dir)), item.size))
    return digest.hexdigest()


def write(config: PrepareConfig) -> dict[str, int]:
    """Writes the records, task.json and unreadable.txt; returns {shard: records}."""
    planned = plan(config)
    rules = Rules(statistics=True)

    def split(prefix: str, items: list[Item], num_shards: int) -> Split:
        return write_images(
            config.data_dir,
            prefix,
            items,
            num_shards if items else 0,
            rules,
            source_dir=config.source_dir,
            num_processes=config.num_processes,
        )

    train = split("labeled/train", planned.train, _num_labeled_shards(planned.train))
    test = split("labeled/test", planned.test, _num_labeled_shards(planned.test))
    unlabeled = split("unlabeled/train", planned.unlabeled, config.num_shards)
    remove_others(config.data_dir, [train, test, unlabeled])
    left_out = write_unreadable(config.data_dir, [train, test, unlabeled])
    _check_written(config, planned, train, test)
    _write_task(config.data_dir, planned.classes, train, test, unlabeled)
    _say(config, planned, left_out)
    return {**train.written, **test.written, **unlabeled.written}


def _num_labeled_shards(items: list[Item]) -> int:
    return min(MAX_LABELED_SHARDS, -(-len(items) // IMAGES_PER_SHARD))


# --- planning -------------------------------------------------------------------------------------------------------


def plan(config: PrepareConfig) -> Plan:
    """Lists the source folder and decides what becomes of every file.

    Raises:
      UserError: a folder is missing, empty or no class folder; classes that clash; numbers that cannot be met.
    """
    _check_folders(config)
    labeled_dir, test_dir = (os.path.join(config.source_dir, name) for name in (LABELED, TEST))
    with listing.reading(config.source_dir):
        classes = listing.list_classes(labeled_dir, "source_dir")
        if len(classes) < 2:
            raise UserError(
                f"--source_dir: {labeled_dir} has {len(classes)} class folders, expected at least 2: one a class"
            )
        by_class = [_class_images(labeled_dir, name, label) for label, name in enumerate(classes, start=1)]
        unlabeled = listing.list_files(os.path.join(config.source_dir, UNLABELED))
        test = _test_images(test_dir, classes) if os.path.isdir(test_dir) else []
    classes = [listing.normal_form(name) for name in classes]
    if config.num_test_images:
        if test:
            raise UserError(
                f"--num_test_images: got {config.num_test_images}, but {test_dir} holds the test images already; leave "
                "the flag out, or move that folder away"
            )
        by_class, test = draw_test(by_class, config.num_test_images, config.seed)
    if unlabeled and not 1 <= config.num_shards <= len(unlabeled):
        raise UserError(
            f"--num_shards: {config.num_shards} ({type(config).num_shards} where it is not given) are too many for "
            f"{len(unlabeled)} unlabeled files; give 1 to {len(unlabeled)}"
        )
    train = [item for members in by_class for item in members]
    return Plan(classes, *(_mixed(items, config.seed, number) for number, items in enumerate((train, unlabeled, test))))


def _check_folders(config: PrepareConfig) -> None:
    source = config.source_dir
    if not source:
        raise UserError("--source_dir: missing; give the folder that holds labeled/<class>/ and unlabeled/")
    if "://" in source:
        raise UserError(f"--source_dir: got {source}, expected a folder of this machine; copy the images first")
    if not os.path.isdir(source):
        raise UserError(f"--source_dir: there is no folder {source}; check the path")
    for name, content in ((LABELED, "a folder of images for each class"), (UNLABELED, "the images without a class")):
        if not os.path.isdir(os.path.join(source, name)):
            raise UserError(
                f"--source_dir: {source} has no folder {name}/, expected it with {content}"
                + ("; make an empty one to prepare labeled images alone" if name == UNLABELED else "")
            )
        inside = os.path.realpath(os.path.join(source, name))
        if os.path.join(os.path.realpath(config.data_dir), "").startswith(os.path.join(inside, "")):
            raise UserError(f"--data_dir: {config.data_dir} lies among the images of {inside}; choose another folder")


def _class_images(folder: str, name: str, label: int) -> list[Item]:
    items = listing.list_files(os.path.join(folder, name), label)
    if not items:
        raise UserError(
            f"--source_dir: the class folder {os.path.join(folder, name)} is empty; add images or remove the folder"
        )
    return items


def _test_images(folder: str, classes: list[str]) -> list[Item]:
    labels = {listing.class_key(name): label for label, name in enumerate(classes, start=1)}
    items = []
    for name in listing.list_classes(folder, "source_dir"):
        if listing.class_key(name) not in labels:
            raise UserError(
                f"--source_dir: {os.path.join(folder, name)} is no class of {LABELED}/ ({len(classes)} classes, "
                f"{', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}); rename or remove it"
            )
        items += _class_images(folder, name, labels[listing.class_key(name)])
    if not items:
        raise UserError(f"--source_dir: {folder} has no class folders; add test images or remove the folder")
    return items


def draw_test(by_class: list[list[Item]], number: int, seed: int) -> tuple[list[list[Item]], list[Item]]:
    """Draws `number` test images, of every class in proportion to its images; each class keeps at least one.

    Returns:
      the images left in every class, and the test images.

    Raises:
      UserError: more than can be spared.
    """
    spare = [len(members) - 1 for members in by_class]
    if not 1 <= number <= sum(spare):
        raise UserError(
            f"--num_test_images: got {number}, expected 1 to {sum(spare)}: every class keeps a training image"
        )
    # Cutting the classes, laid end to end, at equal distances gives each its share to within one image.
    ends = [number * end // sum(spare) for end in np.cumsum(spare).tolist()]
    counts = [end - begin for begin, end in zip([0, *ends], ends)]
    left, drawn = [], []
    for label, (members, count) in enumerate(zip(by_class, counts)):
        order = np.random.default_rng((seed, 100 + label)).permutation(len(members)).tolist()
        drawn += [members[index] for index in order[:count]]
        left.append([members[index] for index in sorted(order[count:])])
    return left, drawn


def _mixed(items: list[Item], seed: int, number: int) -> list[Item]:
    """In an order that follows from the seed: a reader that stops early does not see one class alone."""
    return [items[index] for index in np.random.default_rng((seed, number)).permutation(len(items)).tolist()]


# --- finishing ------------------------------------------------------------------------------------------------------


def _check_written(config: PrepareConfig, planned: Plan, train: Split, test: Split) -> None:
    listed = os.path.join(config.data_dir, UNREADABLE)
    for label, name in enumerate(planned.classes, start=1):
        if not train.labels[label]:
            raise UserError(
                f"--source_dir: no image of the class {name!r} can be read (see {listed}); replace them or remove the "
                "class folder"
            )
    if planned.test and not test.num_images:
        raise UserError(f"--source_dir: no test image can be read (see {listed}); replace them")


def _write_task(data_dir: str, classes: list[str], train: Split, test: Split, unlabeled: Split) -> None:
    mean, std = mean_and_std([train, unlabeled])
    counts = {"train": train.num_images, "unlabeled": unlabeled.num_images, "test": test.num_images}
    task = dataclasses.replace(
        TASKS["folder"],
        num_classes=len(classes),
        mean=mean,
        std=std,
        num_images={name: count for name, count in counts.items() if count},
        eval_split="test" if test.num_images else "",
        class_names=tuple(classes),
    )
    text = json.dumps(task.to_json(), indent=2, ensure_ascii=False) + "\n"
    write_text(os.path.join(data_dir, TASK_FILE), text)


def _say(config: PrepareConfig, planned: Plan, left_out: int) -> None:
    if left_out:
        total = len(planned.train) + len(planned.unlabeled) + len(planned.test)
        listed = os.path.join(config.data_dir, UNREADABLE)
        print(f"{left_out:,} of {total:,} files could not be used and were left out; {listed} says which and why")
    if not planned.test:
        print(
            f"no test split: there is no {os.path.join(config.source_dir, TEST)} and --num_test_images was not given, so "
            "accuracy cannot be measured"
        )
    if not planned.unlabeled:
        print(f"no unlabeled split: {os.path.join(config.source_dir, UNLABELED)} is empty, so there can be no student")
