"""`folder`: anyone's images, without a line of code.

source_dir/labeled/<class>/...   images with a known class; the folder's name is the class
source_dir/unlabeled/...         images without a class, in folders of any depth
source_dir/test/<class>/...      held-out images; optional

Classes are numbered in the order of their names. The content of a file decides its format; `data/images/files.py` says what
becomes of it. Images whose longer side exceeds 2,048 pixels are scaled down to that. Without source_dir/test there is no test
split, unless `num_test_images` takes some of the labeled images. Mean and standard deviation are those of the training images,
labeled and unlabeled. Records keep the names of their files, from source_dir on.

Nothing is lost in silence: what cannot be used is counted, and listed in `data_dir/unreadable.txt`; what is used although hardly
anything is to be seen in `noted.txt`; what is there more than once, and what became of it, in `duplicates.csv`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data.images.files import Item, Loaded, Rules
from data.prepare import duplicates, image_shards, listing, mirror, summary
from data.prepare.image_shards import UNREADABLE, Equal, Split, look_at, mean_and_std, shown_path, write_images
from data.tasks import TASK_FILE, TASKS
from runtime.errors import UserError
from runtime.files import write_text

if TYPE_CHECKING:
    from data.prepare.config import PrepareConfig

SETTINGS = ("num_test_images", "num_shards", "seed", "flip", "fit")
LABELED, UNLABELED, TEST = "labeled", "unlabeled", "test"
IMAGES_PER_SHARD = 1024
MAX_LABELED_SHARDS = 128
RULES = Rules(statistics=True)


class Plan(NamedTuple):
    """What there is in the source folder.

    Attributes:
      classes: names, in the order of their labels.
      by_class: the images in labeled/, class by class.
      test: the images in test/.
      unlabeled: the images in unlabeled/.
      passed: what systems and programs put among them.
    """

    classes: list[str]
    by_class: list[list[Item]]
    test: list[Item]
    unlabeled: list[Item]
    passed: listing.Passed


class Sorted(NamedTuple):
    """What becomes of the labeled and test images.

    Attributes:
      train, test: those that are written.
      copies: those that are there more than once.
      rows: the same, for people.
      others: what unlabeled images are compared with.
    """

    train: list[Item]
    test: list[Item]
    copies: list[duplicates.Copy]
    rows: list[duplicates.Row]
    others: dict[bytes, Equal]


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
    """Writes the records, task.json and the lists of what is odd; returns {shard: records}.

    Raises:
      UserError: a class of which no image is left, test or unlabeled images of which none is.
    """
    planned = plan(config)
    labeled = [item for members in planned.by_class for item in members] + planned.test
    looked = dict(zip(labeled, look_at(labeled, RULES, config.num_processes)))
    found = sort_out(planned, looked, config)
    _check_classes(config, planned, found, looked)

    def split(prefix: str, items: list[Item], num_shards: int, others: Mapping[bytes, Equal]) -> Split:
        return write_images(
            config.data_dir,
            prefix,
            items,
            num_shards if items else 0,
            RULES,
            source_dir=config.source_dir,
            num_processes=config.num_processes,
            names=True,
            others=others,
        )

    train, test, unlabeled = (_mixed(items, config.seed, number) for number, items in _numbered(found, planned))
    splits = summary.Splits(
        split("labeled/train", train, _num_labeled_shards(train), {}),
        split("labeled/test", test, _num_labeled_shards(test), {}),
        split("unlabeled/train", unlabeled, config.num_shards, found.others),
    )
    image_shards.remove_others(config.data_dir, splits)
    image_shards.write_unreadable(config.data_dir, splits)
    rows = found.rows + [
        duplicates.Row(picture, equal_to, became, 0) for picture, equal_to, became in splits.unlabeled.duplicates
    ]
    duplicates.write_duplicates(config.data_dir, rows)
    _check_written(config, planned, splits)
    _write_task(config, planned.classes, splits)
    _say(config, planned, splits, rows)
    return {**splits.train.written, **splits.test.written, **splits.unlabeled.written}


def _numbered(found: Sorted, planned: Plan) -> list[tuple[int, list[Item]]]:
    """Training, test and unlabeled images, each with the number that makes their order another one."""
    return [(0, found.train), (2, found.test), (1, planned.unlabeled)]


def _num_labeled_shards(items: list[Item]) -> int:
    return min(MAX_LABELED_SHARDS, -(-len(items) // IMAGES_PER_SHARD))


# --- planning -------------------------------------------------------------------------------------------------------


def plan(config: PrepareConfig) -> Plan:
    """Lists the source folder.

    Raises:
      UserError: a folder is missing, empty or no class folder; classes that clash; numbers that cannot be met.
    """
    _check_folders(config)
    passed = listing.Passed()
    labeled_dir, test_dir = (os.path.join(config.source_dir, name) for name in (LABELED, TEST))
    with listing.reading(config.source_dir):
        classes = listing.list_classes(labeled_dir, "source_dir", passed)
        listing.check_no_parts(labeled_dir, classes, "source_dir")
        if len(classes) < 2:
            raise UserError(
                f"--source_dir: {labeled_dir} has {len(classes)} class folders, expected at least 2: one a class"
            )
        by_class = [_class_images(labeled_dir, name, label, passed) for label, name in enumerate(classes, start=1)]
        test = _test_images(test_dir, classes, passed) if os.path.isdir(test_dir) else []
        # Unlabeled images may be the labeled ones, by a link: their pixels tell.
        unlabeled_passed = listing.Passed(passed.ignored)
        unlabeled = listing.list_files(os.path.join(config.source_dir, UNLABELED), passed=unlabeled_passed)
    if config.num_test_images:
        if test:
            raise UserError(
                f"--num_test_images: got {config.num_test_images}, but {test_dir} holds the test images already; leave "
                "the flag out, or move that folder away"
            )
        draw_test(by_class, config.num_test_images, config.seed)
    if unlabeled and not 1 <= config.num_shards <= len(unlabeled):
        raise UserError(
            f"--num_shards: {config.num_shards} ({type(config).num_shards} where it is not given) are too many for "
            f"{len(unlabeled)} unlabeled files; give 1 to {len(unlabeled)}"
        )
    return Plan([listing.normal_form(name) for name in classes], by_class, test, unlabeled, passed)


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


def _class_images(folder: str, name: str, label: int, passed: listing.Passed) -> list[Item]:
    items = listing.list_files(os.path.join(folder, name), label, passed)
    if not items:
        raise UserError(
            f"--source_dir: the class folder {os.path.join(folder, name)} is empty; add images or remove the folder"
        )
    return items


def _test_images(folder: str, classes: list[str], passed: listing.Passed) -> list[Item]:
    labels = {listing.class_key(name): label for label, name in enumerate(classes, start=1)}
    items = []
    for name in listing.list_classes(folder, "source_dir", passed):
        if listing.class_key(name) not in labels:
            raise UserError(
                f"--source_dir: {os.path.join(folder, name)} is no class of {LABELED}/ ({len(classes)} classes, "
                f"{', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}); rename or remove it"
            )
        items += _class_images(folder, name, labels[listing.class_key(name)], passed)
    if not items:
        raise UserError(f"--source_dir: {folder} has no class folders; add test images or remove the folder")
    return items


# --- who goes where -------------------------------------------------------------------------------------------------


def sort_out(planned: Plan, looked: Mapping[Item, Loaded], config: PrepareConfig) -> Sorted:
    """Which labeled and test images are written, once pictures that are there more than once are known.

    Raises:
      UserError: more test images to draw than different pictures can spare.
    """
    digests = {item: loaded.digest for item, loaded in looked.items()}
    contradictions = duplicates.find_contradictions(looked, digests)
    in_two_classes = {copy.item for copy in contradictions}
    train = [item for members in planned.by_class for item in members if item not in in_two_classes]
    test = [item for item in planned.test if item not in in_two_classes]
    if config.num_test_images:
        different = duplicates.without_copies(train, digests)
        by_class = [[item for item in different if item.label == members[0].label] for members in planned.by_class]
        _, test = draw_test(by_class, config.num_test_images, config.seed)
        drawn = set(test)
        train = [item for item in train if item not in drawn]
    copies = contradictions + duplicates.find_copies(train, test, digests)
    left_out = {copy.item for copy in copies if copy.left_out}
    train = [item for item in train if item not in left_out]
    paths = {item: shown_path(item, config.source_dir) for item in looked}
    rows = duplicates.rows_of(copies, paths)
    return Sorted(train, test, copies, rows, duplicates.of_other_splits(train, test, digests, paths))


def draw_test(by_class: list[list[Item]], number: int, seed: int) -> tuple[list[list[Item]], list[Item]]:
    """Draws `number` test images, of every class in proportion to its images; each class keeps at least one.

    Returns:
      the images left in every class, and the test images.

    Raises:
      UserError: more than can be spared.
    """
    spare = [max(0, len(members) - 1) for members in by_class]
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


def _check_classes(config: PrepareConfig, planned: Plan, found: Sorted, looked: Mapping[Item, Loaded]) -> None:
    """Raises UserError where no image of a class is left, before unlabeled images, which take longest, are read."""
    left = {item.label for item in found.train if looked[item].digest}
    for label, name in enumerate(planned.classes, start=1):
        if label in left:
            continue
        lines = [(shown_path(item, config.source_dir), loaded.problem) for item, loaded in looked.items()]
        text = "".join(f"{path}\t{problem}\n" for path, problem in sorted(lines) if problem)
        write_text(os.path.join(config.data_dir, UNREADABLE), text)
        if any(copy.left_out and copy.item.label == label for copy in found.copies):
            duplicates.write_duplicates(config.data_dir, found.rows)
            listed = os.path.join(config.data_dir, duplicates.DUPLICATES)
            raise UserError(
                f"--source_dir: no training image of the class {name!r} is left, because each of its pictures is "
                f"{_whose(found, label)} (see {listed}); give it pictures of its own or remove the class folder"
            )
        raise UserError(
            f"--source_dir: no image of the class {name!r} can be read (see {os.path.join(config.data_dir, UNREADABLE)}); "
            "replace them or remove the class folder"
        )


def _whose(found: Sorted, label: int) -> str:
    reasons = {copy.why for copy in found.copies if copy.left_out and copy.item.label == label}
    return " or ".join(sorted(reasons))


def _check_written(config: PrepareConfig, planned: Plan, splits: summary.Splits) -> None:
    listed = os.path.join(config.data_dir, UNREADABLE)
    if planned.test and not splits.test.num_images:
        if not splits.test.unreadable:
            listed = os.path.join(config.data_dir, duplicates.DUPLICATES)
            raise UserError(f"--source_dir: every test image is in two classes (see {listed}); replace them")
        raise UserError(f"--source_dir: no test image can be read (see {listed}); replace them")
    if planned.unlabeled and not splits.unlabeled.num_images:
        reasons = summary.commonest(splits.unlabeled.unreadable) or "all of them are test images, too"
        raise UserError(
            f"--source_dir: none of the {len(planned.unlabeled):,} files in {UNLABELED}/ can be used, so there is nothing for a "
            f"student to learn from: {reasons} (see {listed}); replace them, or empty the folder to train a teacher alone"
        )


def _write_task(config: PrepareConfig, classes: list[str], splits: summary.Splits) -> None:
    mean, std = mean_and_std([splits.train, splits.unlabeled])
    counts = {"train": splits.train, "unlabeled": splits.unlabeled, "test": splits.test}
    task = dataclasses.replace(
        TASKS["folder"],
        num_classes=len(classes),
        mean=mean,
        std=std,
        flip=_flip(config, splits),
        fit=config.fit,
        num_images={name: split.num_images for name, split in counts.items() if split.num_images},
        eval_split="test" if splits.test.num_images else "",
        class_names=tuple(classes),
    )
    text = json.dumps(task.to_json(), indent=2, ensure_ascii=False) + "\n"
    write_text(os.path.join(config.data_dir, TASK_FILE), text)


def _flip(config: PrepareConfig, splits: summary.Splits) -> bool:
    """Whether a mirrored picture keeps its class: as flagged, else as the pictures tell; says so."""
    if config.flip is not None:
        return config.flip
    shards = splits.unlabeled.written or splits.train.written
    measured = mirror.measure([os.path.join(config.data_dir, name) for name in shards])
    if measured.is_there:
        print(
            f"mirrored pictures are not used to train: of {measured.pictures} pictures {100 * measured.share:.0f} % can be told "
            "from their mirror image; --flip uses them all the same"
        )
    return not measured.is_there


def _say(config: PrepareConfig, planned: Plan, splits: summary.Splits, rows: list[duplicates.Row]) -> None:
    for line in summary.lines(config.data_dir, planned.classes, splits, rows, config.fit):
        print(line)
    if planned.passed.ignored:
        print(f"ignored, because systems and programs made them: {summary.counted(planned.passed.ignored)}")
    others = [
        name
        for name in sorted(os.listdir(config.source_dir))
        if name not in (LABELED, UNLABELED, TEST) and not listing.is_ignored(name)
    ]
    if others:
        print(f"not used, because they are neither {LABELED}/, {UNLABELED}/ nor {TEST}/: {listing.some(others)}")
    if not splits.test.num_images:
        print(
            f"no test split: there is no {os.path.join(config.source_dir, TEST)} and --num_test_images was not given, so "
            "accuracy cannot be measured"
        )
    if not planned.unlabeled:
        print(f"no unlabeled split: {os.path.join(config.source_dir, UNLABELED)} is empty, so there can be no student")
