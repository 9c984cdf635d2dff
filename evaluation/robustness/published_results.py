"""The sections on the published sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from evaluation.robustness import alexnet
from evaluation.robustness.alexnet import SEVERITIES
from evaluation.robustness.config import RobustnessConfig
from evaluation.robustness.layouts import LAYOUTS
from evaluation.robustness.own_results import add_flips
from evaluation.robustness.scores import (
    CALIBRATION_BIN,
    published_corruption_scores,
    published_flip_scores,
    rms_calibration_error,
)
from evaluation.robustness.sections import Means, Measured, Section, defined, entry, mean_of_column, share
from evaluation.scores import aurra

# --- published sets -------------------------------------------------------------------------------------------------


def published_corruptions(config: RobustnessConfig, parts: Mapping[str, Measured]) -> dict[str, Any]:
    """ImageNet-C: mCE by AlexNet's errors."""
    cells = {name: {severity: parts[f"c/{name}-{severity}"] for severity in SEVERITIES} for name in alexnet.ERRORS}
    some = cells["fog"][1]
    values = [
        {
            "errors": {
                name: {severity: ~cell.kept[number]["right"] for severity, cell in row.items()}
                for name, row in cells.items()
            }
        }
        for number in range(len(config.networks))
    ]
    section = Section("c", f"ImageNet-C, {some.part.side} pixels", some.num_pictures, values, config.seed)
    section.content["about"] = [
        f"The published pictures ({some.part.side} x {some.part.side} pixels), shown whole, resized to the network's size.",
        *_incomplete(some),
    ]

    def of(own: Means, _: Means) -> Any:
        return published_corruption_scores(own["errors"])

    section.add(
        "mce",
        "mCE",
        "CE of a corruption: the errors at the 5 severities, summed, divided by AlexNet's. mCE: the mean of the 15 CE.",
        lambda own, other: of(own, other).mce,
    )
    section.add(
        "accuracy",
        "top-1 accuracy",
        "Share of right answers, mean over the 5 severities and the 15 corruptions.",
        lambda own, other: 100 - of(own, other).mean_error,
        better="higher",
    )
    section.curve(SEVERITIES, [mean_of_column("errors", severity) for severity in SEVERITIES])
    for name in alexnet.ERRORS:
        section.add(
            name,
            name,
            "Share of wrong answers, mean over the 5 severities.",
            entry("errors", name),
            details=True,
            by_severity=[[100 * own["errors"][name][severity] for severity in SEVERITIES] for own in section.means],
            ce=[defined(of(own, own).ce[name]) for own in section.means],
        )
    return section.content


def published_perturbations(config: RobustnessConfig, parts: Mapping[str, Measured]) -> dict[str, Any]:
    """ImageNet-P: mFR by AlexNet's flip probabilities."""
    cells = {name: parts[f"p/{name}"] for name in alexnet.FLIP_PROBABILITIES}
    some = next(iter(cells.values()))
    values = [
        {key: {name: cell.kept[number][key] for name, cell in cells.items()} for key in ("flips", "distances", "right")}
        for number in range(len(config.networks))
    ]
    section = Section("p", f"ImageNet-P, {some.part.side} pixels", some.num_pictures, values, config.seed)
    section.content["about"] = [
        f"The published sequences ({some.part.side} x {some.part.side} pixels), shown whole, resized to the network's size. "
        "Labels play no part in flips.",
        *_incomplete(some),
    ]
    section.add(
        "mfr",
        "mFR",
        "FR of a perturbation: its flip probability divided by AlexNet's. mFR: the mean of the 10 FR. AlexNet's single numbers "
        "are not published together; their mean is checked (see docs/robustness.md).",
        lambda own, _: published_flip_scores(own["flips"]).mean_rate,
    )
    add_flips(section, config)
    return section.content


