from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn import metrics

from evaluation import scores

Answers = tuple[np.ndarray, np.ndarray]


@st.composite
def answers(draw: st.DrawFn, max_classes: int = 8) -> Answers:
    """probabilities float32 [N, C], labels [N]."""
    classes, pictures = draw(st.integers(2, max_classes)), draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = generator.normal(size=(pictures, classes)) * draw(st.sampled_from([0.0, 1.0, 5.0]))
    return special.softmax(logits, axis=1).astype(np.float32), generator.integers(0, classes, pictures)


@st.composite
def confidences(draw: st.DrawFn) -> Answers:
    """confidence [N] with ties, correct [N]."""
    pairs = draw(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60))
    return np.array([c for c, _ in pairs]) / 20, np.array([right for _, right in pairs])


# --- one network ----------------------------------------------------------------------------------------------------


@given(answers())
def test_scores_agree_with_scikit_learn(drawn: Answers) -> None:
    probabilities, labels = drawn
    classes = probabilities.shape[1]
    found = scores.scores(probabilities, labels)
    predictions = probabilities.argmax(axis=1)
    assert found.num_images == len(labels)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert found.correct == round(found.accuracy * len(labels))
    exact = probabilities.astype(np.float64) / probabilities.sum(axis=1, dtype=np.float64)[:, np.newaxis]
    assert found.nll == pytest.approx(metrics.log_loss(labels, exact, labels=range(classes)), rel=1e-5, abs=1e-6)
    squares = ((exact - np.eye(classes)[labels]) ** 2).sum(axis=1)
    assert found.brier == pytest.approx(squares.mean(), rel=1e-5, abs=1e-6)
    confusion = scores.confusion_matrix(labels, predictions, classes)
    np.testing.assert_array_equal(confusion, metrics.confusion_matrix(labels, predictions, labels=range(classes)))
    precision, recall, _, images = metrics.precision_recall_fscore_support(
        labels, predictions, labels=range(classes), zero_division=np.nan
    )
    np.testing.assert_array_equal(found.per_class.images, images)
    np.testing.assert_allclose(found.per_class.accuracy, recall)
    np.testing.assert_allclose(found.per_class.precision, precision)
    if classes > 5:
        hits = (scores.top_classes(probabilities) == labels[:, np.newaxis]).any(axis=1)
        assert found.top5_accuracy == pytest.approx(hits.mean())
    else:
        assert found.top5_accuracy is None


def test_of_equal_probabilities_the_lower_class_comes_first() -> None:
    probabilities = np.full((2, 7), 1 / 7)
    np.testing.assert_array_equal(scores.top_classes(probabilities), [[0, 1, 2, 3, 4]] * 2)
    assert scores.top5_accuracy(probabilities, [4, 5]) == 0.5
    assert scores.scores(probabilities, [0, 1]).correct == 1
    assert scores.top_classes(np.array([[0.2, 0.5, 0.3]])).tolist() == [[1, 2, 0]]


