"""What the answers of one network, or of two on the same pictures, are worth. numpy and scipy alone.

Shapes: N pictures, C classes. `probabilities` float [N, C], rows that sum to 1; `labels` and `predictions` int [N] in 0..C-1;
`confidence` float [N], the largest probability of a picture; `correct` bool [N]. Shares lie in 0..1. What is not defined
(the accuracy of a class without pictures) is nan, and `as_json` writes it as null.

Of equal probabilities the class with the lower index counts as the larger, as in `tf.math.top_k`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
from scipy import optimize, special, stats

from evaluation.bootstrap import LEVEL, RESAMPLES, Interval, interval, resampled

TOP = 5
BINS = 15
_TEMPERATURES = (0.05, 20.0)
_ROUNDING = 1e-12


# --- one network ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of one network on N pictures.

    Attributes:
      num_images, correct: counts.
      accuracy: share of right answers.
      top5_accuracy: share of pictures whose class is among the five most probable; None with five classes or fewer.
      nll: mean negative log likelihood, in nats (see `nll`).
      brier: see `brier`.
      calibration: see `calibration`.
      selective: see `selective`.
      per_class: see `per_class`.
      confusions: see `commonest_confusions`.
    """

    num_images: int
    correct: int
    accuracy: float
    top5_accuracy: Optional[float]
    nll: float
    brier: float
    calibration: Calibration
    selective: Selective
    per_class: PerClass
    confusions: tuple[Confusion, ...]


def scores(probabilities: Any, labels: Any) -> Scores:
    """Every score of one network.

    Raises:
      ValueError: no picture, shapes that do not fit, or a label that is no class.
    """
    probabilities, labels = _checked(probabilities, labels)
    predictions, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    correct = predictions == labels
    confusion = confusion_matrix(labels, predictions, probabilities.shape[1])
    return Scores(
        num_images=len(labels),
        correct=int(correct.sum()),
        accuracy=float(correct.mean()),
        top5_accuracy=top5_accuracy(probabilities, labels),
        nll=nll(probabilities, labels),
        brier=brier(probabilities, labels),
        calibration=calibration(confidence, correct),
        selective=selective(confidence, correct),
        per_class=per_class(confusion),
        confusions=commonest_confusions(confusion),
    )


def top_classes(values: Any, k: int = TOP) -> np.ndarray:
    """int64 [..., min(k, C)]: the classes of the largest values (logits or probabilities [..., C]), largest first."""
    return np.argsort(-np.asarray(values), axis=-1, kind="stable")[..., :k]


def top5_accuracy(probabilities: Any, labels: Any) -> Optional[float]:
    """The share of pictures whose class is among the five most probable; None with five classes or fewer."""
    probabilities, labels = _checked(probabilities, labels)
    if probabilities.shape[1] <= TOP:
        return None
    of_label = np.take_along_axis(probabilities, labels[:, np.newaxis], axis=1)
    equal_and_lower = (probabilities == of_label) & (np.arange(probabilities.shape[1]) < labels[:, np.newaxis])
    before = np.count_nonzero((probabilities > of_label) | equal_and_lower, axis=1)
    return float((before < TOP).mean())


def nll(probabilities: Any, labels: Any) -> float:
    """The mean of -log p(label), in nats.

    A softmax rounds what is below the smallest normal number of its dtype to 0, so a probability of 0 counts as that number
    (at most 87.3 nats a picture in float32).
    """
    probabilities, labels = _checked(probabilities, labels)
    of_label = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(_above_zero(of_label)).mean())


def brier(probabilities: Any, labels: Any) -> float:
    """The mean over pictures of sum_k (p_k - [k is the label])^2, in 0..2 (Brier 1950)."""
    probabilities, labels = _checked(probabilities, labels)
    of_label = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    squares = np.einsum("nk,nk->n", probabilities, probabilities, dtype=np.float64)
    return float((squares - 2 * of_label + 1).mean())


