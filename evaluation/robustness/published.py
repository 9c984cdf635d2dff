"""The parts of the suite that are published sets, read in place from --robustness_dir."""

from __future__ import annotations

import collections
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf

from data.images import decoding
from data.prepare.listing import shown
from evaluation import scores as accuracy_scores
from evaluation.classify.imagenet_names import class_index
from evaluation.robustness.archives import (
    FRAMES,
    FRAMES_OF,
    REAL_PICTURES,
    Picture,
    PublishedSet,
    open_set,
    real_labels,
)
from evaluation.robustness.config import RobustnessConfig
from evaluation.robustness.layouts import LAYOUTS, is_wnid
from evaluation.robustness.networks import AnsweringNetwork
from evaluation.robustness.own_pictures import Labeled
from evaluation.robustness.parts import Answers, Part, sequence_scores
from evaluation.robustness.scores import in_subset, positions_in
from evaluation.robustness.split import TestSplit
from evaluation.robustness.trees import Folder, open_tree
from runtime import machine
from runtime.errors import UserError

VALIDATION = ("ILSVRC2012_img_val.tar", "ILSVRC2012_img_val", "validation", "val")
_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)


def published_parts(config: RobustnessConfig) -> list[Part]:
    """The parts of the published sets that were asked for.

    Raises:
      UserError: a set that is not there or not whole, networks of other classes.
    """
    asked = [name for name in config.measures if name in (*LAYOUTS, "real")]
    if not asked:
        return []
    wnids = _wnids(config)
    parts: list[Part] = []
    for name in asked:
        if name == "real":
            parts.append(_Real(config))
            continue
        found = open_set(name, config.robustness_dir, wnids)
        make = {"c": _Whole, "p": _Sequences, "a": _Subset, "r": _Subset, "o": _Outside}.get(name, _Cropped)
        parts += [make(config, found, cell) for cell in found.cells]
        if name == "o":
            parts.append(_Inside(config, found))
    return parts


def _wnids(config: RobustnessConfig) -> Sequence[str]:
    """The WordNet numbers of the networks' classes, in order."""
    model, names = config.networks[0].model, config.data.task.class_names if config.data else ()
    if names and all(map(is_wnid, names)):
        return names
    try:
        wnids = tuple(class_index())
    except Exception as error:  # whatever a download may raise
        raise UserError(
            f"--robustness: the WordNet numbers of ImageNet's classes are not known here ({type(error).__name__}: {error}); "
            "give --data_dir, an ImageNet that --mode=prepare wrote: its task.json has them"
        ) from error
    if model.num_classes != len(wnids):
        raise UserError(
            f"--checkpoints: {config.networks[0].checkpoint} has {model.num_classes} classes, but the published sets need "
            f"ImageNet's {len(wnids):,}; give networks that were trained on ImageNet"
        )
    return wnids


# --- pictures ---------------------------------------------------------------------------------------------------------


class _Published:
    """One cell of a published set."""

    attacks, sized = False, True
    shown_each = 1

    def __init__(self, config: RobustnessConfig, found: PublishedSet, cell: str):
        self.name = "/".join(part for part in (found.dataset, cell.replace("/", "-")) if part)
        self._found, self._cell = found, cell
        self.num_pictures = len(found.pictures(found.cells[0] if found.layout.same_pictures else cell))
        self.published: Optional[int] = found.layout.num_pictures
        self.side = found.side
        self.settings: dict[str, Any] = {
            "num_pictures": self.num_pictures,
            "classes": config.networks[0].model.num_classes,
            "side": found.side,
            "every": config.every,
        }

    def shown(self, positions: Sequence[int], size: int) -> Iterator[Labeled]:
        pictures = self._found.pictures(self._cell)
        chosen = ((position, pictures[position]) for position in positions)
        return in_threads(lambda one: Labeled(one[0], one[1].label, self._images(one[1], size)), chosen)

    def _images(self, picture: Picture, size: int) -> np.ndarray:
        return prepared(picture, size)

    def answers(
        self, network: AnsweringNetwork, images: np.ndarray, labels: np.ndarray, positions: np.ndarray
    ) -> Answers:
        return {"logits": network.logits(images)}

    def kept(self, answers: Answers, label: int) -> dict[str, np.ndarray]:
        return {"right": np.asarray(answers["logits"][0].argmax() == label)}


