"""The compiled RandAugment against the plain one and the release's results: all bits are equal."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from data.images import randaugment as plain
from fast_cpu import randaugment as fast
from fast_cpu.xla import compiled
from runtime.errors import UserError
from tests.golden import randaugment_reference as reference


def _random_images(seed: int, count: int, height: int, width: int) -> np.ndarray:
    """Every fourth image has few values, every fourth little contrast, every fourth one value in a channel."""
    images = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3)).astype(np.uint8)
    images[1::4] = images[1::4] % 3 * 80
    images[2::4] = images[2::4] // 7 + 100
    images[3::4, ..., 1] = seed % 256
    return images


def _random_draws(seed: int, count: int, layers: int) -> np.ndarray:
    return np.random.default_rng(seed + 1).random((count, layers, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("image", "level"),
    [("natural", level) for level in reference.levels()]
    + [(image, level) for image in ("large", "noise", "lowcontrast", "constant") for level in ("9", "27")],
)
def test_bit_equal_to_the_release_in_a_dataset(image, level):
    """All ops at once, each on a copy of the image, the way training has it."""
    copies, draws, expected = reference.copies(image, level)
    dataset = tf.data.Dataset.from_tensors((copies, draws))
    dataset = dataset.map(lambda images, draws: fast.randaugment(images, draws, float(level), True))
    assert [reference.digest(result) for result in next(dataset.as_numpy_iterator())] == expected


# Each compiles once.
SETTINGS: tuple[tuple[tuple[int, int], float, dict[str, float]], ...] = (
    ((16, 16), 5.0, {"cutout_const": 2, "translate_const": 2}),
    ((40, 7), 13.0, {}),
    ((9, 33), 9.0, {"cutout_const": 4, "translate_const": 3.5}),
    ((23, 24), 2.5, {}),
    ((32, 32), 27.0, {"cutout_const": 4, "translate_const": 4}),
)


@given(st.integers(0, 10**6), st.sampled_from(SETTINGS), st.booleans())
def test_plain_and_compiled_are_equal(seed, setting, cutout):
    size, level, constants = setting
    images, draws = _random_images(seed, 4, *size), _random_draws(seed, 4, 2)
    expected = plain.randaugment(images, draws, level, cutout, **constants)
    np.testing.assert_array_equal(fast.randaugment(images, draws, level, cutout, **constants), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (3, 3), (2, 40)])
def test_tiny_images(size):
    images = np.repeat(_random_images(7, 1, *size), len(plain.OPS), axis=0)
    draws = np.array([[reference.draws_of(f"{name}/5/neg", *size)] for name in plain.OPS], np.float32)
    expected = plain.randaugment(images, draws, 5.0, True)
    np.testing.assert_array_equal(fast.randaugment(images, draws, 5.0, True), expected)


def test_images_of_unknown_size_are_refused():
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8)
    with pytest.raises(UserError, match="got images of None x None pixels, expected a static size; resize them first"):
        fast.randaugment(tf.keras.Input(type_spec=spec), tf.zeros([1, 2, 4]), 9.0, True)


def test_without_layers_nothing_changes():
    images = _random_images(3, 2, 24, 20)
    np.testing.assert_array_equal(fast.randaugment(images, np.zeros([2, 0, 4], np.float32), 9.0, True), images)


def test_static_shape_survives():
    dataset = tf.data.Dataset.from_tensors((_random_images(4, 2, 17, 31), _random_draws(4, 2, 2)))
    dataset = dataset.map(lambda images, draws: fast.randaugment(images, draws, 9.0, True))
    assert dataset.element_spec == tf.TensorSpec([2, 17, 31, 3], tf.uint8)


def test_what_becomes_of_an_image_does_not_depend_on_those_beside_it():
    images, draws = _random_images(5, 30, 24, 20), _random_draws(5, 30, 2)
    together = fast.randaugment(images, draws, 27.0, True).numpy()
    alone = [fast.randaugment(images[i : i + 1], draws[i : i + 1], 27.0, True)[0].numpy() for i in range(30)]
    np.testing.assert_array_equal(together, alone)
    parts = tf.data.Dataset.from_tensor_slices((images, draws)).batch(7)
    parts = parts.map(lambda images, draws: fast.randaugment(images, draws, 27.0, True), num_parallel_calls=4)
    np.testing.assert_array_equal(together, np.concatenate(list(parts.as_numpy_iterator())))


def test_grey_is_that_of_tensorflow():
    image = np.random.default_rng(0).integers(0, 256, (1, 700, 600, 3)).astype(np.uint8)
    image[:, :256] = np.arange(256, dtype=np.uint8)[:, None, None]
    draws = np.array([[reference.draws_of("Color/0/pos", 700, 600)]], np.float32)
    # A factor of 0.1 leaves 90 % of the grey.
    np.testing.assert_array_equal(
        fast.randaugment(image, draws, 0.0, True)[0], plain.apply_op("Color", image[0], 0.0).numpy()
    )


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("level", ["3", "9", "27"])
def test_sharpness_is_bit_equal_with_and_without_one_instruction_for_product_and_sum(monkeypatch, fused, level):
    if fused and not fast._fuses():
        pytest.skip("XLA does not multiply and add in one instruction here")
    monkeypatch.setattr(fast, "_fuses", lambda: fused)
    for name in ("natural", "noise"):
        pixels = reference.images()[name]
        factor = float(level) * 0.18 + 0.1
        sharpness = compiled(functools.partial(fast._sharpness, shape=pixels.shape, factor=factor))
        assert (
            reference.digest(sharpness(pixels.reshape(-1)).numpy())
            == reference.digests()[f"Sharpness/{level}/pos/{name}"]
        )