# --- calibration ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How far confidence and accuracy lie apart: the bins of a reliability plot, and their sums.

    Attributes:
      low, high: float [B], each bin holds the confidences in (low, high]; the first one 0 as well.
      images: int [B], pictures in each bin.
      confidence, accuracy: float [B], their means in each bin; nan in an empty one.
      ece: expected calibration error, sum_b images_b / N |accuracy_b - confidence_b| (Guo et al. 2017).
      rms: the square root of sum_b images_b / N (accuracy_b - confidence_b)^2.
      largest: the largest |accuracy_b - confidence_b|, the maximum calibration error.
    """

    low: np.ndarray
    high: np.ndarray
    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float
    rms: float
    largest: float


def calibration(confidence: Any, correct: Any, bins: int = BINS, equal_mass: bool = False) -> Calibration:
    """The calibration of N answers, in `bins` bins of equal width, or of equal numbers of pictures.

    The value depends on N and on the bins: report both with it. Bins of equal mass differ by at most one picture; there are
    at most N of them.
    """
    confidence, correct = _answers(confidence, correct)
    if equal_mass:
        index, bins = _bins_of_equal_mass(confidence, bins)
        low, high = np.full(bins, np.inf), np.full(bins, -np.inf)
        np.minimum.at(low, index, confidence)
        np.maximum.at(high, index, confidence)
    else:
        edges = np.linspace(0, 1, bins + 1)
        index = np.digitize(confidence, edges[1:-1], right=True)
        low, high = edges[:-1], edges[1:]
    return Calibration(low, high, *bin_means(index, confidence, correct, bins))


def bin_means(
    index: np.ndarray, confidence: np.ndarray, correct: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float, float]:
    """images, confidence, accuracy, ece, rms and largest of a `Calibration`, for pictures of the bins `index` (int [N])."""
    images = np.bincount(index, minlength=bins)
    share = images / len(index)
    mean_confidence = _quotient(np.bincount(index, confidence, bins), images)
    accuracy = _quotient(np.bincount(index, correct, bins), images)
    gap = np.where(images > 0, np.abs(accuracy - mean_confidence), 0.0)
    rms = math.sqrt(share @ gap**2)
    return images, mean_confidence, accuracy, float(share @ gap), rms, float(gap.max())


def ece_interval(
    confidence: Any, correct: Any, bins: int = BINS, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The bootstrap interval of the expected calibration error with bins of equal width.

    The error of a resample is biased upward, as that of a small set is, so the interval may lie above the value itself.
    """
    confidence, correct = _answers(confidence, correct)
    index = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    gaps = {str(b): np.where(index == b, correct - confidence, 0.0) for b in range(bins)}
    samples = resampled(gaps, resamples=resamples, seed=seed)
    return interval(np.sum([np.abs(gap) for gap in samples.values()], axis=0))


def temperature(logits: Any, labels: Any) -> float:
    """The T in 0.05..20 with which softmax(logits / T) has the least negative log likelihood (Guo et al. 2017).

    Fit it on pictures that are not those the calibration is reported on. Where every answer is right (or all are useless)
    no inner minimum exists, and T is an end of the range.

    Args:
      logits: float [N, C]; logarithms of probabilities serve as well.
      labels: int [N].
    """
    logits, labels = _checked(logits, labels)
    logits = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        scaled = special.log_softmax(logits / math.exp(log_temperature), axis=1)
        return float(-scaled[np.arange(len(labels)), labels].mean())

    low, high = (math.log(end) for end in _TEMPERATURES)
    found = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return math.exp(min((low, float(found.x), high), key=loss))


def _bins_of_equal_mass(confidence: np.ndarray, bins: int) -> tuple[np.ndarray, int]:
    """int [N] bin of each picture, and the number of bins."""
    bins = min(bins, len(confidence))
    index = np.empty(len(confidence), np.int64)
    for number, members in enumerate(np.array_split(np.argsort(confidence, kind="stable"), bins)):
        index[members] = number
    return index, bins


# --- how well confidence tells right from wrong ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Selective:
    """What is gained by leaving out the answers of least confidence.

    Attributes:
      aurra: area under the response rate accuracy curve, see `aurra`.
      auroc: the probability that a right answer has more confidence than a wrong one; nan if there are only right or only
        wrong ones.
    """

    aurra: float
    auroc: float


def selective(confidence: Any, correct: Any) -> Selective:
    """Selective prediction with confidence float [N] of answers that are right or wrong, bool [N]."""
    confidence, correct = _answers(confidence, correct)
    return Selective(aurra(confidence, correct), auroc(confidence[correct], confidence[~correct]))


