from __future__ import annotations

import colorsys

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from evaluation.robustness import digital, hsv, weather
from evaluation.robustness.pixels import mirrored, reflected
from evaluation.robustness.warping import affine_points, points_at, sample, warp_perspective
from tests.evaluation.robustness.pictures import any_pictures, smooth

COLOURS = st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=20)


@given(COLOURS, st.floats(0, 3), st.floats(-0.5, 0.5))
def test_hsv_is_python_s(colours: list[tuple[int, int, int]], factor: float, added: float) -> None:
    image = np.array([colours], np.uint8)

    def both(saturation: float, value: float) -> tuple[float, float]:
        return min(max(saturation * factor, 0), 1), min(max(value + added, 0), 1)

    expected = []
    for colour in colours:
        hue, saturation, value = colorsys.rgb_to_hsv(*(level / 255 for level in colour))
        expected.append([level * 255 for level in colorsys.hsv_to_rgb(hue, *both(saturation, value))])
    found = hsv.from_rgb(image)
    changed = hsv.to_rgb(found, np.clip(found.saturation * factor, 0, 1), np.clip(found.value + added, 0, 1))
    difference = np.array([expected]) - changed
    assert difference.min() > -1e-9  # cut off, not rounded
    assert difference.max() < 1 + 1e-9


def test_brightness_adds_to_the_value_alone() -> None:
    image = np.array([[[100, 100, 100], [255, 0, 0], [0, 51, 102]]], np.uint8)
    np.testing.assert_array_equal(weather.brightness(image, 0.2), [[[151, 151, 151], [255, 0, 0], [0, 76, 153]]])


def test_grey_turns_reddish_where_saturation_is_added() -> None:
    image = np.full((1, 1, 3), 200, np.uint8)
    assert digital.saturate(image, 5, 0.1)[0, 0].tolist() == [200, 180, 180]


def test_contrast_keeps_the_mean_of_each_channel() -> None:
    image = smooth(64) // np.array([1, 2, 3], np.uint8)
    weak = digital.contrast(image, 0.1)
    np.testing.assert_allclose(weak.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=1)
    np.testing.assert_allclose(weak.std(axis=(0, 1)), 0.1 * image.std(axis=(0, 1)), rtol=0.1)


def test_pixelate_leaves_blocks() -> None:
    blocks = digital.pixelate(smooth(32), 0.25)
    np.testing.assert_array_equal(blocks, blocks[::4, ::4].repeat(4, 0).repeat(4, 1))


def test_elastic_transform_of_no_draw_changes_nothing() -> None:
    image = smooth(32)
    still = np.zeros((32, 32), np.float32)
    result = digital.elastic_transform(image, np.zeros((3, 2), np.float32), still, still, 5.0, 2.0, 3.0)
    assert np.abs(result.astype(int) - image).max() <= 1  # a level may be cut off


def test_an_affine_shift_moves_the_picture() -> None:
    image = smooth(32)
    still, shift = np.zeros((32, 32), np.float32), np.tile(np.array([3, -2], np.float32), (3, 1))
    moved = digital.elastic_transform(image, shift, still, still, 0.0, 0.0, 3.0).astype(int)
    assert np.abs(moved[:30, 3:] - image[2:, :29]).max() <= 1


@given(st.integers(8, 40), st.floats(0.2, 60))
def test_the_field_is_smoothed_as_by_scipy(side: int, deviation: float) -> None:
    field = np.random.default_rng(side).uniform(-1, 1, (side, side)).astype(np.float32)
    expected = scipy.ndimage.gaussian_filter(field.astype(np.float64), deviation, mode="reflect", truncate=3)
    smoothed = digital._smooth(np.stack([field, field.T]), deviation)
    np.testing.assert_allclose(smoothed, [expected, expected.T], atol=1e-12)


@given(st.integers(8, 20), st.sampled_from([("mirror", mirrored), ("reflect", reflected)]), st.integers(0, 2**32))
def test_samples_are_scipy_s(side, border, seed) -> None:
    mode, brought_in = border
    generator = np.random.default_rng(seed)
    planes = generator.random((3, side, side + 3)).astype(np.float32)
    rows, columns = generator.uniform(-2 * side, 3 * side, (2, side, side))
    expected = [scipy.ndimage.map_coordinates(plane, [rows, columns], order=1, mode=mode) for plane in planes]
    np.testing.assert_allclose(
        sample(planes, points_at(rows, columns, side, side + 3, brought_in)), expected, atol=1e-5
    )


@given(any_pictures(st.integers(8, 24)), st.floats(-0.4, 0.4), st.floats(-4, 4), st.floats(-4, 4))
def test_an_affine_warp_is_scipy_s_to_a_32nd_of_a_pixel(image, turn, right, down) -> None:
    matrix = np.array([[np.cos(turn), -np.sin(turn), right], [np.sin(turn), np.cos(turn), down]])
    planes = np.ascontiguousarray(image.transpose(2, 0, 1) / np.float32(255))
    height, width = planes.shape[1:]
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    x, y, _ = np.tensordot(
        inverse, np.stack([*np.meshgrid(np.arange(width), np.arange(height)), np.ones((height, width))]), 1
    )
    expected = [scipy.ndimage.map_coordinates(plane, [y, x], order=1, mode="mirror") for plane in planes]
    # At most 1/64 pixel in each direction, and neighbours differ by at most 1.
    assert np.abs(sample(planes, affine_points(matrix, height, width)) - np.array(expected)).max() <= 2 * 1.1 / 64


def test_a_perspective_map_that_only_shifts_leaves_black_behind() -> None:
    image = smooth(16)
    matrix = np.array([[1.0, 0, 2], [0, 1, -3], [0, 0, 1]])
    everything = (slice(0, 16), slice(0, 16))
    moved = warp_perspective(image, matrix, everything)
    np.testing.assert_array_equal(moved[:13, 2:], image[3:, :14])
    assert not moved[13:].any()
    assert not moved[:, :2].any()
    np.testing.assert_array_equal(warp_perspective(image, matrix, (slice(4, 9), slice(1, 7))), moved[4:9, 1:7])


def test_half_a_pixel_is_the_mean_of_two_and_half_of_one_at_the_edge() -> None:
    image = np.full((8, 8, 3), 101, np.uint8)
    matrix = np.array([[1.0, 0, 0.5], [0, 1, 0], [0, 0, 1]])
    moved = warp_perspective(image, matrix, (slice(0, 8), slice(0, 8)))
    assert (moved[:, 1:] == 101).all()
    assert (moved[:, 0] == 51).all()  # 50.5, half up


@pytest.mark.parametrize("quality", [7, 40])
def test_jpeg_keeps_the_shape(quality: int) -> None:
    image = smooth(33)
    result = digital.jpeg_compression(image, quality)
    assert (result.shape, result.dtype) == (image.shape, np.uint8)