class _Cropped(_Published):
    """Pictures that are cropped and resized as in any evaluation (V2, Sketch). Kept: "right" bool []."""


class _Whole(_Published):
    """Pictures that are cropped already (C), so they are shown whole. Kept: "right" bool []."""

    def _images(self, picture: Picture, size: int) -> np.ndarray:
        return prepared(picture, size, whole=True)


class _Sequences(_Published):
    """Sequences (P), shown whole. Kept: what `sequence_scores` gives, float32 [] each."""

    sized = False  # the network resizes them

    def __init__(self, config: RobustnessConfig, found: PublishedSet, cell: str):
        super().__init__(config, found, cell)
        self.shown_each = FRAMES_OF.get(cell, FRAMES)

    def _images(self, picture: Picture, size: int) -> np.ndarray:
        return picture.frames()

    def kept(self, answers: Answers, label: int) -> dict[str, np.ndarray]:
        found = sequence_scores(self._cell, answers["logits"], label)
        return {name: np.asarray(value, np.float32) for name, value in found.items()}


class _Subset(_Published):
    """Pictures of 200 of the classes (A, R).

    Kept: "right", "right_of_five", "right_among_all" bool [], "confidence" float32 [].
    """

    def kept(self, answers: Answers, label: int) -> dict[str, np.ndarray]:
        subset = self._found.subset
        probabilities, place = in_subset(answers["logits"], subset), positions_in([label], subset)[0]
        return {
            "right": np.asarray(probabilities[0].argmax() == place),
            "right_of_five": np.asarray(place in accuracy_scores.top_classes(probabilities[0])),
            "right_among_all": np.asarray(answers["logits"][0].argmax() == label),
            "confidence": np.asarray(probabilities[0].max(), np.float32),
        }


class _Outside(_Published):
    """Pictures of no known class (O). Kept: "confidence" float32 [], the largest among the 200 classes."""

    def kept(self, answers: Answers, label: int) -> dict[str, np.ndarray]:
        return {"confidence": np.asarray(in_subset(answers["logits"], self._found.subset).max(), np.float32)}


class _Inside:
    """The validation pictures, of which those of O's 200 classes are known. Kept: "confidence" float32 [], "inside" bool []."""

    attacks, sized = False, True
    shown_each = 1
    name = "o-known"
    published: Optional[int] = None
    side: Optional[int] = None

    def __init__(self, config: RobustnessConfig, found: PublishedSet):
        if config.data is None:
            raise UserError(
                "--robustness: o compares with the validation pictures of its classes; give --data_dir, an ImageNet that "
                "--mode=prepare wrote"
            )
        self._split, self._subset = TestSplit(config.data), found.subset
        self.num_pictures = self._split.num_pictures
        self.settings: dict[str, Any] = {
            "split": config.data.split,
            "num_pictures": self.num_pictures,
            "subset": list(found.subset),
            "every": config.every,
        }

    def shown(self, positions: Sequence[int], size: int) -> Iterator[Labeled]:
        return self._split.pictures(positions, size, small=False)

    def answers(
        self, network: AnsweringNetwork, images: np.ndarray, labels: np.ndarray, positions: np.ndarray
    ) -> Answers:
        return {"logits": network.logits(images)}

    def kept(self, answers: Answers, label: int) -> dict[str, np.ndarray]:
        confidence = in_subset(answers["logits"], self._subset).max()
        return {"confidence": np.asarray(confidence, np.float32), "inside": np.asarray(label in self._subset)}


