"""Compares RandAugment's ops and the evaluation preprocessing with results of the release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from data.images import decoding, randaugment
from runtime.errors import UserError
from tests.golden.checks import Checks

PREPROCESS_TOLERANCE = 1e-3 * 255


def compare_randaugment(content: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Compares with `image/<image>` and `<Op>/<level>/<pos or neg>/<image>`, uint8 [H, W, 3]; bit-equal.

    Cutout's centre is (height // 3, width // 2); the constants are 40 and 100.

    Returns:
      {"ok", "deviations", "checked": results compared, "mismatches": results that differ}.

    Raises:
      UserError: a name that is none of these.
    """
    checks = Checks()
    checked = mismatches = 0
    for key, expected in content.items():
        if key.startswith("image/"):
            continue
        name, level, negate, image = _parse(key, content)
        center = np.array([image.shape[0] // 3, image.shape[1] // 2], np.int32)
        ours = randaugment.apply_op(name, image, level, negate, center).numpy()
        checks.absolute(name, ours, expected, 0.0, key)
        checked += 1
        mismatches += not np.array_equal(ours, expected)
    return {**_report(checks, checked), "mismatches": mismatches}


def _parse(key: str, content: Mapping[str, np.ndarray]) -> tuple[str, float, bool, np.ndarray]:
    parts = key.split("/")
    if len(parts) != 4 or parts[2] not in ("pos", "neg") or f"image/{parts[3]}" not in content:
        raise UserError(
            f"got the name {key!r}, expected <Op>/<level>/<pos or neg>/<image> with image/<image> beside it"
        )
    try:
        level = float(parts[1])
    except ValueError as error:
        raise UserError(f"got the level {parts[1]!r} in {key!r}, expected a number") from error
    return parts[0], level, parts[2] == "neg", content[f"image/{parts[3]}"]


def compare_preprocess(content: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Compares with `jpeg/<file>` (bytes as uint8) and `eval/<file>/<size>` (float32 [size, size, 3]); 1e-3 of 255.

    Returns:
      {"ok", "deviations", "checked": results compared, "mismatches": results out of tolerance}.

    Raises:
      UserError: a name that is none of these.
    """
    checks = Checks()
    checked = mismatches = 0
    for key, expected in content.items():
        if key.startswith("jpeg/"):
            continue
        parts = key.split("/")
        if len(parts) != 3 or not parts[2].isdigit() or f"jpeg/{parts[1]}" not in content:
            raise UserError(f"got the name {key!r}, expected eval/<file>/<size> with jpeg/<file> beside it")
        encoded = tf.constant(content[f"jpeg/{parts[1]}"].tobytes())
        ours = decoding.evaluation_image(encoded, int(parts[2]), small_image_model=False).numpy()
        checks.absolute("evaluation preprocessing", ours, expected, PREPROCESS_TOLERANCE, key)
        checked += 1
        same_shape = ours.shape == expected.shape
        mismatches += not (same_shape and np.max(np.abs(ours - expected)) <= PREPROCESS_TOLERANCE)
    return {**_report(checks, checked), "mismatches": mismatches}


def _report(checks: Checks, checked: int) -> dict[str, Any]:
    """A file without any result to compare is not in order."""
    report = checks.report()
    return {**report, "ok": report["ok"] and checked > 0, "checked": checked}
