"""From what the networks answered to numbers: each with its interval, its count and its definition.

Everything that is a mean over pictures gets a bootstrap interval: pictures are drawn with all that belongs to them, and
for all networks together, so that differences are paired.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Callable

import numpy as np

from evaluation.bootstrap import LEVEL, RESAMPLES, interval, resampled
from evaluation.robustness.alexnet import SEVERITIES
from evaluation.robustness.config import RobustnessConfig
from evaluation.robustness.constants import table_of
from evaluation.robustness.corruptions import CORRUPTIONS
from evaluation.robustness.masking import signs_of_masking
from evaluation.robustness.parts import Part
from evaluation.robustness.perturbations import PERTURBATIONS
from evaluation.robustness.scores import corruption_scores, flip_scores

Means = Mapping[Any, Any]  # nested; at its ends a mean over pictures, or an array [R] of what was drawn


@dataclasses.dataclass(frozen=True)
class Measured:
    """What all networks answered in one part: of each, arrays of num_pictures rows."""

    part: Part
    num_pictures: int
    kept: Sequence[Mapping[str, np.ndarray]]


class Section:
    """A section of the page: measures of one part, of every network.

    Args:
      key, title: of the section.
      num_pictures: N.
      values: of each network, nested mappings whose ends are arrays [N].
      seed: of the bootstrap.
    """

    def __init__(self, key: str, title: str, num_pictures: int, values: Sequence[Mapping[Any, Any]], seed: int):
        self.means = [_means(each) for each in values]
        drawn = resampled(dict(enumerate(values)), seed=seed)
        self._drawn = [drawn[number] for number in range(len(values))]
        self.content: dict[str, Any] = {
            "key": key,
            "title": title,
            "num_pictures": num_pictures,
            "about": [],
            "measures": [],
            "details": [],
        }

    def add(
        self,
        key: str,
        title: str,
        definition: str,
        score: Callable[[Means, Means], Any],
        *,
        unit: str = "%",
        better: str = "lower",
        details: bool = False,
        **more: Any,
    ) -> None:
        """Adds a measure.

        Args:
          key, title: of the measure, in this section.
          definition: how it is computed, in a sentence.
          score: from the means of a network and of the first one to the number; of floats as of arrays [R].
          unit: `%` or "".
          better: which is better, `lower` or `higher`.
          details: it belongs into the second table.
          more: what else the plots need.
        """
        first, drawn_first = self.means[0], self._drawn[0]
        values = [score(means, first) for means in self.means]
        drawn = [np.asarray(score(means, drawn_first)) for means in self._drawn]
        self.content["details" if details else "measures"].append(
            {
                "key": f"{self.content['key']}-{key}",
                "title": title,
                "definition": definition,
                "unit": unit,
                "better": better,
                "num_pictures": self.content["num_pictures"],
                "values": [number(value, samples) for value, samples in zip(values, drawn)],
                "differences": [
                    number(value - values[0], samples - drawn[0]) if index else None
                    for index, (value, samples) in enumerate(zip(values, drawn))
                ],
                **more,
            }
        )


def number(value: Any, samples: Any) -> dict[str, Any]:
    """A value and its interval; null if it is not defined."""
    samples = np.asarray(samples, np.float64)
    found = interval(samples)
    ends = [found.low, found.high]
    return {
        "value": None if math.isnan(value) else float(value),
        "interval": None if any(map(math.isnan, ends)) else ends,
    }


def _means(values: Mapping[Any, Any]) -> dict[Any, Any]:
    return {
        name: _means(value) if isinstance(value, Mapping) else float(np.mean(value, dtype=np.float64))
        for name, value in values.items()
    }


def _entry(key: str, name: Any) -> Callable[[Means, Means], Any]:
    """The score that is one entry of the means, or the mean of its own entries, in percent."""

    def score(own: Means, _: Means) -> Any:
        value = own[key][name]
        parts = list(value.values()) if isinstance(value, Mapping) else [value]
        return 100 * sum(np.asarray(part) for part in parts) / len(parts)

    return score


def collect(config: RobustnessConfig, measured: Sequence[Measured]) -> dict[str, Any]:
    """The content of robustness.json."""
    sections = [_SECTIONS[each.part.name](config, each) for each in measured]
    return {
        "networks": [
            {
                "name": network.name,
                "checkpoint": network.checkpoint,
                "model": network.model.name,
                "image_size": network.image_size,
            }
            for network in config.networks
        ],
        "task": config.data.task.name if config.data else None,
        "every": config.every,
        "seed": config.seed,
        "level": LEVEL,
        "resamples": RESAMPLES,
        "command": config.command,
        "sections": sections,
    }


# --- generated on the task's own pictures ---------------------------------------------------------------------------


def generated_corruptions(config: RobustnessConfig, measured: Measured) -> dict[str, Any]:
    """Errors on the clean and the corrupted pictures, and relative to the first network's."""
    values = []
    for kept in measured.kept:
        wrong = ~kept["right"]
        cells = {
            name: {severity: wrong[:, row, column] for column, severity in enumerate(SEVERITIES)}
            for row, name in enumerate(CORRUPTIONS)
        }
        values.append({"clean": ~kept["clean"], "errors": cells})
    section = Section("generated-c", "Corruptions (generated)", measured.num_pictures, values, config.seed)
    table, size = table_of(config.image_size), config.image_size
    section.content["about"] = [
        f"The 15 corruptions of ImageNet-C at 5 severities, generated on these test pictures at {size} x {size} pixels with the "
        f"authors' constants for {table} pixels: {measured.num_pictures:,} pictures, each in 75 variants, the same bytes for "
        "every network.",
        "Frost is drawn by this project, the authors' photographs are not. These are not the pictures of ImageNet-C, so no "
        "number here may be compared with a published mCE.",
    ]
    first = config.networks[0].name

    def of(means: Means, other: Means) -> Any:
        return corruption_scores(means["errors"], other["errors"], means["clean"], other["clean"])

    section.add(
        "clean",
        "clean error",
        "Share of the uncorrupted pictures that get a wrong answer.",
        lambda own, _: 100 * own["clean"],
    )
    section.add(
        "mean",
        "mean corruption error",
        "Share of wrong answers, mean over the 5 severities, then over the 15 corruptions.",
        lambda own, other: of(own, other).mean_error,
    )
    section.add(
        "lost",
        "lost to corruption",
        "The mean corruption error less the clean error: what corruptions alone cost.",
        lambda own, other: of(own, other).mean_error - 100 * own["clean"],
    )
    section.add(
        "mce",
        f"generated mCE relative to {first}",
        f"CE of a corruption: the errors at the 5 severities, summed, divided by those of {first} (not AlexNet's). "
        "The mean of the 15 CE, so it is 100 for that network itself.",
        lambda own, other: of(own, other).mce,
    )
    for name in CORRUPTIONS:
        section.add(
            name,
            name,
            "Share of wrong answers, mean over the 5 severities.",
            _entry("errors", name),
            details=True,
            by_severity=[[100 * own["errors"][name][severity] for severity in SEVERITIES] for own in section.means],
            ce=[float(of(own, section.means[0]).ce[name]) for own in section.means],
        )
    return section.content


