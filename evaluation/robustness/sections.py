"""A section of the page: measures of every network on the same pictures, each with its interval and its definition.

What is a mean over pictures gets a bootstrap interval: pictures are drawn with all that belongs to them, and for all networks
together, so that differences are paired.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

from evaluation.bootstrap import interval, resampled
from evaluation.robustness.parts import Part
from evaluation.robustness.scores import out_of_distribution

# Of scores that are no mean over pictures and have to be computed for each resample.
FEWER_RESAMPLES = 1000

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
        self._seed = seed
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
        drawn = [np.asarray(score(means, drawn_first), np.float64) for means in self._drawn]
        self._append(key, title, definition, values, drawn, unit=unit, better=better, details=details, **more)

    def _append(
        self,
        key: str,
        title: str,
        definition: str,
        values: Sequence[Any],
        drawn: Any,
        *,
        unit: str = "%",
        better: str = "lower",
        details: bool = False,
        **more: Any,
    ) -> None:
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

    def add_recomputed(
        self,
        key: str,
        title: str,
        definition: str,
        kept: Sequence[Mapping[str, np.ndarray]],
        score: Callable[..., float],
        **more: Any,
    ) -> None:
        """Adds a measure that is no mean over pictures: it is computed anew of every resample of the pictures.

        Args:
          kept: of each network, arrays [N] by name.
          score: from such arrays to the number.
        """
        values = [score(**arrays) for arrays in kept]
        count = self.content["num_pictures"]
        generator = np.random.default_rng(self._seed)
        drawn = np.empty((len(kept), FEWER_RESAMPLES))
        for column in range(FEWER_RESAMPLES):
            index = generator.integers(count, size=count)
            for row, arrays in enumerate(kept):
                drawn[row, column] = score(**{name: array[index] for name, array in arrays.items()})
        self._append(
            key, title, f"{definition} The interval is of {FEWER_RESAMPLES:,} resamples.", values, drawn, **more
        )

    def add_out_of_distribution(
        self, key: str, title: str, definition: str, kept: Sequence[Mapping[str, np.ndarray]], better: str
    ) -> None:
        """Adds a score of `OutOfDistribution`; pictures of known and of unknown classes are drawn apart.

        Args:
          kept: of each network, "inside" float [N] and "outside" float [M], their confidence.
        """

        def score(inside: np.ndarray, outside: np.ndarray) -> float:
            return 100 * float(getattr(out_of_distribution(inside, outside), key))

        generator = np.random.default_rng(self._seed)
        drawn = np.empty((len(kept), FEWER_RESAMPLES))
        for column in range(FEWER_RESAMPLES):
            index = {name: generator.integers(len(array), size=len(array)) for name, array in kept[0].items()}
            for row, arrays in enumerate(kept):
                drawn[row, column] = score(**{name: array[index[name]] for name, array in arrays.items()})
        words = f"{definition} The interval is of {FEWER_RESAMPLES:,} resamples."
        self._append(key, title, words, [score(**arrays) for arrays in kept], drawn, better=better)

    def curve(self, xs: Sequence[float], scores: Sequence[Callable[[Means, Means], Any]]) -> None:
        """Adds a curve for the plots: a score for each x, of every network."""
        self.content["curve"] = {
            "x": list(xs),
            "networks": [
                [number(score(means, self.means[0]), score(drawn, self._drawn[0])) for score in scores]
                for means, drawn in zip(self.means, self._drawn)
            ],
        }


def number(value: Any, samples: Any) -> dict[str, Any]:
    """A value and its interval; null if it is not defined."""
    samples = np.asarray(samples, np.float64)
    found = interval(samples)
    ends = [found.low, found.high]
    return {
        "value": defined(value),
        "interval": None if any(map(math.isnan, ends)) else ends,
    }


def defined(value: Any) -> Optional[float]:
    """None for what is not a number, for JSON."""
    return None if math.isnan(value) else float(value)


def _means(values: Mapping[Any, Any]) -> dict[Any, Any]:
    return {
        name: _means(value) if isinstance(value, Mapping) else float(np.mean(value, dtype=np.float64))
        for name, value in values.items()
    }


# --- scores ---------------------------------------------------------------------------------------------------------


def entry(key: str, name: Any) -> Callable[[Means, Means], Any]:
    """The score that is one entry of the means, or the mean of its own entries, in percent."""

    def score(own: Means, _: Means) -> Any:
        value = own[key][name]
        parts = list(value.values()) if isinstance(value, Mapping) else [value]
        return 100 * sum(np.asarray(part) for part in parts) / len(parts)

    return score


def share(key: Any) -> Callable[[Means, Means], Any]:
    """The score that is one of the means, in percent."""
    return lambda own, _: 100 * np.asarray(own[key])


def mean_of_column(key: str, column: Any) -> Callable[[Means, Means], Any]:
    """The mean over the rows of one column, in percent."""
    return lambda own, _: 100 * sum(np.asarray(row[column]) for row in own[key].values()) / len(own[key])