def subset(name: str) -> Callable[[RobustnessConfig, Mapping[str, Measured]], dict[str, Any]]:
    """The section of ImageNet-A or -R, `a` or `r`."""

    def section_of(config: RobustnessConfig, parts: Mapping[str, Measured]) -> dict[str, Any]:
        measured, title = parts[name], f"ImageNet-{name.upper()}"
        keys = ("right", "right_of_five", "right_among_all")
        values = [{key: kept[key] for key in keys} for kept in measured.kept]
        section = Section(name, title, measured.num_pictures, values, config.seed)
        section.content["about"] = [
            f"The published pictures, with the centre crop of any evaluation. The answer is the most probable of the set's 200 "
            f"classes, the other {config.networks[0].model.num_classes - 200} are left out.",
            *_incomplete(measured),
        ]
        for key, words, definition in (
            ("right", "top-1 accuracy", "Share of pictures whose most probable class among the 200 is right."),
            (
                "right_of_five",
                "top-5 accuracy",
                "Share of pictures whose class is among the 5 most probable of the 200.",
            ),
            (
                "right_among_all",
                "accuracy among all classes",
                "Share of pictures whose most probable class among all is right. Never what is published under this name.",
            ),
        ):
            section.add(key, words, definition, share(key), better="higher")
        kept = [{"confidence": each["confidence"], "correct": each["right"]} for each in measured.kept]
        if measured.num_pictures >= 2 * CALIBRATION_BIN:
            section.add_recomputed(
                "calibration",
                "RMS calibration error",
                "Root mean square of accuracy - confidence over bins of 100 pictures by confidence. As the authors compute it, "
                "the last bin is left out.",
                kept,
                lambda confidence, correct: 100 * rms_calibration_error(confidence, correct),
            )
        section.add_recomputed(
            "aurra",
            "AURRA",
            "Area under the response rate accuracy curve: the mean accuracy of the k pictures of most confidence, over all k.",
            kept,
            lambda confidence, correct: 100 * aurra(confidence, correct),
            better="higher",
        )
        return section.content

    return section_of


def outside(config: RobustnessConfig, parts: Mapping[str, Measured]) -> dict[str, Any]:
    """ImageNet-O: whether pictures of no known class get a lower confidence."""
    measured, known = parts["o"], parts["o-known"]
    kept = [
        {"outside": kept["confidence"], "inside": other["confidence"][other["inside"]]}
        for kept, other in zip(measured.kept, known.kept)
    ]
    inside = len(kept[0]["inside"])
    section = Section(
        "o", "ImageNet-O", measured.num_pictures, [{"none": each["outside"]} for each in kept], config.seed
    )
    section.content["about"] = [
        f"{measured.num_pictures:,} pictures of no known class, against the {inside:,} validation pictures of the set's 200 "
        "classes. The score is the largest probability among the 200 classes; pictures of no known class are the positive ones.",
        *_incomplete(measured),
    ]
    for key, title, definition, better in (
        (
            "aupr",
            "AUPR",
            "Area under the precision-recall curve; by chance the share of pictures of no known class.",
            "higher",
        ),
        ("auroc", "AUROC", "Area under the receiver operating characteristic; 50 by chance.", "higher"),
        (
            "fpr95",
            "FPR95",
            "Share of known pictures taken for unknown when 95 % of the unknown ones are found.",
            "lower",
        ),
    ):
        section.add_out_of_distribution(key, title, definition, kept, better)
    return section.content


def accuracies(name: str) -> Callable[[RobustnessConfig, Mapping[str, Measured]], dict[str, Any]]:
    """The section of V2 or Sketch: accuracy of each cell."""

    def section_of(config: RobustnessConfig, parts: Mapping[str, Measured]) -> dict[str, Any]:
        cells = {key: each for key, each in parts.items() if key.split("/")[0] == name}
        title, some = LAYOUTS[name].title, next(iter(cells.values()))
        section = Section(
            name,
            title,
            some.num_pictures,
            [
                {key: cell.kept[number]["right"] for key, cell in cells.items()}
                for number in range(len(config.networks))
            ],
            config.seed,
        )
        section.content["about"] = [
            "The published pictures, with the centre crop of any evaluation.",
            *(line for cell in cells.values() for line in _incomplete(cell)),
        ]
        for key in cells:
            variant = key.partition("/")[2]
            section.add(
                variant or "accuracy",
                f"top-1 accuracy{f', {variant}' if variant else ''}",
                "Share of pictures whose most probable class is right.",
                share(key),
                better="higher",
            )
        return section.content

    return section_of


def real(config: RobustnessConfig, parts: Mapping[str, Measured]) -> dict[str, Any]:
    """ReaL: accuracy with the reassessed labels."""
    measured = parts["real"]
    counted = measured.kept[0]["counted"]
    values = [{"right": kept["right"][counted]} for kept in measured.kept]
    section = Section("real", "ImageNet ReaL", int(counted.sum()), values, config.seed)
    section.content["about"] = [
        f"The validation pictures with the reassessed labels of Beyer et al.; the {int((~counted).sum()):,} of "
        f"{measured.num_pictures:,} pictures without one are left out."
    ]
    section.add(
        "accuracy",
        "accuracy",
        "Share of pictures whose most probable class is one of their labels.",
        share("right"),
        better="higher",
    )
    return section.content


def _incomplete(measured: Measured) -> list[str]:
    """A sentence if these are not all pictures of the published set."""
    published = measured.part.published
    if measured.num_pictures == published:
        return []
    return [
        f"**{measured.num_pictures:,} of the {published:,} published pictures were shown, so the numbers are not those of the "
        "whole set.**"
    ]
