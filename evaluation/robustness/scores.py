"""The scores of the robustness benchmarks, as their authors compute them. numpy alone.

Errors come as `{corruption: {severity: error}}`, flips as `{perturbation: flip probability}`, both as shares in 0..1. Scores
that the benchmarks print in percent (CE, mCE, FR, mFR, mean errors) are in percent here.

Every number may as well be an array [R] of what `evaluation.bootstrap.resampled` drew; the scores are then arrays [R]:

    drawn = resampled({"teacher": teacher_wrong, "student": student_wrong})    # {corruption: {severity: bool [N]}} each
    student, teacher = (corruption_scores(drawn[name]) for name in ("student", "teacher"))
    interval(student.mce - teacher.mce)

Sources: Hendrycks and Dietterich 2019 (ImageNet-C and -P), Hendrycks et al. 2021 (ImageNet-A and -O), Beyer et al. 2020 (ReaL).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
from scipy import special

from evaluation import scores
from evaluation.robustness import alexnet
from runtime.errors import UserError

Cells = Mapping[str, Mapping[int, Any]]


# --- ImageNet-C -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class CorruptionScores:
    """How much corruptions cost, in percent. Each number is a float, or an array [R] if the errors were.

    Attributes:
      error: {corruption: mean error over the severities}.
      mean_error: the mean of these; 100 - it is the "top-1 accuracy" on ImageNet-C.
      ce: {corruption: sum of errors / sum of the reference's errors}; nan if the reference makes no error.
      mce: the mean of `ce`.
      relative_ce, relative_mce: the same of what is lost against the clean pictures; nan if the reference loses nothing; None
        if a clean error is not given.
    """

    error: dict[str, Any]
    mean_error: Any
    ce: dict[str, Any]
    mce: Any
    relative_ce: Optional[dict[str, Any]] = None
    relative_mce: Any = None


def published_corruption_scores(errors: Cells, clean_error: Any = None) -> CorruptionScores:
    """The scores that may be compared with published ones: all 15 corruptions, all 5 severities, AlexNet as the reference.

    Args:
      errors: {corruption: {severity: error on the published pictures}}.
      clean_error: of the same network on the clean validation pictures, for the relative mCE.

    Raises:
      UserError: a cell is missing or is none of the benchmark's.
    """
    _require_cells(errors, alexnet.ERRORS, "mCE")
    return corruption_scores(errors, alexnet.ERRORS, clean_error, alexnet.CLEAN_ERROR)


def corruption_scores(
    errors: Cells, reference: Cells = alexnet.ERRORS, clean_error: Any = None, reference_clean_error: Any = None
) -> CorruptionScores:
    """The scores relative to a reference, for instance the teacher.

    With any other reference, pictures or severities these are not the published scores: say so beside the number.

    Args:
      errors, reference: {corruption: {severity: error}} with the same keys.
      clean_error, reference_clean_error: on the clean pictures; without them there are no relative scores.

    Raises:
      UserError: one of the two has cells that the other has not.
    """
    _require_cells(errors, reference, "CE")
    error = {name: 100 * _mean(list(row.values())) for name, row in errors.items()}
    ce = {name: _percent(_sum(errors[name]), _sum(reference[name])) for name in errors}
    relative = None
    if clean_error is not None and reference_clean_error is not None:
        relative = {
            name: _percent(_lost(errors[name], clean_error), _lost(reference[name], reference_clean_error))
            for name in errors
        }
    return CorruptionScores(
        error,
        _mean(list(error.values())),
        ce,
        _mean(list(ce.values())),
        relative,
        None if relative is None else _mean(list(relative.values())),
    )


def _lost(row: Mapping[int, Any], clean_error: Any) -> Any:
    return _sum(row) - len(row) * np.asarray(clean_error, np.float64)


def _require_cells(got: Cells, expected: Cells, score: str) -> None:
    missing, unknown = missing_cells(expected, got), missing_cells(got, expected)
    if missing or unknown:
        parts = (f"missing: {missing}" if missing else "", f"not known: {unknown}" if unknown else "")
        raise UserError(
            f"{score}: got {_count(got)} of the {_count(expected)} cells (corruption and severity), expected each of them "
            f"once; {'; '.join(part for part in parts if part)}"
        )
    if not got:
        raise UserError(f"{score}: got no corruption, expected at least one")


def missing_cells(expected: Cells, got: Cells) -> str:
    """The cells of `expected` that `got` has not, e.g. `fog 4, 5; snow 1, 2, 3, 4, 5`; "" if it has all."""
    rows = []
    for name, row in expected.items():
        severities = [str(severity) for severity in row if severity not in got.get(name, {})]
        if severities:
            rows.append(f"{name} {', '.join(severities)}")
    return "; ".join(rows)


def _count(cells: Cells) -> int:
    return sum(len(row) for row in cells.values())


# --- ImageNet-P -----------------------------------------------------------------------------------------------------


def compares_with_first(perturbation: str) -> bool:
    """Whether frames are compared with the first (clean) one instead of their predecessor: those of the noises are."""
    return "noise" in perturbation


def flips(predictions: Any, from_first: bool, difficulty: int = 1) -> np.ndarray:
    """float64 [S]: of each sequence the share of frames whose class differs from that of the frame it is compared with.

    Args:
      predictions: int [S, F], the predicted class of each frame. Labels play no part.
      from_first: compare with the first frame (`compares_with_first`); else with the frame `difficulty` before.
      difficulty: 1..3; the tables of the paper use 1. Noises have folders of their own for 2 and 3.

    Raises:
      ValueError: fewer than two frames to compare.
    """
    before, after = _pairs(np.asarray(predictions), from_first, difficulty)
    return (before != after).mean(axis=1)


def top5_distances(top: Any, from_first: bool, difficulty: int = 1) -> np.ndarray:
    """float64 [S]: of each sequence the mean top-5 distance of the frames that `flips` compares.

    The distance of two rankings is the sum over the five (k) classes of the earlier frame of the change of their place, in
    which every place behind the fifth counts as the sixth: 0 for equal ones, 15 if they share no class.

    Args:
      top: int [S, F, k], the first k = min(5, C) classes of each frame, `evaluation.scores.top_classes`.
      from_first, difficulty: see `flips`.
    """
    before, after = _pairs(np.asarray(top), from_first, difficulty)
    k = before.shape[-1]
    same = before[..., :, np.newaxis] == after[..., np.newaxis, :]
    place = np.where(same.any(axis=-1), same.argmax(axis=-1), k)
    return np.abs(np.arange(k) - place).sum(axis=-1).mean(axis=1)


def _pairs(frames: np.ndarray, from_first: bool, difficulty: int) -> tuple[np.ndarray, np.ndarray]:
    """The frames [S, P, ...] that are compared, and what they are compared with."""
    step = 1 if from_first else difficulty
    if frames.ndim < 2 or step < 1 or frames.shape[1] <= step:
        raise ValueError(
            f"expected sequences [S, F, ...] of more than {step} frames, got the shape {list(frames.shape)}"
        )
    if from_first:
        return np.broadcast_to(frames[:, :1], frames[:, 1:].shape), frames[:, 1:]
    return frames[:, :-step], frames[:, step:]


@dataclasses.dataclass(frozen=True)
class FlipScores:
    """How unstable answers are under perturbations, relative to a reference; floats, or arrays [R] if the values were.

    Attributes:
      rate: {perturbation: value / the reference's value}, in percent: the flip rate FR of flip probabilities, T5D of top-5
        distances; nan if the reference's is 0.
      mean_rate: their mean: mFR, or mT5D.
      mean: the plain mean of the values, in their own unit.
    """

    rate: dict[str, Any]
    mean_rate: Any
    mean: Any


def published_flip_scores(flip_probabilities: Mapping[str, Any]) -> FlipScores:
    """The scores that may be compared with published ones: all 10 perturbations, AlexNet as the reference.

    Args:
      flip_probabilities: {perturbation: mean of `flips` over the published sequences}, shares.

    Raises:
      UserError: a perturbation is missing or is none of the benchmark's.
    """
    return flip_scores(flip_probabilities, alexnet.FLIP_PROBABILITIES, "mFR")


def flip_scores(values: Mapping[str, Any], reference: Mapping[str, Any], score: str = "FR") -> FlipScores:
    """The scores relative to a reference, for instance the teacher; of flip probabilities or of top-5 distances.

    AlexNet's top-5 distances were never published, so an mT5D needs a reference of one's own.

    Raises:
      UserError: one of the two has perturbations that the other has not; `score` names it.
    """
    missing = [name for name in reference if name not in values]
    unknown = [name for name in values if name not in reference]
    if missing or unknown or not values:
        parts = [
            f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("not known", unknown)) if names
        ]
        raise UserError(
            f"{score}: got {len(values)} of the {len(reference)} perturbations, expected each of them once; {'; '.join(parts)}"
        )
    rate = {name: _percent(value, reference[name]) for name, value in values.items()}
    return FlipScores(rate, _mean(list(rate.values())), _mean(list(values.values())))


# --- ImageNet-A, -R, -O ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SubsetScores:
    """Scores on a set that has some of the network's classes (ImageNet-A and -R: 200), the others left out of the answers.

    Attributes:
      num_images, correct, accuracy: argmax among the subset's classes.
      top5_accuracy: likewise; None with five classes or fewer.
      rms_calibration_error: `rms_calibration_error` of the authors' kind; None below 200 pictures, where it says nothing.
      rms_calibration_error_all_bins: that of all bins.
      aurra: `evaluation.scores.aurra`.
      accuracy_among_all: argmax among all classes of the network. Never what is published under the set's name.
    """

    num_images: int
    correct: int
    accuracy: float
    top5_accuracy: Optional[float]
    rms_calibration_error: Optional[float]
    rms_calibration_error_all_bins: float
    aurra: float
    accuracy_among_all: float


def subset_scores(logits: Any, labels: Any, subset: Sequence[int]) -> SubsetScores:
    """The scores of pictures of some of the network's classes.

    Args:
      logits: float [N, C] for all classes of the network.
      labels: int [N] in 0..C-1, each in the subset.
      subset: the classes that the set has, rising.

    Raises:
      ValueError: a label that is not in the subset, or a subset that does not rise.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    probabilities, positions = in_subset(logits, subset), positions_in(labels, subset)
    confidence, predictions = probabilities.max(axis=1), probabilities.argmax(axis=1)
    correct = predictions == positions
    return SubsetScores(
        num_images=len(labels),
        correct=int(correct.sum()),
        accuracy=float(correct.mean()),
        top5_accuracy=scores.top5_accuracy(probabilities, positions),
        rms_calibration_error=(
            rms_calibration_error(confidence, correct) if len(labels) >= 2 * CALIBRATION_BIN else None
        ),
        rms_calibration_error_all_bins=rms_calibration_error(confidence, correct, all_bins=True),
        aurra=scores.aurra(confidence, correct),
        accuracy_among_all=float((logits.argmax(axis=1) == labels).mean()),
    )


def in_subset(logits: Any, subset: Sequence[int]) -> np.ndarray:
    """float64 [N, len(subset)]: the softmax of the logits (float [N, C]) of these classes alone."""
    return special.softmax(np.asarray(logits, np.float64)[:, list(subset)], axis=1)


def positions_in(labels: Any, subset: Sequence[int]) -> np.ndarray:
    """int64 [N]: where in the subset, which rises, each label (int [N]) is.

    Raises:
      ValueError: it is not, or the subset does not rise.
    """
    labels, classes = np.asarray(labels), np.asarray(subset)
    if np.any(np.diff(classes) <= 0):
        raise ValueError("the classes of a subset must rise")
    positions = np.searchsorted(classes, labels)
    strangers = classes[np.minimum(positions, len(classes) - 1)] != labels
    if strangers.any():
        raise ValueError(f"{labels[strangers][0]} is not among the {len(classes)} classes of the subset")
    return positions


CALIBRATION_BIN = 100


def rms_calibration_error(confidence: Any, correct: Any, all_bins: bool = False) -> float:
    """The root mean square calibration error with bins of 100 pictures by rising confidence; the last takes the rest.

    The authors' loop leaves out the last bin, that of most confidence. Published numbers are computed so, and so is this one
    unless `all_bins`; for fewer than 200 pictures it is then 0, as there is one bin.

    Args:
      confidence: float [N].
      correct: bool [N].
      all_bins: count the last bin, too.

    Raises:
      ValueError: without `all_bins`, fewer than 100 pictures.
    """
    return binned_calibration(confidence, correct, all_bins)[0]


def binned_calibration(confidence: Any, correct: Any, all_bins: bool = False) -> tuple[float, float, float]:
    """Root mean square, mean and largest |accuracy - confidence| over the bins of `rms_calibration_error`."""
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, bool)
    total = len(confidence)
    if confidence.shape != correct.shape or total < (1 if all_bins else CALIBRATION_BIN):
        raise ValueError(f"expected at least {CALIBRATION_BIN} pictures for the authors' error, got {total}")
    order = np.argsort(confidence, kind="stable")
    bins = max(total // CALIBRATION_BIN, 1)
    index = np.minimum(np.arange(total) // CALIBRATION_BIN, bins - 1)
    counted = bins if all_bins else bins - 1
    images = np.bincount(index, minlength=bins)
    gaps = np.bincount(index, correct[order] - confidence[order], bins) / images
    gaps, share = np.abs(gaps[:counted]), images[:counted] / total
    return math.sqrt(share @ gaps**2), float(share @ gaps), float(gaps.max(initial=0.0))


@dataclasses.dataclass(frozen=True)
class OutOfDistribution:
    """How well a low confidence tells pictures of no known class (the positive ones) from others.

    Attributes:
      num_inside, num_outside: pictures of known and of unknown classes.
      aupr: area under the precision-recall curve (average precision); by chance it is the share of positive pictures.
      auroc: area under the receiver operating characteristic; .5 by chance.
      fpr95: the share of known pictures that are taken for unknown when 95 % of the unknown ones are found.
    """

    num_inside: int
    num_outside: int
    aupr: float
    auroc: float
    fpr95: float


def out_of_distribution(inside: Any, outside: Any) -> OutOfDistribution:
    """ImageNet-O's scores: the anomaly score of a picture is minus its confidence.

    Args:
      inside: float [N], the confidence (largest probability among the set's 200 classes, `in_subset`) on validation pictures
        of these classes.
      outside: float [M], the same on the pictures of unknown classes.

    Raises:
      ValueError: one of them is empty.
    """
    inside, outside = np.asarray(inside, np.float64), np.asarray(outside, np.float64)
    if not len(inside) or not len(outside):
        raise ValueError(f"expected pictures of both kinds, got {len(inside)} known and {len(outside)} unknown ones")
    thresholds = np.unique(np.concatenate([inside, outside]))  # called unknown: a confidence of at most the threshold
    found = np.searchsorted(np.sort(outside), thresholds, side="right")
    alarms = np.searchsorted(np.sort(inside), thresholds, side="right")
    precision, recall = found / (found + alarms), found / len(outside)
    enough = np.argmax(found * 100 >= 95 * len(outside))
    return OutOfDistribution(
        num_inside=len(inside),
        num_outside=len(outside),
        aupr=float(np.sum(np.diff(recall, prepend=0.0) * precision)),
        auroc=scores.auroc(-outside, -inside),
        fpr95=float(alarms[enough] / len(inside)),
    )


# --- ReaL -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class RealScores:
    """Accuracy with the reassessed labels, of which a picture may have several, or none.

    Attributes:
      num_images: pictures that have a label; only they count (46,837 of the 50,000).
      left_out: pictures without one.
      correct, accuracy: pictures whose answer is one of their labels.
    """

    num_images: int
    left_out: int
    correct: int
    accuracy: float


def real_scores(predictions: Any, labels: Sequence[Sequence[int]]) -> RealScores:
    """ReaL's accuracy.

    Args:
      predictions: int [N], in the order of the validation pictures' names.
      labels: N lists of classes in the same order, `archives.real_labels`.

    Raises:
      ValueError: different lengths, or no picture with a label.
    """
    predictions = np.asarray(predictions)
    if len(predictions) != len(labels):
        raise ValueError(f"{len(labels)} lists of labels for {len(predictions)} predictions")
    counted = sum(1 for classes in labels if classes)
    if not counted:
        raise ValueError("no picture has a label")
    correct = sum(int(answer) in classes for answer, classes in zip(predictions, labels))
    return RealScores(counted, len(labels) - counted, correct, correct / counted)


# --- small things ---------------------------------------------------------------------------------------------------


def _sum(row: Mapping[int, Any]) -> Any:
    return sum(np.asarray(value, np.float64) for value in row.values())


def _mean(values: Sequence[Any]) -> Any:
    """A float, or an array [R] if one of the values is."""
    return _plain(sum(np.asarray(value, np.float64) for value in values) / len(values))


def _percent(value: Any, reference: Any) -> Any:
    """100 value / reference; nan if the reference is not above 0."""
    value, reference = np.broadcast_arrays(np.asarray(value, np.float64), np.asarray(reference, np.float64))
    out = np.full(value.shape, math.nan)
    return _plain(100 * np.divide(value, reference, out=out, where=reference > 0))


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value
