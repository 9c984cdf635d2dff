"""Compares the robustness scores with tables that the benchmarks' own code computed (`metrics.json`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.robustness import scores
from evaluation.scores import aurra, top_classes
from tests.golden.checks import Checks

PARTS = {"sequences", "corruption_tables", "flip_tables", "calibration"}
TOLERANCE = 1e-9
FIRST_FRAME, CONSECUTIVE = "first_frame", "consecutive_d"


def is_metrics(content: Any) -> bool:
    """Whether the content of a file is such a table, or some parts of one."""
    return isinstance(content, dict) and bool(content) and set(content) <= PARTS


def compare_metrics(reference: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Compares with the content of a `metrics.json`; 1e-9."""
    checks = Checks()
    for part, compare in (
        ("sequences", _sequences),
        ("corruption_tables", _corruptions),
        ("flip_tables", _flips),
        ("calibration", _calibration),
    ):
        for index, expected in enumerate(reference.get(part, ())):
            compare(expected, checks, f"{part} {index}")
    return checks.report()


def _sequences(expected: Mapping[str, Any], checks: Checks, where: str) -> None:
    top = top_classes(expected["logits"]) if "logits" in expected else np.asarray(expected["top"])[..., :5]
    for pairing, values in expected.items():
        if pairing != FIRST_FRAME and not pairing.startswith(CONSECUTIVE):
            continue
        from_first = pairing == FIRST_FRAME
        difficulty = 1 if from_first else int(pairing[len(CONSECUTIVE) :])
        flips = scores.flips(top[..., 0], from_first, difficulty).mean()
        distance = scores.top5_distances(top, from_first, difficulty).mean()
        place = f"{where}, {pairing}"
        checks.absolute("flip_probability", flips, values["flip_probability"], TOLERANCE, place)
        checks.absolute("top5_distance", distance, values["top5_distance"], TOLERANCE, place)
        if "zipf_distance" in values and "zipf_distance" not in checks.not_compared:
            checks.not_compared.append("zipf_distance")  # no paper reports it


def _corruptions(expected: Mapping[str, Any], checks: Checks, where: str) -> None:
    ours = scores.corruption_scores(
        _cells(expected["errors"]),
        _cells(expected["reference_errors"]),
        expected["clean_error"],
        expected["reference_clean_error"],
    )
    assert ours.relative_ce is not None
    _by_name("ce", ours.ce, expected["ce"], checks, where)
    _by_name("relative_ce", ours.relative_ce, expected["relative_ce"], checks, where)
    checks.absolute("mce", ours.mce, expected["mce"], TOLERANCE, where)
    checks.absolute("relative_mce", ours.relative_mce, expected["relative_mce"], TOLERANCE, where)
    checks.absolute("mean_error", ours.mean_error, expected["unnormalised_mean_error"], TOLERANCE, where)


def _flips(expected: Mapping[str, Any], checks: Checks, where: str) -> None:
    ours = scores.flip_scores(expected["flip_probability"], expected["reference"])
    _by_name("flip_rate", ours.rate, expected["flip_rate"], checks, where)
    checks.absolute("mfr", ours.mean_rate, expected["mfr"], TOLERANCE, where)


def _calibration(expected: Mapping[str, Any], checks: Checks, where: str) -> None:
    confidence, correct = expected["confidence"], expected["correct"]
    checks.absolute("aurra", aurra(confidence, correct), expected["aurra"], TOLERANCE, where)
    for bins, all_bins in (("authors", False), ("all_bins", True)):
        ours = scores.binned_calibration(confidence, correct, all_bins)
        for kind, value in zip(("rms", "mad", "max"), ours):
            name = f"{kind}_calibration_error_{bins}"
            if name in expected:
                checks.absolute(name, value, expected[name], TOLERANCE, where)


def _by_name(
    quantity: str, ours: Mapping[str, float], expected: Mapping[str, float], checks: Checks, where: str
) -> None:
    for name, value in expected.items():
        checks.absolute(quantity, ours[name], value, TOLERANCE, f"{where}, {name}")


def _cells(errors: Mapping[str, Sequence[float]]) -> dict[str, dict[int, float]]:
    return {name: dict(enumerate(row, start=1)) for name, row in errors.items()}