class _Real:
    """The validation pictures with ReaL's labels. Kept: "right" bool [], "counted" bool [] (it has a label)."""

    attacks, sized = False, True
    shown_each = 1
    name = "real"
    published: Optional[int] = None
    side: Optional[int] = None

    def __init__(self, config: RobustnessConfig):
        self._pictures = validation_pictures(config.robustness_dir)
        self._labels = real_labels(config.robustness_dir, config.networks[0].model.num_classes, REAL_PICTURES)
        self.num_pictures = len(self._pictures)
        self.settings: dict[str, Any] = {"num_pictures": self.num_pictures, "every": config.every}

    def shown(self, positions: Sequence[int], size: int) -> Iterator[Labeled]:
        return in_threads(
            # There are several right classes: the "label" is the number of the picture.
            lambda position: Labeled(position, position, prepared(self._pictures[position], size)),
            positions,
        )

    def answers(
        self, network: AnsweringNetwork, images: np.ndarray, labels: np.ndarray, positions: np.ndarray
    ) -> Answers:
        return {"logits": network.logits(images)}

    def kept(self, answers: Answers, label: int) -> dict[str, np.ndarray]:
        classes = self._labels[label]
        right = int(answers["logits"][0].argmax()) in classes
        return {"right": np.asarray(right), "counted": np.asarray(bool(classes))}


def validation_pictures(directory: str) -> list[Picture]:
    """ImageNet's 50,000 validation pictures in the order of their names, from the official archive or from folders.

    Args:
      directory: that holds `ILSVRC2012_img_val.tar`, or a folder `val` of the pictures, with or without class folders.

    Raises:
      UserError: not there, or not all of them.
    """
    path = next((path for name in VALIDATION if os.path.exists(path := os.path.join(directory, name))), None)
    if path is None:
        raise UserError(
            f"--robustness_dir: {shown(directory)} holds no validation pictures, which ReaL's labels are for: expected "
            f"{' or '.join(VALIDATION)}"
        )
    tree, found = open_tree(path), dict[int, Picture]()

    def look(folder: Folder) -> None:
        for index, file in enumerate(tree.files(folder)):
            match = _NUMBER.fullmatch(file)
            if match:
                name = "/".join((*folder, file))
                found[int(match.group(1))] = Picture("real", "", -1, name, *tree.location(folder, index, file))

    for folder in ((), *((name,) for name in tree.folders(()))):
        look(folder)
    if sorted(found) != list(range(1, REAL_PICTURES + 1)):
        raise UserError(
            f"{shown(path)}: holds {len(found):,} pictures named ILSVRC2012_val_00000001.JPEG and so on, expected "
            f"{REAL_PICTURES:,}; get it again"
        )
    return [found[number] for number in sorted(found)]


def prepared(picture: Picture, size: int, whole: bool = False) -> np.ndarray:
    """A picture as the network sees it, float32 [1, size, size, 3]: with the centre crop of any evaluation, or `whole`.

    Raises:
      UserError: it cannot be decoded.
    """
    try:
        return _decoded(tf.constant(picture.read()), size, whole).numpy()[np.newaxis]
    except tf.errors.InvalidArgumentError as error:
        raise UserError(f"{picture.where}: no picture, or cut short; get it again") from error


@tf.function(autograph=False, reduce_retracing=True)
def _decoded(encoded: tf.Tensor, size: int, whole: bool) -> tf.Tensor:
    if whole:
        return decoding.resize_bicubic(decoding.decode(encoded), size)
    return decoding.evaluation_image(encoded, size, small_image_model=False)


def in_threads(function: Callable[[Any], Labeled], items: Iterable[Any]) -> Iterator[Labeled]:
    """Calls a function for all items in several threads; results come in order, and few are in memory."""
    threads = machine.cores()
    running: collections.deque[Future[Labeled]] = collections.deque()
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        while True:
            for item in itertools.islice(remaining, 4 * threads - len(running)):
                running.append(pool.submit(function, item))
            if not running:
                return
            yield running.popleft().result()