def generated_perturbations(config: RobustnessConfig, measured: Measured) -> dict[str, Any]:
    """How often answers flip from frame to frame."""
    values = [
        {
            key: {name: kept[key][:, row] for row, name in enumerate(PERTURBATIONS)}
            for key in ("flips", "distances", "right")
        }
        for kept in measured.kept
    ]
    section = Section("generated-p", "Perturbations (generated)", measured.num_pictures, values, config.seed)
    first, size = config.networks[0].name, config.image_size
    section.content["about"] = [
        f"The 10 perturbations of ImageNet-P, generated on these test pictures at {size} x {size} pixels: of each of "
        f"{measured.num_pictures:,} pictures 10 sequences ({measured.part.shown_each} frames together), in which it changes "
        "little by little. Labels play no part in flips.",
        "These are not the sequences of ImageNet-P, so no number here may be compared with a published mFR. The extra "
        "perturbations (spatter among them, which needs OpenCV) are left out.",
    ]
    k = min(5, config.networks[0].model.num_classes)
    section.add(
        "flips",
        "mean flip probability",
        "Share of frames whose answer differs from that to the frame before (of noises: to the clean frame), mean over the "
        "sequences, then over the 10 perturbations.",
        lambda own, other: 100 * flip_scores(own["flips"], other["flips"]).mean,
    )
    section.add(
        "mfr",
        f"generated mFR relative to {first}",
        f"FR of a perturbation: its flip probability divided by that of {first} (not AlexNet's). The mean of the 10 FR.",
        lambda own, other: flip_scores(own["flips"], other["flips"]).mean_rate,
    )
    section.add(
        "distance",
        f"mean top-{k} distance",
        f"How far the first {k} classes move from frame to frame, mean over frames, sequences and perturbations: 0 if "
        "their order stays.",
        lambda own, other: flip_scores(own["distances"], other["distances"]).mean,
        unit="",
    )
    section.add(
        "accuracy",
        "accuracy over all frames",
        "Share of frames with the right answer, mean over the 10 perturbations.",
        lambda own, other: 100 * flip_scores(own["right"], other["right"]).mean,
        better="higher",
    )
    for name in PERTURBATIONS:
        section.add(
            name,
            name,
            "Flip probability: share of frames whose answer differs.",
            _entry("flips", name),
            details=True,
        )
    return section.content


