from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from evaluation.bootstrap import interval, resampled
from evaluation.robustness import alexnet, scores
from evaluation.scores import as_json, top_classes
from runtime.errors import UserError
from tests.golden import robustness_metrics

METRICS = Path(robustness_metrics.__file__).with_name("metrics.json")

# Published lists of ResNeXt-101 WSL (facebookresearch/WSL-Images), in percent; results of eminorhan/resnext-wsl.
ERRORS_48D = [
    36.5868, 38.4364, 39.8076, 39.1164, 54.8180, 37.5004, 44.4944, 39.6656, 37.8044, 29.9156, 18.3760, 32.1096, 40.2592,
    25.6256, 26.9004,
]  # fmt: skip
ERRORS_8D = [
    60.0148, 61.7548, 65.7424, 53.1404, 65.6848, 51.8344, 56.8676, 60.1100, 54.6248, 49.4664, 28.2292, 56.1248, 47.5676,
    43.9596, 38.7024,
]  # fmt: skip
FLIPS_48D = [5.847, 6.991, 2.842, 2.323, 3.667, 1.536, 2.416, 3.469, 2.149, 4.619]
FLIPS_8D = [10.626, 13.105, 4.463, 3.518, 5.784, 2.610, 4.024, 5.590, 3.313, 8.868]


def _cells(means: list[float]) -> dict[str, dict[int, float]]:
    """Mean errors in percent, as if all severities had the same."""
    return {name: dict.fromkeys(alexnet.SEVERITIES, mean / 100) for name, mean in zip(alexnet.CORRUPTIONS, means)}


# --- against the authors' own code ----------------------------------------------------------------------------------


def test_the_authors_own_scores_are_met() -> None:
    result = robustness_metrics.compare_metrics(json.loads(METRICS.read_text()))
    assert result["ok"], result
    assert set(result["deviations"]) == {
        *("flip_probability", "top5_distance", "flip_rate", "mfr", "aurra"),
        *("ce", "mce", "relative_ce", "relative_mce", "mean_error"),
        *("rms_calibration_error_authors", "mad_calibration_error_authors", "max_calibration_error_authors"),
        "rms_calibration_error_all_bins",
    }
    assert result["not_compared"] == ["zipf_distance"]


@pytest.mark.parametrize(
    ("change", "quantity"),
    [
        (lambda content: content["sequences"][0]["consecutive_d2"], "flip_probability"),
        (lambda content: content["sequences"][3]["first_frame"], "top5_distance"),
        (lambda content: content["corruption_tables"][1], "mce"),
        (lambda content: content["corruption_tables"][2]["relative_ce"], "frost"),
        (lambda content: content["flip_tables"][1], "mfr"),
        (lambda content: content["calibration"][0], "rms_calibration_error_authors"),
    ],
)
def test_a_table_that_deviates_is_told(change: Callable[[Any], Any], quantity: str) -> None:
    content = json.loads(METRICS.read_text())
    change(content)[quantity] += 1e-6
    result = robustness_metrics.compare_metrics(content)
    assert not result["ok"]
    assert sum(deviation["largest"] > 1e-9 for deviation in result["deviations"].values()) == 1


def test_alexnet_s_tables_are_the_authors_ones() -> None:
    content = json.loads(METRICS.read_text())
    for table in content["corruption_tables"]:
        assert {name: list(row.values()) for name, row in alexnet.ERRORS.items()} == table["reference_errors"]
        assert table["reference_clean_error"] == alexnet.CLEAN_ERROR
    for table in content["flip_tables"]:
        assert list(table["reference"]) == list(alexnet.PERTURBATIONS)
        assert [100 * value for value in alexnet.FLIP_PROBABILITIES.values()] == pytest.approx(
            list(table["reference"].values())
        )
    means = [0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816, 0.826572, 0.819324]
    means += [0.564592, 0.853204, 0.646056, 0.717840, 0.606500]
    assert [np.mean(list(row.values())) for row in alexnet.ERRORS.values()] == pytest.approx(means, abs=1e-12)


