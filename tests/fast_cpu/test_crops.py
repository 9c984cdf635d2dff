"""The compiled bicubic kernel against TensorFlow's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from fast_cpu import crops as fast_cpu_crops
from fast_cpu.crops import CHUNK, SIZES, fits, join, pack, resize_crops, window

SIZE_32 = 4 * 4 * 32 * 32 * 3  # bytes of four images of 32 pixels in float32


def _crop(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, height, width]).integers(0, 256, (height, width, 3)).astype(np.uint8)


def _expected(crop: np.ndarray, size: int, mirrored: bool) -> np.ndarray:
    """By TensorFlow's kernel, mirrored, clipped and truncated."""
    resized = tf.raw_ops.ResizeBicubic(images=crop[None].astype(np.float32), size=[size, size])[0]
    image = tf.cast(tf.clip_by_value(resized, 0.0, 255.0), tf.uint8).numpy()
    return image[:, ::-1] if mirrored else image


def _resized(crops: list[np.ndarray], mirrored: list[bool], size: int) -> np.ndarray:
    packed = tf.stack([pack(tf.constant(crop)) for crop in crops])
    windows = tf.stack([window(crop, 0, crop.shape[1]) for crop in crops])
    return resize_crops(join(packed, windows, size), windows, tf.constant(mirrored), size).numpy()


@st.composite
def _shapes_that_fit(draw: st.DrawFn, size: int) -> tuple[int, int]:
    """Height and width of any crop for which `fits`."""
    width = draw(st.integers(1, 3 * size))
    return draw(st.integers(1, 4 * size * size // width)), width


@st.composite
def _batches(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, bool]]]:
    """A size, and height, width and whether it is mirrored of each of five crops."""
    size = draw(st.sampled_from([24, 37]))
    crops = st.lists(st.tuples(_shapes_that_fit(size), st.booleans()), min_size=5, max_size=5)
    return size, [(*shape, mirrored) for shape, mirrored in draw(crops)]


@given(_batches(), st.integers(0, 1000))
def test_bit_equal_for_crops_of_any_shape(batch, seed):
    size, drawn = batch
    assert all(bool(fits(tf.constant([height, width, 3]), size)) for height, width, _ in drawn)
    crops = [_crop(height, width, seed) for height, width, _ in drawn]
    mirrored = [one for *_, one in drawn]
    for image, crop, one in zip(_resized(crops, mirrored, size), crops, mirrored):
        np.testing.assert_array_equal(image, _expected(crop, size, one), str(crop.shape))


@pytest.mark.parametrize("size", [75, 224, 300])
def test_bit_equal_at_the_sizes_of_networks(size):
    """Lengths where a product with the reciprocal of the size takes another entry of the kernel's table are among them."""
    shapes = [
        (106, 115),
        (71, 211),
        (size, size),
        (size // 2, 3 * size // 2),
        (1, 3 * size),
        (4 * size, size),
        (193, 136),
    ]
    crops = [_crop(*shape) for shape in shapes]
    mirrored = [number % 2 == 1 for number in range(len(crops))]
    for image, crop, one in zip(_resized(crops, mirrored, size), crops, mirrored):
        np.testing.assert_array_equal(image, _expected(crop, size, one), str(crop.shape))


def test_an_image_of_its_size_stays_as_it_is():
    crop = _crop(40, 40)
    np.testing.assert_array_equal(_resized([crop], [False], 40)[0], crop)


def test_only_some_columns_are_the_crop():
    images = [_crop(30, 40 + number) for number in range(3)]
    columns = [slice(0, 20), slice(11, 31), slice(7, 42)]
    packed = tf.stack([pack(tf.constant(image)) for image in images])
    windows = tf.stack([window(image, one.start, one.stop - one.start) for image, one in zip(images, columns)])
    joined = join(packed, windows, 32)
    resized = resize_crops(joined, windows, tf.constant([False, True, True]), 32).numpy()
    for image, whole, one, mirrored in zip(resized, images, columns, [False, True, True]):
        np.testing.assert_array_equal(image, _expected(whole[:, one], 32, mirrored))


def test_without_mirroring_and_through_a_dataset():
    crops = [_crop(20 + number, 50 - number) for number in range(6)]
    dataset = tf.data.Dataset.from_generator(lambda: crops, output_signature=tf.TensorSpec([None, None, 3], tf.uint8))
    dataset = dataset.map(lambda crop: (pack(crop), window(crop, 0, tf.shape(crop)[1])))
    dataset = dataset.batch(3, drop_remainder=True)
    dataset = dataset.map(lambda packed, windows: (join(packed, windows, 32), windows))
    dataset = dataset.map(lambda joined, windows: resize_crops(joined, windows, None, 32))
    images = np.concatenate(list(dataset.as_numpy_iterator()))
    np.testing.assert_array_equal(images, [_expected(crop, 32, False) for crop in crops])


def test_more_than_fits_at_once_goes_in_parts(monkeypatch):
    crops, mirrored = [_crop(30, 20 + number) for number in range(5)], [False, True, False, True, True]
    together = _resized(crops, mirrored, 32)
    monkeypatch.setattr(fast_cpu_crops, "LIMIT", 2 * 12 * 32 * 32)
    np.testing.assert_array_equal(_resized(crops, mirrored, 32), together)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(64, 64, True), (65, 64, False), (1, 96, True), (1, 97, False), (4096, 1, True), (4097, 1, False)],
)
def test_which_crops_fit(height, width, expected):
    assert bool(fits(tf.constant([height, width, 3]), 32)) == expected


@given(st.lists(st.integers(0, 2**30), min_size=1, max_size=5))
def test_capacity_is_one_of_few_and_the_least_with_room(drawn):
    most, chunk = max(*drawn, 1), CHUNK
    found = [int(fast_cpu_crops._capacity(tf.constant(count), most)) for count in drawn]
    few = [most >> halved for halved in range(1, SIZES)]
    for count, capacity in zip(drawn, found):
        assert count + chunk <= capacity
        assert capacity in [most + chunk, *few]
        assert not [one for one in few if count + chunk <= one < capacity]


@pytest.mark.parametrize(
    ("shape", "expected"), [((22, 32), SIZE_32 // 4), ((32, 32), SIZE_32 // 2), ((64, 60), SIZE_32 + CHUNK)]
)
def test_joined_images_are_as_long_as_the_result_or_a_part_of_it(shape, expected):
    """So that memory of the one is used again for the other."""
    packed = tf.stack([pack(tf.constant(_crop(*shape))) for _ in range(4)])
    windows = tf.stack([window(tf.zeros([*shape, 3]), 0, shape[1])] * 4)
    assert [values.shape[0] for values in join(packed, windows, 32)] == [expected]