# --- attacks --------------------------------------------------------------------------------------------------------


def attacked(config: RobustnessConfig, measured: Measured) -> dict[str, Any]:
    """Accuracy at each epsilon."""
    how, attack = measured.part.name, config.attack
    epsilons = attack.epsilons
    values = [{"right": {e: kept["right"][:, i] for i, e in enumerate(epsilons)}} for kept in measured.kept]
    section = Section(how, how.upper(), measured.num_pictures, values, config.seed)
    section.content["epsilons"] = list(epsilons)
    section.content["about"] = [_attack_in_words(how, config), "Lower accuracy means that the attack does more harm."]
    section.content["warnings"] = [
        f"{network.name}: {sign}"
        for network, kept in zip(config.networks, measured.kept)
        for sign in signs_of_masking(kept["zeros"])
    ]
    for epsilon in epsilons:
        section.add(
            f"{epsilon:g}",
            f"accuracy, epsilon {epsilon:g}",
            f"Share of right answers if each pixel may change by at most {epsilon:g} of 255 levels"
            + (", that is, to the clean picture." if not epsilon else "."),
            _entry("right", epsilon),
            better="higher",
        )
    return section.content


def _attack_in_words(how: str, config: RobustnessConfig) -> str:
    attack = config.attack
    if how == "fgsm":
        return "One step by the sign of the gradient, as large as epsilon, on the pixels 0..255; untargeted, white box."
    step = f"{attack.step_size:g} levels" if attack.step_size else "2.5 epsilon / steps"
    start = "a random start" if attack.random_start else "a start at the picture"
    aim = "towards a random wrong class" if attack.targeted else "untargeted"
    return f"{attack.steps} steps of {step} by the sign of the gradient, on the pixels 0..255, with {start}; {aim}, white box."


_SECTIONS: Mapping[str, Callable[[RobustnessConfig, Measured], dict[str, Any]]] = {
    "generated-c": generated_corruptions,
    "generated-p": generated_perturbations,
    "fgsm": attacked,
    "pgd": attacked,
}
