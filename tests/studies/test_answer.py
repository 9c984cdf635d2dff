"""What results say: means, paired intervals over seeds and over pictures, and the verdict that follows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from studies import page
from studies.answer import AS_CLAIMED, OPPOSITE, UNDECIDED, answer
from studies.definition import Arm, Contrast, Study
from studies.results import Result

STUDY = Study("s", "Which?", "a is better.", "section 1", (Arm("a"), Arm("b", student=("--x",))), (Contrast("a", "b"),))


def kept(of_a, of_b, num_images=1000):
    """Results of two arms with these accuracies, seed by seed; equal pictures in both."""
    found = {}
    for arm, shares in (("a", of_a), ("b", of_b)):
        for seed, share in enumerate(shares):
            correct = None if share is None else np.arange(num_images) < round(share * num_images)
            found[arm, seed] = Result(correct, "p", 36.0, "" if share is not None else "no memory")
    return found


def test_means_and_the_paired_interval_over_seeds():
    found = answer(STUDY, range(4), kept([0.8, 0.82, 0.84, 0.86], [0.7, 0.73, 0.76, 0.75]))
    assert found.arms[0].mean == pytest.approx(0.83)
    assert found.arms[0].sd == pytest.approx(np.std([0, 2, 4, 6], ddof=1) / 100)
    (contrast,) = found.contrasts
    gains = [0.10, 0.09, 0.08, 0.11]
    low, high = stats.t.interval(0.95, 3, np.mean(gains), stats.sem(gains))
    assert (contrast.over_seeds.low, contrast.over_seeds.high) == pytest.approx((low, high))
    assert contrast.over_pictures.low < 0.095 < contrast.over_pictures.high
    assert contrast.verdict == AS_CLAIMED
    assert contrast.would_decide == ""
    assert (found.num_images, found.hours) == (1000, pytest.approx(8 * 36 / 3600))


@pytest.mark.parametrize(
    ("of_a", "of_b", "verdict"),
    [
        ([0.9, 0.91], [0.5, 0.51], AS_CLAIMED),
        ([0.5, 0.51], [0.9, 0.91], OPPOSITE),
        ([0.5, 0.9], [0.6, 0.5], UNDECIDED),  # seeds disagree
        ([0.5], [0.9], UNDECIDED),  # one seed says nothing of seeds
        ([0.5, 0.5], [0.5, 0.5], UNDECIDED),
    ],
)
def test_a_verdict_needs_seeds_and_pictures(of_a, of_b, verdict):
    assert answer(STUDY, range(2), kept(of_a, of_b)).contrasts[0].verdict == verdict


def test_few_pictures_leave_it_undecided_and_say_how_many_would_do():
    (contrast,) = answer(STUDY, range(3), kept([0.62, 0.6, 0.61], [0.58, 0.58, 0.57], 50)).contrasts
    assert contrast.over_seeds.low > 0
    assert contrast.verdict == UNDECIDED
    assert "test pictures, if the gain stays as it is" in contrast.would_decide
    assert "seeds" not in contrast.would_decide


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=2, max_size=6))
def test_as_many_seeds_as_it_says_would_leave_zero_out(pairs):
    of_a, of_b = ([share / 100 for share in side] for side in zip(*pairs))
    (contrast,) = answer(STUDY, range(len(pairs)), kept(of_a, of_b, 100)).contrasts
    assert contrast.over_seeds.low <= contrast.gain + 1e-12
    assert contrast.gain <= contrast.over_seeds.high + 1e-12
    if " seeds" in contrast.would_decide and "more than" not in contrast.would_decide:
        seeds = int(contrast.would_decide.split("about ")[1].split(" seeds")[0])
        sd = np.std(np.subtract(of_a, of_b), ddof=1)
        assert abs(contrast.gain) > stats.t.ppf(0.975, seeds - 1) * sd / math.sqrt(seeds)
        assert seeds > len(pairs)


def test_a_failed_seed_is_named_and_the_others_count(tmp_path):
    found = page.write(str(tmp_path), STUDY, [0, 1, 2], kept([0.8, None, 0.9], [0.5, 0.5, 0.6]))
    assert found.contrasts[0].seeds == (0, 2)
    text = (tmp_path / "study.md").read_text()
    assert "- a, seed 1: no memory" in text
    assert "| a | as the command line says | 85.0 |" in text
    assert text.splitlines()[0] == "# s: Which?"
    assert {file.name for file in tmp_path.iterdir()} == {"study.md", "study.json", "arms.png"}