def accuracy_by_coverage(confidence: Any, correct: Any) -> np.ndarray:
    """float64 [N]: the accuracy of the k answers of most confidence, k = 1..N; 1 - it is the risk at coverage k / N."""
    confidence, correct = _answers(confidence, correct)
    order = np.argsort(-confidence, kind="stable")
    return np.cumsum(correct[order]) / np.arange(1, len(order) + 1)


def aurra(confidence: Any, correct: Any) -> float:
    """Area under the response rate accuracy curve: the mean of `accuracy_by_coverage` (Hendrycks et al. 2021, ImageNet-A)."""
    return float(accuracy_by_coverage(confidence, correct).mean())


def auroc(positive: Any, negative: Any) -> float:
    """The probability that a score of `positive` (float [P]) is above one of `negative` (float [Q]); ties count half.

    nan if either is empty.
    """
    positive, negative = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    if not len(positive) or not len(negative):
        return math.nan
    ranks = stats.rankdata(np.concatenate([positive, negative]))[: len(positive)]
    above = ranks.sum() - len(positive) * (len(positive) + 1) / 2
    return float(above / (len(positive) * len(negative)))


# --- by class -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PerClass:
    """Scores of every class, each of shape [C].

    Attributes:
      images, predicted, correct: int; pictures of the class, answers that name it, and those of them that are right.
      accuracy: float, correct / images, also called recall; nan for a class without pictures.
      precision: float, correct / predicted; nan for a class that no answer names.
      macro_accuracy: the mean accuracy of the classes that have pictures.
      worst: the class of the lowest accuracy, the first of several; None if no class has pictures.
    """

    images: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    accuracy: np.ndarray
    precision: np.ndarray
    macro_accuracy: float
    worst: Optional[int]


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Pictures of the class `label` that were taken for another one."""

    label: int
    prediction: int
    images: int


def confusion_matrix(labels: Any, predictions: Any, num_classes: int) -> np.ndarray:
    """int64 [C, C]: pictures by class (row) and answer (column).

    Raises:
      ValueError: different lengths, or something that is no class.
    """
    labels, predictions = _classes(labels, num_classes), _classes(predictions, num_classes)
    if labels.shape != predictions.shape:
        raise ValueError(f"{len(labels)} labels for {len(predictions)} predictions")
    flat = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def per_class(confusion: Any) -> PerClass:
    """The scores of every class from a confusion matrix, int [C, C] (rows: classes, columns: answers)."""
    confusion = np.asarray(confusion)
    images, predicted, correct = confusion.sum(axis=1), confusion.sum(axis=0), np.diagonal(confusion).copy()
    accuracy = _quotient(correct, images)
    some = bool((images > 0).any())
    return PerClass(
        images,
        predicted,
        correct,
        accuracy,
        precision=_quotient(correct, predicted),
        macro_accuracy=float(np.nanmean(accuracy)) if some else math.nan,
        worst=int(np.nanargmin(accuracy)) if some else None,
    )


def commonest_confusions(confusion: Any, largest: int = 20) -> tuple[Confusion, ...]:
    """The commonest mistakes of a confusion matrix, int [C, C], most pictures first; equal ones by class, then by answer."""
    mistakes = np.array(confusion)
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:largest]
    rows, columns = np.unravel_index(order, mistakes.shape)
    counts = mistakes[rows, columns]
    return tuple(Confusion(int(r), int(c), int(n)) for r, c, n in zip(rows, columns, counts) if n)


def macro_accuracy_interval(confusion: Any, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The bootstrap interval of the macro accuracy, from a confusion matrix, int [C, C].

    Only the numbers of right and wrong answers of each class matter, and in a resample of the pictures these are multinomial.
    """
    found = per_class(confusion)
    groups = np.concatenate([found.correct, found.images - found.correct])
    total = int(groups.sum())
    if total == 0:
        raise ValueError("no picture")
    drawn = np.random.default_rng(seed).multinomial(total, groups / total, size=resamples)
    right, wrong = np.split(drawn, 2, axis=1)
    return interval(np.nanmean(_quotient(right, right + wrong), axis=1))


