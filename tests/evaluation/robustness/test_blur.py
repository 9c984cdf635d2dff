"""The fast ways of the blurs against plain ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from evaluation.robustness import blur
from evaluation.robustness.pixels import as_bytes, unit
from tests.evaluation.robustness.pictures import any_pictures, smooth


def _glass_blur_by_loop(
    image: np.ndarray, offsets: np.ndarray, deviation: float, reach: int, passes: int
) -> np.ndarray:
    height, width, _ = image.shape
    shuffled = blur.gaussian_blur(image, deviation)
    moves = iter(offsets)
    for _ in range(passes):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                right, down = next(moves)
                shuffled[row, column] = shuffled[row + down, column + right]
    return blur.gaussian_blur(shuffled, deviation)


@given(
    any_pictures(st.integers(8, 20)),
    st.sampled_from([0.05, 0.4, 0.7, 1.5]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_glass_blur_is_the_loop_over_the_pixels(
    image: np.ndarray, deviation: float, reach: int, passes: int, seed: int
) -> None:
    (offsets,) = blur.draw_offsets(np.random.default_rng(seed), image, deviation, reach, passes)
    side = len(image)
    assert (offsets.shape, offsets.dtype) == ((passes * (side - 2 * reach) ** 2, 2), np.int8)
    assert -reach <= offsets.min() <= offsets.max() < reach
    expected = _glass_blur_by_loop(image, offsets, deviation, reach, passes)
    np.testing.assert_array_equal(blur.glass_blur(image, offsets, deviation, reach, passes), expected)


def test_a_chain_over_the_whole_picture_is_followed_to_its_end() -> None:
    image = smooth(12)
    offsets = np.zeros((100, 2), np.int8)
    offsets[:, 0] = -1
    moved = blur.glass_blur(image, offsets, 0.05, 1, 1)
    np.testing.assert_array_equal(moved, _glass_blur_by_loop(image, offsets, 0.05, 1, 1))


@given(
    any_pictures(st.integers(8, 24)),
    st.floats(-180, 180),
    st.floats(0.5, 20),
    st.floats(0.5, 15),
    st.booleans(),
)
def test_motion_blur_is_imagemagick_s_formula(
    image: np.ndarray, angle: float, radius: float, deviation: float, grey: bool
) -> None:
    image = image[..., 0] if grey else image
    steps = range(2 * math.ceil(radius) + 1)
    weights = [math.exp(-(step**2) / (2 * deviation**2)) for step in steps]
    rows, columns = (np.arange(size) for size in image.shape[:2])
    total = np.zeros(image.shape)
    for step, weight in zip(steps, weights):
        down = math.ceil(step * math.sin(math.radians(angle)) - 0.5)
        right = math.ceil(step * math.cos(math.radians(angle)) - 0.5)
        moved = image[(rows + down).clip(0, len(rows) - 1)][:, (columns + right).clip(0, len(columns) - 1)]
        total += weight / sum(weights) * 257.0 * moved
    expected = np.floor(total + 0.5) // 257
    # A sum just between two levels of 16 bits may fall on either side.
    between = np.abs((total + 0.5) / 257 - np.rint((total + 0.5) / 257)) < 1e-9
    result = blur.motion_blur(image, angle, radius, deviation)
    np.testing.assert_array_equal(result[~between], expected[~between])


@given(any_pictures(st.integers(8, 24)), st.sampled_from([(0.5, 0.6), (1.5, 0.1), (3, 0.1), (6, 0.5), (10, 0.5)]))
def test_defocus_blur_is_a_correlation(image: np.ndarray, constants: tuple[float, float]) -> None:
    kernel = blur._disk(*constants).astype(np.float64)
    planes = [scipy.ndimage.correlate(unit(image[..., channel]), kernel, mode="mirror") for channel in range(3)]
    np.testing.assert_array_equal(blur.defocus_blur(image, *constants), as_bytes(np.stack(planes, axis=-1)))


def test_a_disk_of_one_pixel_changes_nothing() -> None:
    image = smooth(16)
    np.testing.assert_array_equal(blur.defocus_blur(image, 0.5, 0.1), as_bytes(unit(image)))


def test_the_disk_is_float32_and_round() -> None:
    disk = blur._disk(3, 0.1)
    assert (disk.dtype, disk.shape) == (np.float32, (9, 9))
    np.testing.assert_array_equal(disk, disk.T)
    np.testing.assert_array_equal(disk, disk[::-1])
    assert disk.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert np.count_nonzero(disk > 1e-3) == 29  # whole numbers with x^2 + y^2 <= 9


@given(st.sampled_from([0.05, 0.25, 0.4, 0.7, 1.0, 1.5]), st.integers(8, 24))
def test_gaussian_blur_is_scipy_s(deviation: float, side: int) -> None:
    image = smooth(side)
    expected = scipy.ndimage.gaussian_filter(unit(image), (deviation, deviation, 0), mode="nearest", truncate=4.0)
    result = blur.gaussian_blur(image, deviation)
    difference = np.abs(result - expected * 255)
    assert difference.max() < 1 + 1e-9  # cut off
    assert (result <= expected * 255 + 1e-9).all()


@given(st.integers(8, 40), st.lists(st.floats(1, 5), min_size=1, max_size=3))
def test_a_zoom_is_the_middle_of_scipy_s(side: int, factors: list[float]) -> None:
    values = np.random.default_rng(side).random((2, side, side))
    for factor, zoomed in zip(factors, blur.zooms(values, tuple(factors))):
        crop = math.ceil(side / factor)
        middle = slice((side - crop) // 2, (side - crop) // 2 + crop)
        expected = scipy.ndimage.zoom(values[:, middle, middle], (1, factor, factor), order=1, mode="nearest")
        trim = (expected.shape[1] - side) // 2
        expected = expected[:, trim : trim + side, trim : trim + side]
        np.testing.assert_allclose(zoomed.transpose(1, 2, 0), expected, atol=1e-12)


@pytest.mark.parametrize("at_once", [1, 4 * 32 * 32 * 3, 2**17])
def test_a_zoom_blur_is_the_mean_of_its_zooms(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(blur, "_VALUES_AT_ONCE", at_once)
    image = smooth(32)
    result = blur.zoom_blur(image, 1.06, 0.01)
    clean = unit(image).transpose(2, 0, 1)
    zoomed = blur.zooms(clean, (1, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06)).transpose(0, 2, 3, 1)
    expected = np.mean([clean, *zoomed], axis=0).transpose(1, 2, 0) * 255
    assert np.abs(result - expected).max() < 1 + 1e-3


@pytest.mark.parametrize(
    ("largest", "step", "number"), [(1.11, 0.01, 12), (1.24, 0.02, 13), (1.3, 0.03, 11), (1.25, 0.01, 26)]
)
def test_zooms_go_up_to_the_largest(monkeypatch: pytest.MonkeyPatch, largest: float, step: float, number: int) -> None:
    seen: list[float] = []
    zooms = blur.zooms

    def noted(planes: np.ndarray, factors: tuple[float, ...]) -> np.ndarray:
        seen.extend(factors)
        return zooms(planes, factors)

    monkeypatch.setattr(blur, "zooms", noted)
    blur.zoom_blur(smooth(32), largest, step)
    assert len(seen) == number
    assert (seen[0], seen[-1]) == (1, pytest.approx(largest))
