"""`imagenet`: ILSVRC 2012, from the official archives or from class folders, in 1,024 and 128 shards.

The numbers are those of docs/release.md, section 10. Each line below is one way to give the files:

source_dir/ILSVRC2012_img_train.tar   one tar of images for each class;     or  source_dir/train/<class>/*
source_dir/ILSVRC2012_img_val.tar     images, and one of the label files;   or  source_dir/validation/<class>/*  (or val/)
  ILSVRC2012_devkit_t12.tar.gz                     the official development kit, or
  imagenet_2012_validation_synset_labels.txt       one class a line, in the order of the images' names

- Classes are numbered in the order of their names (n01440764, ...), as in the release's records and checkpoints.
- A JPEG in RGB or grey is stored byte for byte. The few others (CMYK; a PNG called .JPEG) become RGB JPEGs. Size and orientation
  stay as they are, because the published numbers were measured so.
- Archives are read in place; nothing is unpacked. Training images are in random order, fixed by --seed, so an archive is read
  at random places: keep it on a solid-state disk.
- An interrupted run continues with the first shard that is not finished.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np

from data.images.files import Item, Rules
from data.prepare import archives, listing
from data.prepare.image_shards import UNREADABLE, Split, remove_others, write_images, write_unreadable
from data.tasks import TASK_FILE, TASKS
from runtime.errors import UserError
from runtime.files import write_text
from runtime.progress import progress

if TYPE_CHECKING:
    from data.prepare.config import PrepareConfig

SETTINGS = ("seed",)
TRAIN_TAR, VALIDATION_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
TRAIN_FOLDERS, VALIDATION_FOLDERS = ("train",), ("validation", "val")
SYNSET_LABELS, DEVELOPMENT_KIT = "imagenet_2012_validation_synset_labels.txt", "ILSVRC2012_devkit_t12.tar.gz"
GROUND_TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
NUM_SHARDS = {"train": 1024, "validation": 128}
RULES = Rules(max_side=None, kept_modes=("RGB", "L"), upright=False, always_jpeg=True)


def check(config: PrepareConfig) -> None:
    """Raises UserError where files are missing or evidently others, before anything is written; archives are not read
    through."""
    if not config.source_dir:
        raise UserError(
            f"--source_dir: missing; give the folder of {TRAIN_TAR} and {VALIDATION_TAR}, or of train/<class>/ and "
            "validation/<class>/, or another --task_name"
        )
    if "://" in config.source_dir:
        raise UserError(
            f"--source_dir: got {config.source_dir}, expected a folder of this machine; copy the files first"
        )
    train = _find(config.source_dir, TRAIN_TAR, TRAIN_FOLDERS)
    validation = _find(config.source_dir, VALIDATION_TAR, VALIDATION_FOLDERS)
    if train.endswith(".tar"):
        _check_class_archive(train, next(archives.members(train), None))
    if validation.endswith(".tar"):
        _check_image(validation, next(archives.members(validation), None))
        _label_file(config.source_dir)


def write(config: PrepareConfig) -> dict[str, int]:
    """Writes all shards, task.json and unreadable.txt; returns {shard: records}."""
    with listing.reading(config.source_dir):
        classes, train = _train_images(_find(config.source_dir, TRAIN_TAR, TRAIN_FOLDERS))
        path = _find(config.source_dir, VALIDATION_TAR, VALIDATION_FOLDERS)
        labels = {name: label for label, name in enumerate(classes, start=1)}
        if path.endswith(".tar"):
            validation = _validation_archive(path, _label_file(config.source_dir), labels)
        else:
            validation = _validation_folders(path, labels)
    _say_sizes(classes, train, validation)
    order = np.random.default_rng(config.seed).permutation(len(train)).tolist()
    splits = {
        name: _write_split(config, name, items)
        for name, items in (("train", [train[index] for index in order]), ("validation", validation))
    }
    remove_others(config.data_dir, list(splits.values()))
    left_out = write_unreadable(config.data_dir, list(splits.values()))
    if left_out:
        print(
            f"{left_out:,} images could not be read and were left out; see {os.path.join(config.data_dir, UNREADABLE)}"
        )
    task = dataclasses.replace(
        TASKS["imagenet"],
        num_classes=len(classes),
        num_images={name: split.num_images for name, split in splits.items()},
        class_names=tuple(classes),
    )
    write_text(os.path.join(config.data_dir, TASK_FILE), json.dumps(task.to_json(), indent=2) + "\n")
    return {**splits["train"].written, **splits["validation"].written}


def _write_split(config: PrepareConfig, name: str, items: list[Item]) -> Split:
    return write_images(
        config.data_dir,
        f"labeled/{name}",
        items,
        NUM_SHARDS[name],
        RULES,
        source_dir=config.source_dir,
        num_processes=config.num_processes,
    )


def _find(source_dir: str, archive: str, folders: tuple[str, ...]) -> str:
    """The archive, or the first of the folders, that there is."""
    for name in (archive, *folders):
        path = os.path.join(source_dir, name)
        if os.path.isfile(path) if name == archive else os.path.isdir(path):
            return path
    raise UserError(
        f"--source_dir: {source_dir} holds neither {archive} nor a folder {' or '.join(folders)}/; for "
        "images of your own, pass --task_name=folder"
    )


def _say_sizes(classes: list[str], train: list[Item], validation: list[Item]) -> None:
    official = TASKS["imagenet"]
    found = (len(classes), len(train), len(validation))
    expected = (official.num_classes, official.num_images["train"], official.num_images["validation"])
    if found != expected:
        print(
            "note: found {:,} classes, {:,} training and {:,} validation images; ".format(*found)
            + "the whole of ILSVRC 2012 has {:,}, {:,} and {:,}".format(*expected)
        )


# --- training images ------------------------------------------------------------------------------------------------


def _train_images(path: str) -> tuple[list[str], list[Item]]:
    """The sorted class names, and every image in the order of classes and names."""
    if not path.endswith(".tar"):
        classes = listing.list_classes(path, "source_dir")
        items = [item for label, name in enumerate(classes, start=1) for item in _folder_images(path, name, label)]
        return _checked_classes(path, classes), items
    found: dict[str, list[archives.Member]] = {}
    outer = []
    for member in archives.members(path):
        _check_class_archive(path, member)
        outer.append(member)
    with progress(f"reading {os.path.basename(path)}", len(outer), "classes") as bar:
        for member in outer:
            name = member.name[: -len(".tar")]
            if name in found:
                raise UserError(f"{path}: holds {member.name} twice; get the archive again")
            found[name] = list(archives.members(path, member))
            if not found[name]:
                raise UserError(f"{path}: {member.name} holds no image; get the archive again")
            bar.update(1)
    classes = _checked_classes(path, sorted(found))
    return classes, [
        Item(path, image.size, label, image.offset)
        for label, name in enumerate(classes, start=1)
        for image in sorted(found[name])
    ]


def _checked_classes(path: str, classes: list[str]) -> list[str]:
    if len(classes) < 2:
        raise UserError(f"{path}: holds {len(classes)} classes, expected at least 2")
    return classes


def _folder_images(folder: str, name: str, label: int) -> list[Item]:
    items = listing.list_files(os.path.join(folder, name), label)
    if not items:
        raise UserError(f"--source_dir: the class folder {os.path.join(folder, name)} is empty; get its images again")
    return items


def _check_class_archive(path: str, member: Any) -> None:
    if member is None or not member.name.endswith(".tar"):
        held = "nothing" if member is None else member.name
        raise UserError(
            f"{path}: holds {held}, expected a tar of images for each class (n01440764.tar, ...); is it {TRAIN_TAR}?"
        )


# --- validation images ----------------------------------------------------------------------------------------------


def _validation_folders(path: str, labels: dict[str, int]) -> list[Item]:
    items = []
    for name in listing.list_classes(path, "source_dir"):
        items += _folder_images(path, name, _label(labels, name, path))
    if not items:
        raise UserError(f"--source_dir: {path} has no class folders; get the images again")
    return items


def _validation_archive(path: str, label_file: str, labels: dict[str, int]) -> list[Item]:
    images = []
    for member in archives.members(path):
        _check_image(path, member)
        images.append(member)
    images.sort()
    for one, next_one in zip(images, images[1:]):
        if one.name == next_one.name:  # labels are told by the order of names
            raise UserError(f"{path}: holds {one.name} twice; get the archive again")
    names = _validation_classes(label_file)
    if len(names) != len(images):
        raise UserError(
            f"{path}: holds {len(images):,} images, but {label_file} has {len(names):,} labels; get the one that is wrong again"
        )
    return [
        Item(path, image.size, _label(labels, name, label_file), image.offset) for image, name in zip(images, names)
    ]


def _label(labels: dict[str, int], name: str, where: str) -> int:
    if name not in labels:
        raise UserError(f"{where}: the class {name!r} has no training images; the two do not belong together")
    return labels[name]


def _check_image(path: str, member: Any) -> None:
    if member is None or member.name.endswith((".tar", ".gz", ".zip")):
        held = "nothing" if member is None else member.name
        raise UserError(f"{path}: holds {held}, expected the validation images; is it {VALIDATION_TAR}?")


def _label_file(source_dir: str) -> str:
    for name in (SYNSET_LABELS, DEVELOPMENT_KIT):
        path = os.path.join(source_dir, name)
        if os.path.isfile(path):
            return path
    raise UserError(
        f"--source_dir: {source_dir} holds {VALIDATION_TAR} but not its labels; put {DEVELOPMENT_KIT} beside it, or "
        f"{SYNSET_LABELS} (a class a line)"
    )


def _validation_classes(path: str) -> list[str]:
    """The class of every validation image, in the order of the images' names."""
    if path.endswith(SYNSET_LABELS):
        with open(path, encoding="utf-8") as file:
            return file.read().split()
    try:
        return _from_development_kit(path)
    except (tarfile.TarError, EOFError, OSError, KeyError, ValueError, IndexError) as error:
        raise UserError(f"{path}: not the development kit, or cut short ({error}); get it again") from error


def _from_development_kit(path: str) -> list[str]:
    """The kit numbers the classes in an order of its own; meta.mat says which class has which number."""
    from scipy.io import loadmat

    contents: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for entry in archive:
            name = os.path.basename(entry.name)
            content = archive.extractfile(entry) if name in (GROUND_TRUTH, META) else None
            if content is not None:
                contents[name] = content.read()
    synsets = loadmat(io.BytesIO(contents[META]), squeeze_me=True)["synsets"]
    names = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    return [names[int(number)] for number in contents[GROUND_TRUTH].split()]
