"""The parts of the suite: which pictures each shows, and what is kept of the networks' answers to one of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional, Protocol

import numpy as np

from evaluation import scores as accuracy_scores
from evaluation.robustness.alexnet import SEVERITIES
from evaluation.robustness.config import LEVELS, OWN, AttackConfig, RobustnessConfig
from evaluation.robustness.corruptions import CORRUPTIONS
from evaluation.robustness.networks import AnsweringNetwork
from evaluation.robustness.own_pictures import CLEAN, Labeled, corrupted, frame_counts, perturbed, with_variants
from evaluation.robustness.perturbations import PERTURBATIONS
from evaluation.robustness.scores import compares_with_first, flips, top5_distances
from evaluation.robustness.split import TestSplit

Answers = Mapping[str, np.ndarray]  # by name, a row for each picture that was shown
# What moves a picture shows what lies outside its middle, so it takes a larger one (as ImageNet-P: 256 for 224).
WIDER = 256 / 224


class Part(Protocol):
    """One part of the suite.

    Attributes:
      name: a path below the folder of outcomes.
      num_pictures: N, of which some may be left out (`--every`).
      shown_each: V, how many pictures a network sees for one of these.
      settings: what the outcomes follow from, beside the network, as JSON-able values.
      attacks: whether it needs the networks' gradients.
      sized: whether networks that see pictures at other sizes are shown other pictures.
      published: how many pictures the published set has; None if it is none.
      side: pixels of a side of its pictures, if all have the same.
    """

    name: str
    num_pictures: int
    shown_each: int
    settings: dict[str, Any]
    attacks: bool
    sized: bool
    published: Optional[int]
    side: Optional[int]

    def shown(self, positions: Sequence[int], size: int) -> Iterator[Labeled]:
        """The pictures at these positions, in order, each with its V variants; `size` is that of the network."""

    def answers(
        self, network: AnsweringNetwork, images: np.ndarray, labels: np.ndarray, positions: np.ndarray
    ) -> Answers:
        """What a network says to one batch."""

    def kept(self, answers: Answers, label: int) -> dict[str, np.ndarray]:
        """What is kept of the answers to the V variants of one picture."""


class _OwnPart:
    """A part on the task's own test pictures."""

    attacks = sized = False
    published: Optional[int] = None
    side: Optional[int] = None

    def __init__(self, name: str, config: RobustnessConfig, split: TestSplit, small: bool, shown_each: int):
        assert config.data is not None
        self.name, self.num_pictures, self.shown_each = name, split.num_pictures, shown_each
        self._split, self._config, self._small = split, config, small
        self.settings: dict[str, Any] = {
            "split": config.data.split,
            "num_pictures": split.num_pictures,
            "fit": config.data.task.fit,
            "image_size": config.image_size,
            "every": config.every,
            "seed": config.seed,
        }

    def answers(
        self, network: AnsweringNetwork, images: np.ndarray, labels: np.ndarray, positions: np.ndarray
    ) -> Answers:
        return {"logits": network.logits(images)}


class _GeneratedCorruptions(_OwnPart):
    """The 15 corruptions at 5 severities. Kept: "clean" bool [] and "right" bool [15, 5]."""

    def __init__(self, config: RobustnessConfig, split: TestSplit, small: bool):
        super().__init__("generated-c", config, split, small, 1 + len(CORRUPTIONS) * len(SEVERITIES))

    def shown(self, positions: Sequence[int], size: int) -> Iterator[Labeled]:
        pictures = self._split.pictures(positions, self._config.image_size, self._small)
        make = functools.partial(corrupted, seed=self._config.seed)
        return with_variants(pictures, (CLEAN, *CORRUPTIONS), make, self._config.num_processes)

    def kept(self, answers: Answers, label: int) -> dict[str, np.ndarray]:
        right = answers["logits"].argmax(axis=1) == label
        return {"clean": right[0], "right": right[1:].reshape(len(CORRUPTIONS), len(SEVERITIES))}


