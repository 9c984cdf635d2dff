"""The sections on the task's own test pictures: corruptions and perturbations that were generated, and attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.robustness.alexnet import SEVERITIES
from evaluation.robustness.config import RobustnessConfig
from evaluation.robustness.constants import table_of
from evaluation.robustness.corruptions import CORRUPTIONS
from evaluation.robustness.masking import signs_of_masking
from evaluation.robustness.perturbations import PERTURBATIONS
from evaluation.robustness.scores import corruption_scores, flip_scores
from evaluation.robustness.sections import Means, Measured, Section, defined, entry, mean_of_column, share

# --- generated on the task's own pictures ---------------------------------------------------------------------------


def generated_corruptions(config: RobustnessConfig, parts: Mapping[str, Measured]) -> dict[str, Any]:
    """Errors on the clean and the corrupted pictures, and relative to the first network's."""
    measured = parts["generated-c"]
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
    section.curve((0, *SEVERITIES), [share("clean"), *(mean_of_column("errors", severity) for severity in SEVERITIES)])
    for name in CORRUPTIONS:
        section.add(
            name,
            name,
            "Share of wrong answers, mean over the 5 severities.",
            entry("errors", name),
            details=True,
            by_severity=[[100 * own["errors"][name][severity] for severity in SEVERITIES] for own in section.means],
            ce=[defined(of(own, section.means[0]).ce[name]) for own in section.means],
        )
    return section.content


def generated_perturbations(config: RobustnessConfig, parts: Mapping[str, Measured]) -> dict[str, Any]:
    """How often answers flip from frame to frame."""
    measured = parts["generated-p"]
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
    section.add(
        "mfr",
        f"generated mFR relative to {first}",
        f"FR of a perturbation: its flip probability divided by that of {first} (not AlexNet's). The mean of the 10 FR.",
        lambda own, other: flip_scores(own["flips"], other["flips"]).mean_rate,
    )
    add_flips(section, config)
    return section.content


# --- attacks --------------------------------------------------------------------------------------------------------


def fgsm(config: RobustnessConfig, parts: Mapping[str, Measured]) -> dict[str, Any]:
    """Accuracy under FGSM at each epsilon."""
    return _attacked("fgsm", config, parts)


def pgd(config: RobustnessConfig, parts: Mapping[str, Measured]) -> dict[str, Any]:
    """Accuracy under PGD at each epsilon, and signs that it fails for another reason than robustness."""
    return _attacked("pgd", config, parts)


def _attacked(how: str, config: RobustnessConfig, parts: Mapping[str, Measured]) -> dict[str, Any]:
    measured, epsilons = parts[how], config.attack.epsilons
    values = [{"right": {e: kept["right"][:, i] for i, e in enumerate(epsilons)}} for kept in measured.kept]
    section = Section(how, how.upper(), measured.num_pictures, values, config.seed)
    section.content["epsilons"] = list(epsilons)
    section.content["about"] = [_attack_in_words(how, config), "Lower accuracy means that the attack does more harm."]
    section.content["warnings"] = [
        f"{network.name}: {sign}"
        for number, network in enumerate(config.networks)
        for sign in _signs_of_masking(how, number, epsilons, parts)
    ]
    section.curve(epsilons, [entry("right", epsilon) for epsilon in epsilons])
    above = [epsilon for epsilon in epsilons if epsilon]
    if above:
        listed = ", ".join(f"{epsilon:g}" for epsilon in above)
        section.add(
            "mean",
            "mean accuracy under attack",
            f"Mean of the accuracies at the epsilons {listed}.",
            lambda own, _: 100 * sum(own["right"][epsilon] for epsilon in above) / len(above),
            better="higher",
        )
    for epsilon in epsilons:
        section.add(
            f"{epsilon:g}",
            f"accuracy, epsilon {epsilon:g}",
            f"Share of right answers if each pixel may change by at most {epsilon:g} of 255 levels"
            + (", that is, to the clean picture." if not epsilon else "."),
            entry("right", epsilon),
            better="higher",
        )
    return section.content


def _signs_of_masking(how: str, number: int, epsilons: Sequence[float], parts: Mapping[str, Measured]) -> list[str]:
    """What speaks against the attack; with PGD, whether it does less harm than FGSM, too."""
    right = {
        name: {epsilon: parts[name].kept[number]["right"][:, column] for column, epsilon in enumerate(epsilons)}
        for name in ("fgsm", "pgd")
        if name in parts and how == "pgd"
    }
    kept = parts[how].kept[number]
    return signs_of_masking(kept["zeros"], right.get("fgsm"), right.get("pgd"), kept.get("at_255"))


def _attack_in_words(how: str, config: RobustnessConfig) -> str:
    attack = config.attack
    if how == "fgsm":
        return "One step by the sign of the gradient, as large as epsilon, on the pixels 0..255; untargeted, white box."
    step = f"{attack.step_size:g} levels" if attack.step_size else "2.5 epsilon / steps"
    start = "a random start" if attack.random_start else "a start at the picture"
    aim = "towards a random wrong class" if attack.targeted else "untargeted"
    return f"{attack.steps} steps of {step} by the sign of the gradient, on the pixels 0..255, with {start}; {aim}, white box."


def add_flips(section: Section, config: RobustnessConfig) -> None:
    """What generated and published perturbations have in common."""
    k = min(5, config.networks[0].model.num_classes)
    section.add(
        "flips",
        "mean flip probability",
        "Share of frames whose answer differs from that to the frame before (of noises: to the clean frame), mean over the "
        "sequences, then over the 10 perturbations.",
        lambda own, other: 100 * flip_scores(own["flips"], other["flips"]).mean,
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
            name, name, "Flip probability: share of frames whose answer differs.", entry("flips", name), details=True
        )
