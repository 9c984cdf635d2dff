"""RandAugment against the release's results (tests/golden), its draws, and its ops by property."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

from data.images import randaugment
from runtime.errors import UserError
from tests.golden import randaugment_reference as reference
from tests.golden.compare_images import compare_randaugment

GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


def _result(image: tf.Tensor, case: str) -> tf.Tensor:
    """The result named `<Op>/<level>/<pos or neg>` for `image`."""
    name, level, sign = case.split("/")
    shape = tf.shape(image)
    center = tf.stack([shape[0] // 3, shape[1] // 2])
    return randaugment.apply_op(name, image, float(level), sign == "neg", center)


def _random_image(seed: int, height: int = 24, width: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def _augmented(image, seed, layers, level, cutout):
    """One image, with the ops that its seed draws."""
    images = tf.convert_to_tensor(image)[None]
    return randaugment.randaugment(images, randaugment.draw(seed, layers)[None], level, cutout)[0]


def _ops(seed, layers):
    return randaugment.drawn_ops(randaugment.draw(seed, layers), 15).numpy().tolist()


# --- the release's results -------------------------------------------------------------------------------------------


def test_all_reference_results_are_there():
    keys = reference.digests().keys()
    assert len(keys) == 1050
    assert {key.split("/")[0] for key in keys} == set(randaugment.OPS)
    assert {key.split("/")[3] for key in keys} == set(reference.images())


def test_bit_equal_eagerly():
    wrong = []
    for key, expected in reference.digests().items():
        case, image = key.rsplit("/", 1)
        if reference.digest(_result(tf.constant(reference.images()[image]), case).numpy()) != expected:
            wrong.append(key)
    assert wrong == []


@pytest.mark.parametrize(("image", "level"), [("natural", "9"), ("lowcontrast", "27")])
def test_bit_equal_in_a_dataset(image, level):
    """All ops at once, each on a copy of the image, the way training has it."""
    copies, draws, expected = reference.copies(image, level)
    dataset = tf.data.Dataset.from_tensors((copies, draws))
    dataset = dataset.map(lambda images, draws: randaugment.randaugment(images, draws, float(level), True))
    assert [reference.digest(result) for result in next(dataset.as_numpy_iterator())] == expected


def test_images_of_unknown_size_are_refused():
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8)
    with pytest.raises(UserError, match="got images of None x None pixels, expected a static size; resize them first"):
        randaugment.randaugment(tf.keras.Input(type_spec=spec), tf.zeros([1, 2, 4]), 9.0, True)


def test_comparison_finds_a_changed_value():
    image = reference.images()["natural"]
    content = {"image/a": image, "Rotate/7/neg/a": _result(tf.constant(image), "Rotate/7/neg").numpy()}
    assert compare_randaugment(content)["ok"]
    content["Rotate/7/neg/a"][3, 4, 1] ^= 1
    result = compare_randaugment(content)
    assert not result["ok"]
    assert (result["checked"], result["mismatches"]) == (1, 1)
    assert result["deviations"]["Rotate"]["largest"] == 1


def test_comparison_of_nothing_is_not_ok():
    assert not compare_randaugment({"image/a": reference.images()["natural"]})["ok"]


def test_comparison_names_what_it_does_not_understand():
    with pytest.raises(UserError, match="got the name 'Rotate/7/up/a', expected <Op>"):
        compare_randaugment({"image/a": reference.images()["natural"], "Rotate/7/up/a": reference.images()["natural"]})


# --- draws -----------------------------------------------------------------------------------------------------------


def _draws(count: int, layers: int, num_ops: int) -> np.ndarray:
    seeds = tf.data.Dataset.range(count).map(
        lambda i: randaugment.drawn_ops(randaugment.draw(tf.stack([tf.constant(7, tf.int64), i]), layers), num_ops)
    )
    return next(seeds.batch(count).as_numpy_iterator())


@pytest.mark.parametrize("num_ops", [15, 16])
def test_ops_are_drawn_uniformly_and_independently(num_ops):
    draws = _draws(12_000, 2, num_ops)
    for layer in range(2):
        counts = np.bincount(draws[:, layer], minlength=num_ops)
        assert len(counts) == num_ops
        assert stats.chisquare(counts).pvalue > 0.001
    pairs = np.bincount(draws[:, 0] * num_ops + draws[:, 1], minlength=num_ops**2)
    assert stats.chisquare(pairs).pvalue > 0.001


def test_the_drawn_ops_are_the_ones_applied():
    image = _random_image(0)
    apply = tf.function(lambda seed: _augmented(image, seed, 1, 8.0, cutout=False))
    signs = []
    for position in range(80):
        seed = tf.constant([3, position], tf.int64)
        name = randaugment.OPS[_ops(seed, 1)[0]]
        ours = apply(seed).numpy()
        both = [np.array_equal(ours, randaugment.apply_op(name, image, 8.0, negate)) for negate in (False, True)]
        assert any(both), name
        if name in GEOMETRIC:
            signs.append(both[1])
    assert 0.2 < np.mean(signs) < 0.8


def test_layers_follow_each_other():
    image = _random_image(1)
    seed = next(seed for seed in range(100) if set(_ops([seed, 0], 2)) <= {0, 1, 2, 4, 5, 6, 7, 8})
    expected = image
    for op in _ops([seed, 0], 2):
        expected = randaugment.apply_op(randaugment.OPS[op], expected, 5.0)
    np.testing.assert_array_equal(_augmented(image, [seed, 0], 2, 5.0, cutout=False), expected)


def test_an_image_follows_from_image_and_seed_alone():
    image = _random_image(2)

    def augmented(parallel: int) -> list[np.ndarray]:
        seeds = tf.data.Dataset.range(30).map(lambda i: tf.stack([i, i]))
        mapped = seeds.map(lambda seed: _augmented(image, seed, 2, 2.0, True), num_parallel_calls=parallel)
        return list(mapped.as_numpy_iterator())

    first, second = augmented(1), augmented(4)
    np.testing.assert_array_equal(first, second)
    assert len({reference.digest(result) for result in first}) > 20


@pytest.mark.parametrize("level", [9.0, 27.0])
def test_what_becomes_of_an_image_does_not_depend_on_those_beside_it(level):
    images = np.stack([_random_image(number) for number in range(60)])
    draws = tf.stack([randaugment.draw([number, 1], 2) for number in range(60)])
    together = randaugment.randaugment(images, draws, level, True).numpy()
    mapped = tf.data.Dataset.from_tensors((images, draws)).map(lambda x, d: randaugment.randaugment(x, d, level, True))
    np.testing.assert_array_equal(next(mapped.as_numpy_iterator()), together)
    for number, (image, expected) in enumerate(zip(images, together)):
        for op, (_, sign, row, column) in zip(
            randaugment.drawn_ops(draws, 16)[number].numpy(), draws[number].numpy().tolist()
        ):
            center = [int(row * image.shape[0]), int(column * image.shape[1])]
            image = randaugment.apply_op(randaugment.OPS[op], image, level, sign < 0.5, center).numpy()
        np.testing.assert_array_equal(image, expected)


def test_without_layers_nothing_changes():
    image = _random_image(3)
    np.testing.assert_array_equal(_augmented(image, [0, 0], 0, 9.0, True), image)


def test_static_shape_survives():
    dataset = tf.data.Dataset.from_tensors(_random_image(4, 17, 31))
    dataset = dataset.map(lambda image: _augmented(image, [1, 2], 2, 9.0, True))
    assert dataset.element_spec == tf.TensorSpec([17, 31, 3], tf.uint8)


# --- ops -------------------------------------------------------------------------------------------------------------


def test_unknown_op():
    with pytest.raises(UserError, match="got op 'Identity', expected one of AutoContrast, Equalize"):
        randaugment.apply_op("Identity", _random_image(0), 5.0)


@given(st.integers(0, 1000), st.integers(0, 40), st.integers(-5, 40), st.integers(-5, 40))
def test_cutout_fills_a_square_that_is_clipped(seed, half_width, row, column):
    image = _random_image(seed)
    expected = image.copy()
    top, left = max(0, row - half_width), max(0, column - half_width)
    expected[top : max(0, row + half_width), left : max(0, column + half_width)] = 128
    np.testing.assert_array_equal(
        randaugment.cutout(tf.constant(image)[None], half_width, tf.constant([[row, column]]))[0], expected
    )


def test_centres_are_uniform_over_the_image():
    images = tf.zeros([600, 4, 8, 3], tf.uint8)
    centers = randaugment.random_centers(images, tf.random.stateless_uniform([600, 2], [1, 2])).numpy()
    assert stats.chisquare(np.bincount(centers[:, 0], minlength=4)).pvalue > 0.001
    assert stats.chisquare(np.bincount(centers[:, 1], minlength=8)).pvalue > 0.001
    assert randaugment.random_centers(images[:1], tf.constant([[0.99999994, 0.99999994]])).numpy().tolist() == [[3, 7]]


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (3, 3), (2, 40)])
def test_tiny_images(size):
    image = _random_image(7, *size)
    draws = np.array([[reference.draws_of(f"{name}/5/neg", *size)] for name in randaugment.OPS], np.float32)
    results = randaugment.randaugment(np.stack([image] * len(draws)), draws, 5.0, True)
    for name, result in zip(randaugment.OPS, results):
        center = [size[0] // 3, size[1] // 2]
        np.testing.assert_array_equal(result, randaugment.apply_op(name, image, 5.0, True, center), name)


def test_invert_and_solarize_like_pillow():
    image = _random_image(5)
    pillow = Image.fromarray(image)
    np.testing.assert_array_equal(randaugment.apply_op("Invert", image, 3.0), np.asarray(ImageOps.invert(pillow)))
    np.testing.assert_array_equal(
        randaugment.apply_op("Solarize", image, 5.0), np.asarray(ImageOps.solarize(pillow, 128))
    )


@pytest.mark.parametrize("level", [0.0, 3.0, 5.0, 9.0])
def test_brightness_and_posterize_like_pillow(level):
    image = _random_image(6)
    pillow = Image.fromarray(image)
    expected = np.asarray(ImageEnhance.Brightness(pillow).enhance(level * 0.18 + 0.1))
    np.testing.assert_array_equal(randaugment.apply_op("Brightness", image, level), expected)
    bits = int(level * 0.4) or 1
    expected = np.asarray(ImageOps.posterize(pillow, bits))
    np.testing.assert_array_equal(randaugment.apply_op("Posterize", image, level), expected)


@pytest.mark.parametrize("level", [0.0, 5.0, 9.0, 27.0])
def test_colour_and_sharpness_nearly_like_pillow(level):
    """Grey and mean differ by 1 at most, results by 1 times what their weight is."""
    image, factor = _random_image(6), level * 0.18 + 0.1
    for name, enhance in (("Color", ImageEnhance.Color), ("Sharpness", ImageEnhance.Sharpness)):
        ours = randaugment.apply_op(name, image, level).numpy().astype(int)
        theirs = np.asarray(enhance(Image.fromarray(image)).enhance(factor)).astype(int)
        assert np.abs(ours - theirs).max() <= np.ceil(abs(1 - factor))


@given(st.integers(0, 1000), st.sampled_from([1, 3, 40, 255]), st.integers(2, 30))
def test_equalize_like_pillow(seed, values, height):
    image = (_random_image(seed, height, 21) % values).astype(np.uint8)
    expected = np.asarray(ImageOps.equalize(Image.fromarray(image)))
    np.testing.assert_array_equal(randaugment.apply_op("Equalize", image, 5.0), expected)


def test_levels_beyond_the_table_follow_uint8_arithmetic():
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    np.testing.assert_array_equal(randaugment.apply_op("Solarize", grey, 10.0), 255 - grey)
    np.testing.assert_array_equal(randaugment.apply_op("Solarize", grey, 27.0), np.where(grey < 179, grey, 255 - grey))
    np.testing.assert_array_equal(randaugment.apply_op("Posterize", grey, 27.0), grey & 128)
    np.testing.assert_array_equal(randaugment.apply_op("Posterize", grey, 10.0), grey & 0b11110000)


def test_contrast_blends_with_a_share_of_the_pixels():
    image = np.full((16, 32, 3), 100, np.uint8)
    grey, factor = 16 * 32 / 256, 0.1
    expected = int(grey + factor * (100 - grey))
    np.testing.assert_array_equal(randaugment.apply_op("Contrast", image, 0.0), np.full_like(image, expected))