# --- two networks on the same pictures ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Gain:
    """By how much the second network's accuracy is above the first's, on the same pictures.

    Attributes:
      num_images: N.
      only_first, only_second: pictures that this network alone has right. `only_first` are the negative flips.
      gain: (only_second - only_first) / N.
      interval: of the gain, by Bonett and Price (2012): adjusted, so that it also holds for few differing pictures.
      bootstrap: of the gain, the percentile interval over resampled pictures.
      p_value: of the exact two-sided McNemar test: how probable it is that two equally good networks differ so unevenly.
    """

    num_images: int
    only_first: int
    only_second: int
    gain: float
    interval: Interval
    bootstrap: Interval
    p_value: float


def paired_gain(first_correct: Any, second_correct: Any, *, resamples: int = RESAMPLES, seed: int = 0) -> Gain:
    """The gain of the second network (the student) over the first (the teacher).

    Args:
      first_correct, second_correct: bool [N], for the same pictures in the same order.
      resamples, seed: of the bootstrap.
    """
    first, second = np.asarray(first_correct, bool), np.asarray(second_correct, bool)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"expected two arrays [N], got the shapes {list(first.shape)} and {list(second.shape)}")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return gain_from_counts(len(first), only_first, only_second, resamples=resamples, seed=seed)


def gain_from_counts(
    num_images: int, only_first: int, only_second: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Gain:
    """A `Gain` from the number of pictures and of those that one network alone has right."""
    differing = only_first + only_second
    if num_images < 1 or min(only_first, only_second) < 0 or differing > num_images:
        raise ValueError(f"got {only_first} and {only_second} differing pictures of {num_images}")
    shares = np.array([only_first, only_second, num_images - differing]) / num_images
    drawn = np.random.default_rng(seed).multinomial(num_images, shares, size=resamples)
    return Gain(
        num_images,
        only_first,
        only_second,
        gain=(only_second - only_first) / num_images,
        interval=_bonett_price(num_images, only_first, only_second),
        bootstrap=interval((drawn[:, 1] - drawn[:, 0]) / num_images),
        p_value=float(stats.binomtest(only_first, differing).pvalue) if differing else 1.0,
    )


def _bonett_price(num_images: int, only_first: int, only_second: int) -> Interval:
    """Adjusted Wald interval of a paired difference: one more picture on either side, N + 2 in all."""
    total = num_images + 2
    difference = (only_second - only_first) / total
    variance = (only_first + only_second + 2) / total - difference**2
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(variance / total)
    return Interval(max(-1.0, difference - half), min(1.0, difference + half))


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How often two networks say the same. Labels are needed only for the counts.

    Attributes:
      num_images: N.
      agreement: share of pictures with the same answer.
      kappa: Cohen's kappa, the agreement beyond chance; nan if both always give one and the same answer.
      both_right, both_wrong_same, both_wrong_other: pictures that both have right, both take for the same wrong class, both
        have wrong in different ways. None without labels, as are the next two.
      negative_flips: pictures that the first network has right and the second wrong.
      positive_flips: the reverse.
    """

    num_images: int
    agreement: float
    kappa: float
    both_right: Optional[int] = None
    both_wrong_same: Optional[int] = None
    both_wrong_other: Optional[int] = None
    negative_flips: Optional[int] = None
    positive_flips: Optional[int] = None


def agreement(first: Any, second: Any, num_classes: int, labels: Any = None) -> Agreement:
    """The agreement of two networks' answers, int [N] each, on pictures whose classes may be unknown (`labels` None)."""
    together = confusion_matrix(first, second, num_classes)
    first, second = np.asarray(first), np.asarray(second)
    total = len(first)
    if total == 0:
        raise ValueError("no picture")
    observed = float(np.trace(together) / total)
    by_chance = float((together.sum(axis=0) / total) @ (together.sum(axis=1) / total))
    kappa = (observed - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan
    if labels is None:
        return Agreement(total, observed, kappa)
    labels = _classes(labels, num_classes)
    if len(labels) != total:
        raise ValueError(f"{len(labels)} labels for {total} predictions")
    right, also = first == labels, second == labels
    same = first == second
    return Agreement(
        total,
        observed,
        kappa,
        both_right=int((right & also).sum()),
        both_wrong_same=int((~right & same).sum()),
        both_wrong_other=int((~right & ~also & ~same).sum()),
        negative_flips=int((right & ~also).sum()),
        positive_flips=int((also & ~right).sum()),
    )


def mean_kl(first: Any, second: Any) -> float:
    """The mean over pictures of KL(first || second) = sum_k p_k log(p_k / q_k), in nats; both float [N, C].

    A probability of 0 in `second` counts as the smallest normal number of its dtype, see `nll`.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or first.ndim != 2 or not len(first):
        raise ValueError(f"expected two arrays [N, C], got the shapes {list(first.shape)} and {list(second.shape)}")
    return float(special.rel_entr(first.astype(np.float64), _above_zero(second)).sum(axis=1).mean())


# --- several runs ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SeedGain:
    """The gain over several runs that differ in their seed alone: the spread of training, not that of the test pictures.

    Attributes:
      runs: S.
      mean, sd: of the gains; sd with S - 1 in the denominator, nan for one run.
      better: runs in which the second is above the first.
      t_p_value: two-sided paired t test; nan for one run, or if all gains are equal.
      sign_p_value: two-sided sign test, runs without a difference left out.
    """

    runs: int
    mean: float
    sd: float
    better: int
    t_p_value: float
    sign_p_value: float


def gain_over_seeds(first: Sequence[float], second: Sequence[float]) -> SeedGain:
    """The gain of `second` over `first`, one accuracy (or other score) a run, paired by seed."""
    if len(first) != len(second) or not len(first):
        raise ValueError(f"expected a pair for each run, got {len(first)} and {len(second)} scores")
    gains = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    runs, better, worse = len(gains), int((gains > 0).sum()), int((gains < 0).sum())
    sd = float(gains.std(ddof=1)) if runs > 1 else math.nan
    equal = np.ptp(gains) <= _ROUNDING
    t = math.nan if runs == 1 or equal else gains.mean() / (sd / math.sqrt(runs))
    return SeedGain(
        runs,
        float(gains.mean()),
        sd,
        better,
        t_p_value=float(2 * stats.t.sf(abs(t), runs - 1)),
        sign_p_value=float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0,
    )


# --- checks and small things ----------------------------------------------------------------------------------------


def as_json(value: Any) -> Any:
    """A score as JSON-able values: dataclasses become objects, arrays lists, what is not finite null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): as_json(part) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        return as_json(value.tolist())
    if isinstance(value, (list, tuple)):
        return [as_json(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _checked(probabilities: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or not probabilities.size:
        raise ValueError(f"expected an array [N, C], N at least 1, got the shape {list(probabilities.shape)}")
    labels = _classes(labels, probabilities.shape[1])
    if len(labels) != len(probabilities):
        raise ValueError(f"{len(labels)} labels for {len(probabilities)} pictures")
    return probabilities, labels


def _classes(values: Any, num_classes: int) -> np.ndarray:
    """int64 [N], each in 0..C-1."""
    values = np.asarray(values)
    if values.ndim != 1 or not (np.issubdtype(values.dtype, np.integer) or not values.size):
        raise ValueError(f"expected integers [N], got {values.dtype} of the shape {list(values.shape)}")
    if values.size and not (values.min() >= 0 and values.max() < num_classes):
        raise ValueError(f"expected classes 0..{num_classes - 1}, got {values.min()}..{values.max()}")
    return values.astype(np.int64)


def _answers(confidence: Any, correct: Any) -> tuple[np.ndarray, np.ndarray]:
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, bool)
    if confidence.shape != correct.shape or confidence.ndim != 1 or not len(confidence):
        raise ValueError(
            f"expected two arrays [N], N at least 1, got the shapes {list(confidence.shape)} and {list(correct.shape)}"
        )
    return confidence, correct


def _above_zero(probabilities: np.ndarray) -> np.ndarray:
    """float64; 0 becomes the smallest normal number of the dtype that the values came in."""
    dtype = probabilities.dtype if np.issubdtype(probabilities.dtype, np.floating) else np.dtype(np.float64)
    return np.maximum(probabilities.astype(np.float64), float(np.finfo(dtype).tiny))


def _quotient(numerator: Any, denominator: Any) -> np.ndarray:
    """float64; nan where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, math.nan), where=denominator != 0)
