"""Bootstrap intervals of anything that follows from means over pictures (Efron 1979; percentile intervals).

    samples = resampled({"teacher": teacher_wrong, "student": student_wrong})
    interval(samples["student"] - samples["teacher"])

A picture is drawn with everything that belongs to it: all its corrupted variants, its whole sequence, the answers of all
networks. To draw those as if they were independent would give intervals that are far too narrow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
_AT_A_TIME = 64  # resamples; 50,000 pictures then take 26 MB


@dataclasses.dataclass(frozen=True)
class Interval:
    """The range in which the true value lies with probability `level`."""

    low: float
    high: float
    level: float = LEVEL


def resampled(values: Mapping[Any, Any], *, resamples: int = RESAMPLES, seed: int = 0) -> dict[Any, Any]:
    """Means over pictures, in many resamples of the pictures.

    Args:
      values: mappings, nested to any depth, whose ends are arrays [N]: one number (or bool) a picture, in the same order of
        pictures everywhere.
      resamples: R, how often N pictures are drawn with replacement.
      seed: of the draws; the same seed and N draw the same pictures.

    Returns:
      the same mappings with float64 [R] at their ends. Every end sees the same draws, so differences are paired.

    Raises:
      ValueError: no picture, or ends of different lengths.
    """
    ends: list[np.ndarray] = []
    _collect(values, ends)
    lengths = {len(end) for end in ends}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"expected one number of pictures, at least 1, got {sorted(lengths)}")
    columns = np.stack(ends, axis=1).astype(np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, len(ends)))
    for start in range(0, resamples, _AT_A_TIME):
        stop = min(start + _AT_A_TIME, resamples)
        means[start:stop] = _times_drawn(generator, stop - start, len(columns)) @ columns / len(columns)
    return _rebuilt(values, iter(means.T))


def interval(samples: Any, level: float = LEVEL) -> Interval:
    """The percentile interval of float [R], one value a resample; (nan, nan) if one of them is undefined."""
    low, high = np.quantile(np.asarray(samples, np.float64), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


def _times_drawn(generator: np.random.Generator, resamples: int, pictures: int) -> np.ndarray:
    """float64 [resamples, pictures]: how often each picture is drawn."""
    counts = np.empty((resamples, pictures))
    for row in counts:
        row[:] = np.bincount(generator.integers(pictures, size=pictures), minlength=pictures)
    return counts


def _collect(values: Any, ends: list[np.ndarray]) -> None:
    if isinstance(values, Mapping):
        for value in values.values():
            _collect(value, ends)
        return
    ends.append(np.asarray(values))
    if ends[-1].ndim != 1:
        raise ValueError(f"expected one number a picture, shape [N], got shape {list(ends[-1].shape)}")


def _rebuilt(values: Any, columns: Any) -> Any:
    if isinstance(values, Mapping):
        return {name: _rebuilt(value, columns) for name, value in values.items()}
    return next(columns)