def test_a_probability_that_was_rounded_to_0_costs_what_the_smallest_number_costs() -> None:
    probabilities = np.array([[1, 0], [1, 0]], np.float32)
    assert scores.nll(probabilities, [0, 1]) == pytest.approx(-np.log(np.finfo(np.float32).tiny) / 2)
    assert scores.nll(probabilities.astype(np.float64), [0, 1]) == pytest.approx(-np.log(2.2250738585072014e-308) / 2)
    assert scores.mean_kl(np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]], np.float32)) == pytest.approx(
        87.3365, abs=1e-4
    )


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.zeros((0, 3)), [], r"expected an array \[N, C\], N at least 1, got the shape \[0, 3\]"),
        ([0.5, 0.5], [0], r"expected an array \[N, C\], N at least 1, got the shape \[2\]"),
        ([[0.5, 0.5]], [2], r"expected classes 0\.\.1, got 2\.\.2"),
        ([[0.5, 0.5]], [-1], r"expected classes 0\.\.1, got -1\.\.-1"),
        ([[0.5, 0.5]], [0, 1], "2 labels for 1 pictures"),
        ([[0.5, 0.5]], [0.0], r"expected integers \[N\], got float64 of the shape \[1\]"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(probabilities: object, labels: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        scores.scores(probabilities, labels)


# --- calibration ----------------------------------------------------------------------------------------------------


def test_calibration_of_a_worked_example() -> None:
    found = scores.calibration([0.2, 0.25, 0.5, 0.9, 1.0], [True, False, True, True, False], bins=4)
    np.testing.assert_allclose(found.low, [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(found.high, [0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(found.images, [2, 1, 0, 2])  # an edge belongs to the bin below it
    np.testing.assert_allclose(found.confidence, [0.225, 0.5, np.nan, 0.95])
    np.testing.assert_allclose(found.accuracy, [0.5, 1.0, np.nan, 0.5])
    assert found.ece == pytest.approx((2 * 0.275 + 0.5 + 2 * 0.45) / 5)
    assert found.rms == pytest.approx(math.sqrt((2 * 0.275**2 + 0.25 + 2 * 0.45**2) / 5))
    assert found.largest == pytest.approx(0.5)


@given(confidences(), st.integers(1, 20), st.booleans())
def test_bins_hold_every_picture_once(drawn: Answers, bins: int, equal_mass: bool) -> None:
    confidence, correct = drawn
    found = scores.calibration(confidence, correct, bins, equal_mass)
    assert found.images.sum() == len(confidence)
    some = found.images > 0
    assert (found.images[some] @ found.accuracy[some]) == pytest.approx(correct.sum())
    assert (found.images[some] @ found.confidence[some]) == pytest.approx(confidence.sum())
    assert np.all(found.confidence[some] <= found.high[some] + 1e-12)
    assert np.all(found.confidence[some] >= found.low[some] - 1e-12)
    assert abs(confidence.mean() - correct.mean()) - 1e-12 <= found.ece <= found.rms + 1e-12
    assert found.rms <= found.largest + 1e-12
    if equal_mass:
        assert len(found.images) == min(bins, len(confidence))
        assert np.ptp(found.images) <= 1
    else:
        for low, high, images in zip(found.low, found.high, found.images):
            assert images == ((confidence > low) & (confidence <= high)).sum() + (low == 0) * (confidence == 0).sum()


def test_answers_that_are_as_sure_as_they_are_right_have_a_small_error() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.random(20_000)
    correct = generator.random(20_000) < confidence
    assert scores.calibration(confidence, correct).ece < 0.02
    assert scores.calibration(confidence, correct, equal_mass=True).ece < 0.02
    found = scores.ece_interval(confidence, ~correct, resamples=200)
    assert found.low < scores.calibration(confidence, ~correct).ece < found.high


def test_a_temperature_that_was_put_in_is_found() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(20_000, 4)) * 2
    labels = np.array([generator.choice(4, p=row) for row in special.softmax(logits, axis=1)])
    assert scores.temperature(logits * 3, labels) == pytest.approx(3, rel=0.05)
    probabilities = special.softmax(logits * 3, axis=1)
    assert scores.temperature(np.log(probabilities), labels) == pytest.approx(
        scores.temperature(logits * 3, labels), rel=1e-4
    )


def test_a_temperature_without_a_minimum_is_an_end_of_the_range() -> None:
    assert scores.temperature([[2.0, 0.0]], [0]) == pytest.approx(0.05)
    assert scores.temperature([[2.0, 0.0]], [1]) == pytest.approx(20.0)


# --- selective prediction -------------------------------------------------------------------------------------------


@given(confidences())
def test_selective_scores(drawn: Answers) -> None:
    confidence, correct = drawn
    found = scores.selective(confidence, correct)
    order = sorted(range(len(confidence)), key=lambda index: -confidence[index])
    shares = [np.mean(correct[order[: k + 1]]) for k in range(len(order))]
    np.testing.assert_allclose(scores.accuracy_by_coverage(confidence, correct), shares)
    assert found.aurra == pytest.approx(np.mean(shares))
    if correct.all() or not correct.any():
        assert math.isnan(found.auroc)
    else:
        assert found.auroc == pytest.approx(metrics.roc_auc_score(correct, confidence))


# --- by class -------------------------------------------------------------------------------------------------------


def test_a_class_without_pictures_is_blank() -> None:
    found = scores.per_class([[3, 1, 0], [0, 0, 0], [2, 0, 2]])
    np.testing.assert_array_equal(found.images, [4, 0, 4])
    np.testing.assert_array_equal(found.accuracy, [0.75, np.nan, 0.5])
    np.testing.assert_array_equal(found.precision, [0.6, 0.0, 1.0])
    assert (found.macro_accuracy, found.worst) == (0.625, 2)
    nothing = scores.per_class(np.zeros((2, 2), int))
    assert math.isnan(nothing.macro_accuracy)
    assert nothing.worst is None


def test_the_commonest_confusions() -> None:
    confusion = [[9, 2, 0], [5, 1, 2], [0, 0, 9]]
    found = scores.commonest_confusions(confusion)
    assert found == (scores.Confusion(1, 0, 5), scores.Confusion(0, 1, 2), scores.Confusion(1, 2, 2))
    assert scores.commonest_confusions(confusion, largest=1) == found[:1]
    assert confusion[0][0] == 9


def test_the_interval_of_the_macro_accuracy_is_that_of_resampled_pictures() -> None:
    generator = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], [20, 50, 130])
    predictions = np.where(generator.random(200) < 0.7, labels, (labels + 1) % 3)
    found = scores.macro_accuracy_interval(scores.confusion_matrix(labels, predictions, 3))
    drawn = []
    for _ in range(4000):
        index = generator.integers(200, size=200)
        drawn.append(metrics.balanced_accuracy_score(labels[index], predictions[index]))
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.006)
    with pytest.raises(ValueError, match=r"^no picture$"):
        scores.macro_accuracy_interval(np.zeros((2, 2), int))


# --- two networks ---------------------------------------------------------------------------------------------------


def test_a_gain_and_its_intervals() -> None:
    first = np.array([True] * 80 + [False] * 20)
    second = np.array([True] * 77 + [False] * 3 + [True] * 12 + [False] * 8)
    found = scores.paired_gain(first, second)
    assert (found.num_images, found.only_first, found.only_second) == (100, 3, 12)
    assert found.gain == pytest.approx(0.09)
    # Adjusted as in Bonett and Price: (13 - 4) / 102 and its standard error.
    centre, error = 9 / 102, math.sqrt((17 / 102 - (9 / 102) ** 2) / 102)
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (centre - 1.96 * error, centre + 1.96 * error), abs=1e-5
    )
    spread = 1.96 * math.sqrt((15 / 100 - 0.09**2) / 100)
    assert (found.bootstrap.low, found.bootstrap.high) == pytest.approx((0.09 - spread, 0.09 + spread), abs=0.011)
    assert found.p_value == pytest.approx(2 * stats.binom.cdf(3, 15, 0.5))
    assert found.p_value == pytest.approx(0.03515625)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_networks_change_places(only_first: int, only_second: int, same: int) -> None:
    total = only_first + only_second + same + 1
    there = scores.gain_from_counts(total, only_first, only_second, resamples=50)
    back = scores.gain_from_counts(total, only_second, only_first, resamples=50)
    assert there.gain == -back.gain
    assert there.p_value == pytest.approx(back.p_value)
    assert 0 <= there.p_value <= 1
    assert there.interval.low == pytest.approx(-back.interval.high)
    assert -1 <= there.interval.low <= there.interval.high <= 1
    assert -1 <= there.bootstrap.low <= there.bootstrap.high <= 1


def test_networks_that_never_differ_have_no_gain() -> None:
    found = scores.paired_gain([True, False], [True, False])
    assert (found.gain, found.p_value, found.bootstrap.low, found.bootstrap.high) == (0, 1, 0, 0)
    assert found.interval.low < 0 < found.interval.high
    with pytest.raises(ValueError, match=r"^expected two arrays \[N\], got the shapes \[1\] and \[2\]$"):
        scores.paired_gain([True], [True, False])
    with pytest.raises(ValueError, match=r"^got 2 and 1 differing pictures of 2$"):
        scores.gain_from_counts(2, 2, 1)


@given(answers(max_classes=5), st.integers(0, 2**32))
def test_agreement_counts_every_picture_once(drawn: Answers, seed: int) -> None:
    probabilities, labels = drawn
    classes = probabilities.shape[1]
    first = probabilities.argmax(axis=1)
    second = np.random.default_rng(seed).integers(0, classes, len(labels))
    found = scores.agreement(first, second, classes, labels)
    gain = scores.paired_gain(first == labels, second == labels, resamples=10)
    assert (found.negative_flips, found.positive_flips) == (gain.only_first, gain.only_second)
    parts = (
        found.both_right,
        found.both_wrong_same,
        found.both_wrong_other,
        found.negative_flips,
        found.positive_flips,
    )
    assert sum(part or 0 for part in parts) == found.num_images == len(labels)
    assert found.agreement == pytest.approx(np.mean(first == second))
    assert found.both_wrong_same == np.sum((first == second) & (first != labels))
    if len(set(first) | set(second)) > 1:
        assert found.kappa == pytest.approx(metrics.cohen_kappa_score(first, second))
    else:
        assert math.isnan(found.kappa)


def test_agreement_needs_no_labels() -> None:
    found = scores.agreement([0, 1, 1], [0, 1, 0], 2)
    assert found.agreement == pytest.approx(2 / 3)
    assert found.negative_flips is None
    assert found.both_right is None
    with pytest.raises(ValueError, match=r"^2 labels for 3 predictions$"):
        scores.agreement([0, 1, 1], [0, 1, 0], 2, [0, 1])
    with pytest.raises(ValueError, match=r"^no picture$"):
        scores.agreement([], [], 2)


@given(answers())
def test_a_distribution_does_not_differ_from_itself(drawn: Answers) -> None:
    probabilities, _ = drawn
    exact = probabilities.astype(np.float64)
    other = np.roll(exact, 1, axis=1)
    assert scores.mean_kl(exact, exact) == pytest.approx(0, abs=1e-12)
    assert scores.mean_kl(exact, other) == pytest.approx(
        np.mean([stats.entropy(p, q) for p, q in zip(exact, other)]), abs=1e-5
    )


# --- several runs ---------------------------------------------------------------------------------------------------


def test_the_gain_over_seeds() -> None:
    first, second = [0.80, 0.82, 0.79, 0.81, 0.80], [0.85, 0.83, 0.84, 0.80, 0.86]
    found = scores.gain_over_seeds(first, second)
    assert (found.runs, found.better) == (5, 4)
    assert found.mean == pytest.approx(0.032)
    assert found.sd == pytest.approx(np.std(np.subtract(second, first), ddof=1))
    assert found.t_p_value == pytest.approx(stats.ttest_rel(second, first).pvalue)
    assert found.sign_p_value == pytest.approx(0.375)


def test_one_run_or_equal_gains_have_no_t_test() -> None:
    one = scores.gain_over_seeds([0.8], [0.9])
    assert math.isnan(one.sd)
    assert math.isnan(one.t_p_value)
    assert one.sign_p_value == 1
    assert math.isnan(scores.gain_over_seeds([0.1, 0.2, 0.3], [0.2, 0.3, 0.4]).t_p_value)
    assert scores.gain_over_seeds([0.1, 0.2], [0.1, 0.2]).sign_p_value == 1
    with pytest.raises(ValueError, match=r"^expected a pair for each run, got 1 and 2 scores$"):
        scores.gain_over_seeds([0.1], [0.1, 0.2])


# --- JSON -----------------------------------------------------------------------------------------------------------


@given(answers())
def test_scores_become_json(drawn: Answers) -> None:
    found = scores.scores(*drawn)
    values = scores.as_json(found)
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["per_class"]["images"] == found.per_class.images.tolist()
    blank = np.flatnonzero(found.per_class.images == 0)
    assert all(values["per_class"]["accuracy"][index] is None for index in blank)
    assert values["calibration"]["ece"] == found.calibration.ece
    gain = scores.as_json(scores.gain_from_counts(10, 1, 2, resamples=10))
    assert gain["interval"]["level"] == 0.95
