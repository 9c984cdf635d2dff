"""The geometric ops against tensorflow-addons', whose forerunner the release used, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from data.images import warp


def _random_image(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


arguments = st.one_of(st.floats(-3, 3, width=32), st.integers(-60, 60).map(lambda halves: halves / 2))
sizes = st.integers(1, 30)


def _with_addons(image: np.ndarray, matrix: tf.Tensor) -> tf.Tensor:
    tfa = pytest.importorskip("tensorflow_addons")
    return tfa.image.transform(image, matrix, "nearest", fill_mode="constant", fill_value=128.0)


@given(
    st.sampled_from([(warp.shear_x, 1), (warp.shear_y, 3), (warp.translate_x, 2), (warp.translate_y, 5)]),
    arguments,
    sizes,
    sizes,
)
def test_matrices_are_those_of_addons(op, argument, height, width):
    function, place = op
    image = _random_image(height * 31 + width, height, width)
    matrix = np.array([1, 0, 0, 0, 1, 0, 0, 0], np.float32)
    matrix[place] = argument
    np.testing.assert_array_equal(function(image, argument), _with_addons(image, tf.constant(matrix)))


@given(st.floats(-180, 180, width=32), sizes, sizes)
def test_rotation_is_that_of_addons(degrees, height, width):
    tfa = pytest.importorskip("tensorflow_addons")
    image = _random_image(height * 31 + width, height, width)
    radians = np.float32(degrees) * np.float32(np.pi / 180)
    expected = tfa.image.rotate(image, radians, "nearest", "constant", fill_value=128.0)
    np.testing.assert_array_equal(warp.rotate(image, degrees), expected)


def test_rotation_is_counter_clockwise():
    image = _random_image(0, 7, 7)
    np.testing.assert_array_equal(warp.rotate(image, 90.0), np.rot90(image))


def test_shears_move_what_is_further_down_and_further_right():
    image = np.repeat(np.arange(16, dtype=np.uint8).reshape(4, 4, 1), 3, axis=2)
    expected = [[0, 1, 2, 3], [5, 6, 7, 128], [10, 11, 128, 128], [15, 128, 128, 128]]
    assert warp.shear_x(image, 1.0)[..., 0].numpy().tolist() == expected
    assert warp.shear_y(image.transpose(1, 0, 2), 1.0)[..., 0].numpy().T.tolist() == expected


@pytest.mark.parametrize(
    ("argument", "expected"), [(2.0, [20, 30, 128, 128]), (-1.0, [128, 0, 10, 20]), (9.0, [128] * 4)]
)
def test_translation_reads_from_further_along(argument, expected):
    columns = np.tile(np.array([0, 10, 20, 30], np.uint8)[None, :, None], [2, 1, 3])
    assert warp.translate_x(columns, argument)[1, :, 2].numpy().tolist() == expected
    assert warp.translate_y(columns.transpose(1, 0, 2), argument)[:, 1, 0].numpy().tolist() == expected


def test_numbers_of_any_type_and_another_fill():
    numbers = np.arange(12, dtype=np.int32).reshape(2, 2, 3) + 2**24
    moved = warp.translate_x(numbers, 1.0, fill=-1.0).numpy()
    np.testing.assert_array_equal(moved, np.stack([numbers[:, 1], np.full([2, 3], -1)], 1))