# --- mCE ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("means", "mce"), [(ERRORS_48D, 45.6966), (ERRORS_8D, 66.6505)])
def test_published_errors_give_the_published_mce(means: list[float], mce: float) -> None:
    found = scores.published_corruption_scores(_cells(means))
    assert round(found.mce, 4) == mce
    assert found.mean_error == pytest.approx(np.mean(means))
    assert found.error["glass_blur"] == pytest.approx(means[4])
    assert found.relative_mce is None


def test_alexnet_relative_to_itself_is_100() -> None:
    found = scores.published_corruption_scores(alexnet.ERRORS, alexnet.CLEAN_ERROR)
    assert (found.mce, found.relative_mce) == pytest.approx((100, 100))


def _without(cells: dict[str, dict[int, float]], *gone: tuple[str, int]) -> dict[str, dict[int, float]]:
    rows = {name: {s: e for s, e in row.items() if (name, s) not in gone} for name, row in cells.items()}
    return {name: row for name, row in rows.items() if row}


def test_mce_is_refused_unless_every_cell_is_there() -> None:
    cells = _cells(ERRORS_8D)
    lacking = _without(cells, ("fog", 5), *(("jpeg_compression", severity) for severity in alexnet.SEVERITIES))
    with pytest.raises(UserError) as refused:
        scores.published_corruption_scores(lacking)
    assert str(refused.value) == (
        "mCE: got 69 of the 75 cells (corruption and severity), expected each of them once; "
        "missing: fog 5; jpeg_compression 1, 2, 3, 4, 5"
    )
    other = {("jpeg" if name == "jpeg_compression" else name): row for name, row in cells.items()}
    with pytest.raises(
        UserError,
        match=r"^mCE: got 75 of the 75 .* missing: jpeg_compression 1, 2, 3, 4, 5; not known: jpeg 1, 2, 3, 4, 5$",
    ):
        scores.published_corruption_scores(other)


@given(
    st.sets(st.sampled_from([(c, s) for c in alexnet.CORRUPTIONS for s in alexnet.SEVERITIES]), min_size=1, max_size=75)
)
def test_whatever_is_missing_is_named(gone: set[tuple[str, int]]) -> None:
    with pytest.raises(UserError) as refused:
        scores.published_corruption_scores(_without(_cells(ERRORS_48D), *gone))
    (line,) = str(refused.value).splitlines()
    named = {
        (name, int(severity))
        for row in line.partition("missing: ")[2].split("; ")
        for name, _, severities in [row.partition(" ")]
        for severity in severities.split(", ")
    }
    assert named == gone


def test_a_teacher_as_the_reference_needs_the_same_cells_alone() -> None:
    teacher = {"fog": {1: 0.2, 3: 0.4, 5: 0.6}, "snow": {1: 0.1, 3: 0.2, 5: 0.1}}
    student = {"fog": {1: 0.1, 3: 0.2, 5: 0.3}, "snow": {1: 0.2, 3: 0.1, 5: 0.3}}
    found = scores.corruption_scores(student, teacher, 0.05, 0.10)
    assert found.ce == pytest.approx({"fog": 50, "snow": 150})
    assert found.mce == pytest.approx(100)
    assert found.relative_ce == pytest.approx({"fog": 50, "snow": 450})
    assert found.mean_error == pytest.approx(20)
    with pytest.raises(UserError, match=r"^CE: got 5 of the 6 cells .*; missing: snow 3$"):
        scores.corruption_scores(_without(student, ("snow", 3)), teacher)
    with pytest.raises(UserError, match=r"^CE: got no corruption, expected at least one$"):
        scores.corruption_scores({}, {})


def test_a_perfect_teacher_leaves_ce_undefined() -> None:
    found = scores.corruption_scores({"fog": {1: 0.1}, "snow": {1: 0.1}}, {"fog": {1: 0.0}, "snow": {1: 0.2}}, 0.0, 0.0)
    assert math.isnan(found.ce["fog"])
    assert found.ce["snow"] == pytest.approx(50)
    assert math.isnan(found.mce)
    assert found.relative_ce is not None
    assert math.isnan(found.relative_ce["fog"])
    assert as_json(found)["mce"] is None