class _GeneratedPerturbations(_OwnPart):
    """The 10 perturbations. Kept: "flips", "distances" (top-5), and "right" (share of frames), float32 [10] each."""

    def __init__(self, config: RobustnessConfig, split: TestSplit, small: bool):
        self._frames = frame_counts(config.image_size)
        super().__init__("generated-p", config, split, small, sum(self._frames.values()))

    def shown(self, positions: Sequence[int], size: int) -> Iterator[Labeled]:
        side = self._config.image_size
        pictures = self._split.pictures(positions, side if self._small else round(side * WIDER), self._small)
        make = functools.partial(perturbed, seed=self._config.seed, size=side)
        return with_variants(pictures, tuple(PERTURBATIONS), make, self._config.num_processes)

    def kept(self, answers: Answers, label: int) -> dict[str, np.ndarray]:
        ends = np.cumsum(list(self._frames.values()))[:-1]
        sequences = np.split(answers["logits"], ends)
        rows = [sequence_scores(name, logits, label) for name, logits in zip(PERTURBATIONS, sequences)]
        return {key: np.array([row[key] for row in rows], np.float32) for key in rows[0]}


def sequence_scores(perturbation: str, logits: np.ndarray, label: int) -> dict[str, float]:
    """Share of flips, mean top-5 distance and share of right frames of one sequence; logits float [F, C]."""
    first = compares_with_first(perturbation)
    predictions = logits.argmax(axis=1)
    top = accuracy_scores.top_classes(logits)
    return {
        "flips": float(flips(predictions[np.newaxis], first)[0]),
        "distances": float(top5_distances(top[np.newaxis], first)[0]),
        "right": float((predictions == label).mean()),
    }


class _Attacked(_OwnPart):
    """FGSM or PGD at each epsilon.

    Kept: "right" bool [E] and "zeros" float32 [], the share of gradients that are 0; of PGD also "at_255" bool [], whether the
    answer is right if a pixel may become any other, which only shows whether the attack works.
    """

    attacks = True

    def __init__(self, how: str, config: RobustnessConfig, split: TestSplit, small: bool):
        super().__init__(how, config, split, small, 1)
        self.settings["attack"] = attack_settings(how, config.attack)
        self._epsilons = (*config.attack.epsilons, *((LEVELS,) if how == "pgd" else ()))

    def shown(self, positions: Sequence[int], size: int) -> Iterator[Labeled]:
        return self._split.pictures(positions, self._config.image_size, self._small)

    def answers(
        self, network: AnsweringNetwork, images: np.ndarray, labels: np.ndarray, positions: np.ndarray
    ) -> Answers:
        found = network.attacked(self.name, images, labels, positions, self._epsilons)
        return {"logits": found.logits, "zeros": found.zeros}

    def kept(self, answers: Answers, label: int) -> dict[str, np.ndarray]:
        right, zeros = answers["logits"][0].argmax(axis=1) == label, answers["zeros"][0].astype(np.float32)
        if self.name == "fgsm":
            return {"right": right, "zeros": zeros}
        return {"right": right[:-1], "zeros": zeros, "at_255": right[-1]}


def attack_settings(how: str, attack: AttackConfig) -> dict[str, Any]:
    """What an attack's outcome follows from."""
    settings: dict[str, Any] = {"epsilons": list(attack.epsilons)}
    if how == "pgd":
        settings.update(
            at_255=True,
            steps=attack.steps,
            step_size=attack.step_size,
            random_start=attack.random_start,
            targeted=attack.targeted,
            seed=attack.seed,
        )
    return settings


def own_parts(config: RobustnessConfig) -> list[Part]:
    """The parts on the task's own test pictures that were asked for.

    Raises:
      UserError: the split has no picture.
    """
    parts: list[Part] = []
    if config.data is not None and set(config.measures) & set(OWN):
        split, small = TestSplit(config.data), config.networks[0].model.small_image_model
        if "generated" in config.measures:
            parts += [_GeneratedCorruptions(config, split, small), _GeneratedPerturbations(config, split, small)]
        parts += [_Attacked(how, config, split, small) for how in ("fgsm", "pgd") if how in config.measures]
    return parts
