from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from evaluation.robustness import noise
from tests.evaluation.robustness.pictures import smooth


def _grey(level: int, side: int = 64) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def test_noise_of_no_draw_changes_nothing() -> None:
    image = smooth(32)
    still = np.zeros(image.shape, np.float32)
    unchanged = (image / 255.0 * 255).astype(np.uint8)  # some values come back one level lower
    np.testing.assert_array_equal(noise.gaussian_noise(image, still, 0.2), unchanged)
    np.testing.assert_array_equal(noise.speckle_noise(image, still, 0.2), unchanged)


def test_gaussian_noise_has_its_deviation_and_speckle_is_in_proportion() -> None:
    image = _grey(128, 200)
    (draws,) = noise.draw_standard_normal(np.random.default_rng(0), image)
    assert draws.dtype == np.float32
    assert noise.gaussian_noise(image, draws, 0.1).std() == pytest.approx(25.5, rel=0.01)
    assert noise.speckle_noise(image, draws, 0.1).std() == pytest.approx(12.8, rel=0.01)
    assert (noise.speckle_noise(_grey(0), draws[:64, :64], 0.6) == 0).all()


def test_shot_noise_counts_photons() -> None:
    image = _grey(51, 200)  # a fifth of white
    (counts,) = noise.draw_counts(np.random.default_rng(0), image, 60)
    assert counts.mean() == pytest.approx(12, rel=0.01)
    assert counts.var() == pytest.approx(12, rel=0.02)
    shot = noise.shot_noise(image, counts, 60)
    np.testing.assert_array_equal(shot, (np.clip(counts / 60, 0, 1) * 255).astype(np.uint8))
    assert counts.dtype == np.uint16
    (none,) = noise.draw_counts(np.random.default_rng(0), _grey(0), 60)
    assert not none.any()


@pytest.mark.parametrize("photons", [3, 12, 60, 500, 700])
def test_counts_follow_the_law_of_poisson_at_every_level(photons: int) -> None:
    image = np.repeat(np.array([0, 1, 30, 128, 254, 255], np.uint8), 30_000).reshape(6, -1, 3)
    (counts,) = noise.draw_counts(np.random.default_rng(1), image, photons)
    for level, row in zip(image[:, 0, 0], counts.reshape(6, -1)):
        law = scipy.stats.poisson(int(level) / 255 * photons)
        cells = np.unique(law.ppf(np.linspace(0, 1, 21)[1:-1]))  # counts up to and including each
        expected = np.diff(np.concatenate([[0], law.cdf(cells), [1]])) * len(row)
        found = np.bincount(np.searchsorted(cells, row), minlength=len(expected))
        likely = expected > 5
        if likely.sum() < 2:
            assert found[likely] == pytest.approx(expected[likely], abs=20)
            continue
        squares = ((found - expected)[likely] ** 2 / expected[likely]).sum()
        assert scipy.stats.chi2.sf(squares, likely.sum() - 1) > 1e-4, level


def test_draws_that_the_first_bits_do_not_settle_are_looked_up() -> None:
    guide, cumulative = noise._poisson_tables(60.0)
    assert 0.005 < np.mean(guide == noise._UNSURE) < 0.05
    for level in (0, 1, 100, 255):
        cells = np.flatnonzero(guide[level] != noise._UNSURE)
        law = scipy.stats.poisson(level / 255 * 60)
        np.testing.assert_array_equal(guide[level][cells], law.ppf((cells + 0.5) / 4096).clip(0))
        np.testing.assert_allclose(cumulative[level] - 2 * level, law.cdf(np.arange(cumulative.shape[1])), atol=1e-9)


def test_impulses_are_black_and_white_in_equal_parts() -> None:
    image = _grey(100, 200)
    flipped, salted = noise.draw_impulses(np.random.default_rng(0), image, 0.1)
    noisy = noise.impulse_noise(image, flipped, salted, 0.1)
    assert set(np.unique(noisy)) == {0, 100, 255}
    assert np.mean(noisy == 255) == pytest.approx(0.05, rel=0.05)
    assert np.mean(noisy == 0) == pytest.approx(0.05, rel=0.05)
    one_channel = (noisy != 100).sum(axis=2) == 1
    assert one_channel.mean() > 0.2  # each channel for itself: 3 * .1 * .9^2