def test_intervals_are_those_of_pictures_with_all_their_variants() -> None:
    generator = np.random.default_rng(0)
    hard = generator.random(300)  # a hard picture is wrong in many cells
    wrong = {
        name: {severity: generator.random(300) < hard * severity / 5 for severity in alexnet.SEVERITIES}
        for name in alexnet.CORRUPTIONS
    }
    clean = generator.random(300) < hard / 10
    drawn = resampled({"cells": wrong, "clean": clean}, resamples=500)
    samples = scores.published_corruption_scores(drawn["cells"], drawn["clean"])
    value = scores.published_corruption_scores(_means(wrong), clean.mean())
    assert samples.mce.shape == samples.relative_mce.shape == samples.ce["fog"].shape == (500,)
    found = interval(samples.mce)
    assert found.low < value.mce < found.high
    # mCE is a mean over pictures of what each adds to it, so its standard error is known.
    each = sum(100 / 15 * sum(wrong[c].values()) / sum(alexnet.ERRORS[c].values()) for c in alexnet.CORRUPTIONS)
    half = 1.96 * np.std(each) / np.sqrt(300)
    assert (found.low, found.high) == pytest.approx((value.mce - half, value.mce + half), abs=0.15 * half)
    independent = (
        1.96 * np.sqrt(np.mean([w.std() ** 2 for row in wrong.values() for w in row.values()]) / 300 / 75) * 100
    )
    assert half > 2 * independent
    assert samples.relative_mce.mean() == pytest.approx(value.relative_mce, rel=0.05)


def test_a_difference_of_two_networks_is_paired() -> None:
    generator = np.random.default_rng(1)
    teacher = {"fog": {1: generator.random(400) < 0.5}}
    student = {"fog": {1: teacher["fog"][1] & (generator.random(400) < 0.9)}}
    drawn = resampled({"teacher": teacher, "student": student}, resamples=500)
    relative = scores.corruption_scores(drawn["student"], drawn["teacher"])
    assert interval(relative.mce).high < 100
    one, other = interval(drawn["student"]["fog"][1]), interval(drawn["teacher"]["fog"][1])
    assert one.high > other.low  # unpaired intervals overlap


def _means(wrong: dict[str, dict[int, np.ndarray]]) -> dict[str, dict[int, float]]:
    return {name: {severity: float(values.mean()) for severity, values in row.items()} for name, row in wrong.items()}


# --- flips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "mfr", "digits"), [(FLIPS_48D, 27.83, 2), (FLIPS_8D, 46.1, 1)])
def test_published_flips_give_the_published_mfr(values: list[float], mfr: float, digits: int) -> None:
    shares = {name: value / 100 for name, value in zip(alexnet.PERTURBATIONS, values)}
    found = scores.published_flip_scores(shares)
    assert round(found.mean_rate, digits) == mfr
    assert found.mean == pytest.approx(np.mean(values) / 100)
    assert scores.published_flip_scores(alexnet.FLIP_PROBABILITIES).mean_rate == pytest.approx(100)


def test_mfr_is_refused_unless_every_perturbation_is_there() -> None:
    flips = dict(alexnet.FLIP_PROBABILITIES)
    del flips["tilt"], flips["snow"]
    with pytest.raises(UserError) as refused:
        scores.published_flip_scores({**flips, "spatter": 0.1})
    assert str(refused.value) == (
        "mFR: got 9 of the 10 perturbations, expected each of them once; missing: snow, tilt; not known: spatter"
    )
    with pytest.raises(UserError, match=r"^mT5D: got 1 of the 2 perturbations, .*; missing: scale$"):
        scores.flip_scores({"tilt": 1.0}, {"tilt": 2.0, "scale": 1.0}, "mT5D")


def test_top5_distances_are_normalised_by_a_reference_of_one_s_own() -> None:
    ours = dict(
        zip(alexnet.PERTURBATIONS, [2.3962, 2.7221, 1.0969, 0.8711, 1.3237, 0.7108, 1.1532, 1.5221, 1.0269, 1.8347])
    )
    theirs = dict(
        zip(alexnet.PERTURBATIONS, [3.4286, 3.9671, 1.3982, 1.0897, 1.6981, 0.9622, 1.5581, 1.9803, 1.2903, 2.6793])
    )
    found = scores.flip_scores(ours, theirs, "mT5D")
    assert found.rate["tilt"] == pytest.approx(100 * 1.0269 / 1.2903)
    assert found.mean_rate == pytest.approx(np.mean([100 * ours[name] / theirs[name] for name in ours]))


