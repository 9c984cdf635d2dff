from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.bootstrap import Interval, interval, resampled


def test_an_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 2000)
    found = interval(resampled({"x": values})["x"])
    half = 1.96 * values.std() / np.sqrt(2000)
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)
    assert found.level == 0.95


def test_every_end_sees_the_same_draws() -> None:
    wrong = np.random.default_rng(1).random(300) < 0.4
    drawn = resampled({"a": {1: wrong, 2: ~wrong}, "b": wrong}, resamples=200)
    np.testing.assert_array_equal(drawn["a"][1], drawn["b"])
    np.testing.assert_allclose(drawn["a"][1] + drawn["a"][2], 1.0)
    assert drawn["b"].shape == (200,)
    assert np.ptp(drawn["b"]) > 0


def test_a_picture_is_drawn_with_all_its_variants() -> None:
    """Variants of a picture that are always right or wrong together add no certainty."""
    wrong = np.random.default_rng(2).random(400) < 0.5
    one = interval(resampled({"x": wrong})["x"])
    drawn = resampled(dict.fromkeys(range(5), wrong))
    five = interval(np.mean(list(drawn.values()), axis=0))
    assert (five.low, five.high) == pytest.approx((one.low, one.high))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20), st.integers(0, 2**32), st.integers(1, 130))
def test_means_of_resamples_stay_within_the_values_and_repeat(values: list[float], seed: int, resamples: int) -> None:
    first = resampled({"x": np.array(values)}, resamples=resamples, seed=seed)["x"]
    assert first.shape == (resamples,)
    assert np.all(first >= min(values) - 1e-9)
    assert np.all(first <= max(values) + 1e-9)
    np.testing.assert_array_equal(first, resampled({"x": values}, resamples=resamples, seed=seed)["x"])


def test_an_undefined_resample_makes_the_interval_undefined() -> None:
    found = interval([1.0, np.nan, 2.0])
    assert np.isnan([found.low, found.high]).all()
    assert interval([4.0, 4.0]) == Interval(4.0, 4.0)


def test_pictures_must_be_the_same_everywhere() -> None:
    with pytest.raises(ValueError, match=r"^expected one number of pictures, at least 1, got \[2, 3\]$"):
        resampled({"a": [1, 2], "b": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"^expected one number of pictures, at least 1, got \[0\]$"):
        resampled({"a": []})
    with pytest.raises(ValueError, match=r"^expected one number a picture, shape \[N\], got shape \[2, 1\]$"):
        resampled({"a": [[1], [2]]})
