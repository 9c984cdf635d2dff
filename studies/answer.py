"""What a study's results say: each arm's accuracy over seeds, each contrast with its intervals, and a verdict in a sentence.

Seeds and test pictures are two sources of chance. The interval over seeds (paired t) tells how the training varies, the one over
pictures (paired bootstrap of the seeds' mean) how the choice of test pictures does. A claim is decided if both leave out zero.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
from scipy import stats

from evaluation.bootstrap import LEVEL, RESAMPLES, Interval, interval
from studies.definition import Contrast, Study
from studies.results import Result

AS_CLAIMED, OPPOSITE, UNDECIDED = "as the paper says", "the opposite of what the paper says", "not decided"
Kept = Mapping[tuple[str, int], Optional[Result]]  # {(arm, seed): result}


@dataclasses.dataclass(frozen=True)
class ArmScore:
    """An arm's accuracy.

    Attributes:
      accuracies: {seed: share of right answers}, of the seeds that did not fail.
      mean, sd: over these seeds; sd with n - 1 in the denominator, nan for one seed.
      failed: {seed: why}.
    """

    name: str
    accuracies: Mapping[int, float]
    mean: float
    sd: float
    failed: Mapping[int, str]


@dataclasses.dataclass(frozen=True)
class ContrastScore:
    """The gain of one arm over another, paired by seed and picture.

    Attributes:
      better, worse: the arms; by the claim the gain is above 0.
      seeds: those that both arms have.
      gain: mean over seeds of the difference of accuracies.
      over_seeds: 95 % interval of a paired t test; nan for one seed.
      over_pictures: 95 % interval of a paired bootstrap of test pictures.
      verdict: one of AS_CLAIMED, OPPOSITE and UNDECIDED.
      would_decide: what would decide it, in words; "" if it is decided or no gain was found.
    """

    better: str
    worse: str
    seeds: Sequence[int]
    gain: float
    over_seeds: Interval
    over_pictures: Interval
    verdict: str
    would_decide: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """All that a study's page says in numbers."""

    study: Study
    seeds: Sequence[int]
    num_images: int
    hours: float
    arms: Sequence[ArmScore]
    contrasts: Sequence[ContrastScore]


def answer(study: Study, seeds: Sequence[int], kept: Kept) -> Answer:
    """The answer to a study from what is kept of its runs."""
    whole = [result for result in kept.values() if result is not None and result.correct is not None]
    return Answer(
        study,
        tuple(seeds),
        max((len(result.correct) for result in whole if result.correct is not None), default=0),
        sum(result.seconds for result in whole) / 3600,
        tuple(_arm(arm.name, seeds, kept) for arm in study.arms),
        tuple(_contrast(contrast, seeds, kept) for contrast in study.contrasts),
    )


def _arm(name: str, seeds: Sequence[int], kept: Kept) -> ArmScore:
    found, failed = {}, {}
    for seed in seeds:
        result = kept.get((name, seed))
        if result is not None and result.correct is not None:
            found[seed] = result.accuracy
        else:
            failed[seed] = result.error if result is not None else "has not run"
    values = np.array(list(found.values()))
    mean = float(values.mean()) if len(values) else math.nan
    return ArmScore(name, found, mean, float(values.std(ddof=1)) if len(values) > 1 else math.nan, failed)


def _contrast(contrast: Contrast, seeds: Sequence[int], kept: Kept) -> ContrastScore:
    pairs: dict[int, tuple[Any, Any]] = {}
    for seed in seeds:
        first, second = (kept.get((name, seed)) for name in (contrast.better, contrast.worse))
        if first and second and first.correct is not None and second.correct is not None:
            pairs[seed] = first, second
    if not pairs:
        nothing = Interval(math.nan, math.nan)
        return ContrastScore(
            contrast.better, contrast.worse, (), math.nan, nothing, nothing, UNDECIDED, "no seed that both arms have"
        )
    differences = [np.subtract(a.correct, b.correct, dtype=np.float64) for a, b in pairs.values()]
    gains = np.array([each.mean() for each in differences])
    over_seeds = _t_interval(gains)
    same = len({a.pictures for a, _ in pairs.values()}) == 1
    over_pictures = _over_pictures(differences, same)
    gain = float(gains.mean())
    verdict = _verdict(over_seeds, over_pictures)
    would = _would_decide(gains, over_pictures, len(differences[0])) if verdict == UNDECIDED else ""
    return ContrastScore(contrast.better, contrast.worse, tuple(pairs), gain, over_seeds, over_pictures, verdict, would)


def _t_interval(gains: np.ndarray) -> Interval:
    count = len(gains)
    if count < 2:
        return Interval(math.nan, math.nan)
    half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * float(gains.std(ddof=1)) / math.sqrt(count)
    return Interval(float(gains.mean()) - half, float(gains.mean()) + half)


def _over_pictures(differences: Sequence[np.ndarray], same: bool) -> Interval:
    """Of the mean over seeds. Equal test sets are drawn together, others each for itself."""
    generator = np.random.default_rng(0)
    if same:
        samples = _resampled(np.mean(differences, axis=0), generator)
    else:
        samples = np.mean([_resampled(each, generator) for each in differences], axis=0)
    return interval(samples)


def _resampled(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Means of pictures drawn with replacement, by how often each value comes up: [RESAMPLES]."""
    levels, counts = np.unique(values, return_counts=True)
    return generator.multinomial(len(values), counts / len(values), size=RESAMPLES) @ levels / len(values)


def _verdict(over_seeds: Interval, over_pictures: Interval) -> str:
    if over_seeds.low > 0 and over_pictures.low > 0:
        return AS_CLAIMED
    if over_seeds.high < 0 and over_pictures.high < 0:
        return OPPOSITE
    return UNDECIDED


def _would_decide(gains: np.ndarray, over_pictures: Interval, num_images: int) -> str:
    """How many seeds and pictures would leave zero out, if the gain and its spread stayed as they are."""
    gain, count = abs(float(gains.mean())), len(gains)
    if gain == 0 or count < 2:
        return "" if count > 1 else "more than one seed"
    needed = []
    sd = float(gains.std(ddof=1))
    seeds = next((n for n in range(2, 10_001) if gain > stats.t.ppf((1 + LEVEL) / 2, n - 1) * sd / math.sqrt(n)), None)
    if seeds is None or seeds > count:
        needed.append(f"{seeds} seeds" if seeds else "more than 10,000 seeds")
    half = (over_pictures.high - over_pictures.low) / 2
    if half >= gain:
        needed.append(f"{math.ceil(num_images * (half / gain) ** 2):,} test pictures")
    return "about " + " and ".join(needed) + ", if the gain stays as it is" if needed else ""