def test_noises_are_compared_with_the_clean_frame() -> None:
    predictions = [[0, 1, 1, 0, 1], [2, 2, 2, 2, 2]]
    np.testing.assert_allclose(scores.flips(predictions, from_first=True), [0.75, 0])
    np.testing.assert_allclose(scores.flips(predictions, from_first=False), [0.75, 0])
    np.testing.assert_allclose(scores.flips(predictions, from_first=False, difficulty=2), [2 / 3, 0])
    np.testing.assert_allclose(scores.flips([[0, 1, 1, 1]], from_first=True), [1])
    np.testing.assert_allclose(scores.flips([[0, 1, 1, 1]], from_first=False), [1 / 3])
    noisy = [name for name in alexnet.PERTURBATIONS if scores.compares_with_first(name)]
    assert noisy == ["gaussian_noise", "shot_noise"]
    assert scores.compares_with_first("gaussian_noise_2")
    with pytest.raises(
        ValueError, match=r"^expected sequences \[S, F, ...\] of more than 2 frames, got the shape \[1, 2\]$"
    ):
        scores.flips([[0, 1]], from_first=False, difficulty=2)


def test_top5_distances_of_worked_examples() -> None:
    def distance(first: list[int], second: list[int]) -> float:
        (found,) = scores.top5_distances([[first, second]], from_first=False)
        return float(found)

    assert distance([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]) == 0
    assert distance([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == 15
    assert distance([1, 2, 3, 4, 5], [2, 1, 3, 4, 5]) == 2
    assert distance([1, 2, 3, 4, 5], [2, 3, 4, 5, 6]) == 5 + 4
    assert distance([0, 1, 2], [2, 1, 0]) == 4


@given(st.integers(2, 12), st.integers(2, 6), st.integers(0, 2**32), st.booleans(), st.integers(1, 3))
def test_sequences_are_scored_one_by_one(
    classes: int, extra: int, seed: int, from_first: bool, difficulty: int
) -> None:
    logits = np.random.default_rng(seed).integers(0, 4, (3, difficulty + extra, classes))
    top = top_classes(logits)
    flips = scores.flips(top[..., 0], from_first, difficulty)
    distances = scores.top5_distances(top, from_first, difficulty)
    for index in range(3):
        assert scores.flips(top[index : index + 1, :, 0], from_first, difficulty) == pytest.approx(flips[index])
        assert scores.top5_distances(top[index : index + 1], from_first, difficulty) == pytest.approx(distances[index])
    assert np.all((flips >= 0) & (flips <= 1))
    assert np.all((distances >= 0) & (distances <= 18))
    assert np.all((flips == 0) | (distances > 0))


# --- ImageNet-A, -R, -O ---------------------------------------------------------------------------------------------


def test_a_subset_s_answers_are_among_its_classes() -> None:
    logits = np.array([[9.0, 1, 0, 2], [0, 0, 5, 1], [0, 7, 0, 6.5], [0, 1, 2, 3]])
    found = scores.subset_scores(logits, [3, 1, 3, 3], subset=[1, 3])
    assert (found.num_images, found.correct, found.accuracy) == (4, 2, 0.5)  # 3, 3, 1, 3 of the labels 3, 1, 3, 3
    assert found.accuracy_among_all == 0.25
    assert found.top5_accuracy is None
    assert found.rms_calibration_error is None
    confidence = 1 / (1 + np.exp(-np.array([1, 1, 0.5, 2])))
    np.testing.assert_allclose(scores.in_subset(logits, [1, 3]).max(axis=1), confidence)
    assert found.rms_calibration_error_all_bins == pytest.approx(abs(confidence.mean() - 0.5))


@given(st.integers(0, 2**32), st.integers(0, 12))
def test_the_classes_that_a_set_has_not_do_not_matter(seed: int, others: int) -> None:
    generator = np.random.default_rng(seed)
    subset = np.sort(generator.permutation(8 + others)[:8])
    logits, labels = generator.normal(size=(300, 8 + others)), generator.choice(subset, 300)
    first = scores.subset_scores(logits, labels, subset.tolist())
    changed = logits + 1e3 * (1 - np.isin(np.arange(8 + others), subset))
    second = scores.subset_scores(changed, labels, subset.tolist())
    assert first.accuracy == second.accuracy == metrics.accuracy_score(labels, subset[logits[:, subset].argmax(axis=1)])
    assert (first.aurra, first.top5_accuracy) == (second.aurra, second.top5_accuracy)
    assert first.rms_calibration_error == second.rms_calibration_error
    assert first.rms_calibration_error is not None


def test_a_label_outside_the_subset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^2 is not among the 2 classes of the subset$"):
        scores.positions_in([1, 2], [1, 3])
    with pytest.raises(ValueError, match=r"^7 is not among the 2 classes of the subset$"):
        scores.positions_in([7], [1, 3])
    with pytest.raises(ValueError, match=r"^the classes of a subset must rise$"):
        scores.positions_in([1], [3, 1])


def test_the_authors_calibration_error_leaves_out_the_most_confident() -> None:
    confidence = np.concatenate([np.full(100, 0.2), np.full(100, 0.5), np.full(150, 0.9)])
    correct = np.concatenate([np.arange(100) < 40, np.arange(100) < 50, np.arange(150) < 0])
    assert scores.rms_calibration_error(confidence, correct) == pytest.approx(math.sqrt(100 / 350 * 0.2**2))
    both = math.sqrt(100 / 350 * 0.2**2 + 150 / 350 * 0.9**2)
    assert scores.rms_calibration_error(confidence, correct, all_bins=True) == pytest.approx(both)
    assert scores.rms_calibration_error(confidence[:199], correct[:199]) == 0
    with pytest.raises(ValueError, match=r"^expected at least 100 pictures for the authors' error, got 99$"):
        scores.rms_calibration_error(confidence[:99], correct[:99])
    assert scores.rms_calibration_error(confidence[:1], correct[:1], all_bins=True) == pytest.approx(0.8)


@given(
    st.lists(st.integers(0, 10), min_size=1, max_size=40),
    st.lists(st.integers(0, 10), min_size=1, max_size=40),
)
def test_out_of_distribution_scores_agree_with_scikit_learn(inside: list[int], outside: list[int]) -> None:
    known, unknown = np.array(inside) / 10, np.array(outside) / 10
    found = scores.out_of_distribution(known, unknown)
    positive = np.concatenate([np.zeros(len(known)), np.ones(len(unknown))])
    anomaly = -np.concatenate([known, unknown])
    assert found.aupr == pytest.approx(metrics.average_precision_score(positive, anomaly))
    assert found.auroc == pytest.approx(metrics.roc_auc_score(positive, anomaly))
    false, true, _ = metrics.roc_curve(positive, anomaly, drop_intermediate=False)
    assert found.fpr95 == pytest.approx(false[true >= 0.95 - 1e-12].min())
    assert (found.num_inside, found.num_outside) == (len(known), len(unknown))


def test_out_of_distribution_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match=r"^expected pictures of both kinds, got 0 known and 1 unknown ones$"):
        scores.out_of_distribution([], [0.5])
    assert scores.out_of_distribution([0.9, 0.8], [0.1]).fpr95 == 0


# --- ReaL -----------------------------------------------------------------------------------------------------------


def test_pictures_without_a_label_are_left_out() -> None:
    found = scores.real_scores(np.array([1, 2, 3, 4]), [[1, 7], [], [2], [0, 4]])
    assert (found.num_images, found.left_out, found.correct) == (3, 1, 2)
    assert found.accuracy == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match=r"^2 lists of labels for 1 predictions$"):
        scores.real_scores([1], [[1], [2]])
    with pytest.raises(ValueError, match=r"^no picture has a label$"):
        scores.real_scores([1], [[]])
