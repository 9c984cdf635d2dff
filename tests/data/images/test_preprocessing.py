"""Preprocessing against the release's results (tests/golden) and by its properties."""

from __future__ import annotations

import functools
import io
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from data.config import AugmentConfig
from data.images import decoding
from data.images import training as images_training
from data.images.training import TrainingOptions, training_image
from data.tasks import FITS
from tests.golden.compare_images import compare_preprocess

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"
NO_AUGMENT = AugmentConfig(enabled=False)


def _encode(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def _noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(height * width).integers(0, 256, shape).astype(np.uint8)


def _always(window: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    del shape
    return window


def _train(encoded: bytes, size: int, count: int, **options) -> np.ndarray:
    """`count` training images of seeds [5, 0], [5, 1], ...: float32 [count, size, size, 3]."""
    arguments = {"small_image_model": False, "flip": True, "augment": NO_AUGMENT, **options}
    prepared = TrainingOptions(size, **arguments)
    seeds = tf.data.Dataset.range(count).map(lambda position: tf.stack([tf.constant(5, tf.int64), position]))
    images = seeds.map(lambda seed: training_image(encoded, seed, prepared))
    return next(images.batch(count).as_numpy_iterator())


# --- evaluation ------------------------------------------------------------------------------------------------------


def _reference() -> list[tuple[bytes, int, np.ndarray]]:
    """JPEG, size, and the release's result in 1/64: of sizes above 64 every third row and column, the last ones too."""
    with np.load(GOLDEN / "preprocess_subset.npz") as arrays:
        cases = [name.split("/") for name in arrays.files if name.startswith("eval/")]
        return [
            (arrays[f"jpeg/{file}"].tobytes(), int(size), arrays[f"eval/{file}/{size}"] / 64) for _, file, size in cases
        ]


@pytest.mark.parametrize("in_dataset", [False, True])
def test_evaluation_is_the_release(in_dataset):
    assert len(_reference()) == 6
    for encoded, size, expected in _reference():
        if in_dataset:
            dataset = tf.data.Dataset.from_tensors(encoded)
            dataset = dataset.map(lambda jpeg, size=size: decoding.evaluation_image(jpeg, size, False))
            assert dataset.element_spec == tf.TensorSpec([size, size, 3], tf.float32)
            ours = next(dataset.as_numpy_iterator())
        else:
            ours = decoding.evaluation_image(tf.constant(encoded), size, False).numpy()
        ours = ours if size == 64 else ours[1::3, 1::3]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-3 * 255)


def test_comparison_finds_a_changed_value():
    encoded = _encode(_noise(70, 60), "JPEG")
    result = decoding.evaluation_image(tf.constant(encoded), 32, False).numpy()
    content = {"jpeg/a": np.frombuffer(encoded, np.uint8), "eval/a/32": result}
    assert compare_preprocess(content)["ok"]
    result[31, 31, 2] += 0.3
    comparison = compare_preprocess(content)
    assert not comparison["ok"]
    assert (comparison["checked"], comparison["mismatches"]) == (1, 1)
    assert comparison["deviations"]["evaluation preprocessing"]["where"] == "eval/a/32"


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("height", [48, 53])
def test_a_decoded_crop_is_a_crop_of_the_decoded_image(subsampling, height):
    encoded = tf.constant(_encode(_noise(height, 70), "JPEG", subsampling=subsampling, quality=80))
    whole = decoding.decode(encoded).numpy()
    random = np.random.default_rng(1)
    for _ in range(40):
        size = random.integers(1, [height + 1, 71])
        top, left = random.integers(0, [height, 70] - size + 1)
        left -= left % 16 if random.random() < 0.5 else 0  # on the decoder's block boundaries too
        window = tf.constant([top, left, *size], tf.int32)
        crop = decoding.decode_crop(encoded, functools.partial(_always, window)).numpy()
        np.testing.assert_array_equal(crop, whole[top : top + size[0], left : left + size[1]])


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([16, 24, 224]))
def test_evaluation_crops_the_centre(height, width, size):
    image = _noise(height, width)
    ours = decoding.evaluation_image(tf.constant(_encode(image)), size, False).numpy()
    side = max(1, int(np.float32(size / (size + 32)) * np.float32(min(height, width))))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    crop = image[top : top + side, left : left + side].astype(np.float32)
    expected = tf.compat.v1.image.resize_bicubic(crop[None], [size, size])[0]
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    ("kind", "channels"),
    [("PNG", 1), ("PNG", 2), ("PNG", 3), ("PNG", 4), ("BMP", 1), ("BMP", 3), ("BMP", 4), ("GIF", 1)],
)
def test_formats_without_loss(kind, channels):
    image = _noise(20, 20, channels)
    decoded = decoding.decode(tf.constant(_encode(image, kind))).numpy()
    rgb = np.repeat(image.reshape(20, 20, channels)[..., :1], 3, axis=2) if channels < 3 else image[..., :3]
    np.testing.assert_array_equal(decoded, rgb)
    evaluated = decoding.evaluation_image(tf.constant(_encode(image, kind)), 20, True)
    np.testing.assert_array_equal(evaluated, rgb.astype(np.float32))


def test_a_moving_picture_shows_its_first_frame():
    frames = [Image.fromarray(np.full((12, 12), value, np.uint8)) for value in (10, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert np.unique(decoding.decode(tf.constant(buffer.getvalue()))).tolist() == [10]


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_that_are_not_rgb(mode):
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).convert(mode).save(buffer, "JPEG", quality=95)
    decoded = decoding.decode(tf.constant(buffer.getvalue())).numpy()
    assert decoded.shape == (16, 16, 3)
    assert np.abs(decoded.astype(int) - 90).max() <= 2


def test_an_undecodable_image_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoding.evaluation_image(tf.constant(b"no image"), 16, False)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(40, 30), (9, 12), (30, 30)])
def test_a_small_image_of_another_size_is_fitted_and_scaled_as_pillow_does(shape, fit):
    pixels = 80 + _noise(*shape) // 3  # the filter overshoots, and Pillow clips after each of the two axes
    image = Image.fromarray(pixels)
    (width, height), short, long = image.size, min(shape), max(shape)
    if fit == "crop":
        left, top = (width - short) // 2, (height - short) // 2
        image = image.crop((left, top, left + short, top + short))
    if fit == "pad":
        square = Image.new("RGB", (long, long), (decoding.GREY,) * 3)
        square.paste(image, ((long - width) // 2, (long - height) // 2))
        image = square
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC), np.float32)
    encoded = tf.constant(_encode(pixels))
    found = decoding.evaluation_image(encoded, 16, True, fit).numpy()
    np.testing.assert_allclose(found, expected, atol=2)  # it also rounds after each
    assert np.abs(found - expected).mean() < 0.6
    options = TrainingOptions(16, True, False, NO_AUGMENT, fit=fit)
    assert training_image(encoded, tf.constant([0, 1]), options).shape == (16, 16, 3)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [False, True])
def test_a_training_image_follows_from_image_and_seed_alone(small):
    encoded = _encode(_noise(32, 32))
    options = {"small_image_model": small, "augment": AugmentConfig(magnitude=0.5)}
    first, second = _train(encoded, 32, 20, **options), _train(encoded, 32, 20, **options)
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first.reshape(20, -1), axis=0)) > 15
    assert first.dtype == np.float32
    assert first.shape == (20, 32, 32, 3)


@pytest.mark.parametrize("small", [False, True])
def test_remove_aug_is_evaluation(small):
    encoded = _encode(_noise(32, 32))
    options = {"small_image_model": small, "augment": AugmentConfig(), "remove_aug": True}
    expected = decoding.evaluation_image(tf.constant(encoded), 32, small).numpy()
    for image in _train(encoded, 32, 3, **options):
        np.testing.assert_array_equal(image, expected)


def test_sampled_boxes_are_within_their_limits():
    shape = tf.constant([120, 160, 3])
    boxes = tf.data.Dataset.range(400).map(lambda i: images_training._sampled(shape, tf.stack([i, i]), 64))
    boxes = next(boxes.batch(400).as_numpy_iterator())
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 120).all()
    assert (left + width <= 160).all()
    area, aspect = height * width / (120 * 160), width / height
    assert area.min() > 0.07
    assert area.max() > 0.6
    assert 0.7 < aspect.min() < 0.85
    assert 1.2 < aspect.max() < 1.4
    assert len(np.unique(boxes, axis=0)) > 350


def test_where_no_box_fits_the_centre_is_taken():
    # The largest box of aspect 4/3 covers less than 8 % of an image this narrow, so that sampling gives the whole of it.
    encoded = _encode(_noise(400, 20))
    expected = decoding.evaluation_image(tf.constant(encoded), 24, False).numpy()
    for image in _train(encoded, 24, 3, flip=False):
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("flip", [False, True])
def test_half_of_the_images_are_mirrored(small, flip):
    ramp = np.repeat(np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))[..., None], 3, axis=2)
    images = _train(_encode(ramp), 32, 300, small_image_model=small, flip=flip)
    mirrored = int((images[:, :, 0, 0].mean(1) > images[:, :, -1, 0].mean(1)).sum())
    if flip:
        assert stats.binomtest(mirrored, 300).pvalue > 0.001
    else:
        assert mirrored == 0


def test_augmented_images_are_whole_numbers_in_range_and_others_need_not_be():
    encoded = _encode(_noise(40, 50))
    augmented = _train(encoded, 32, 20, augment=AugmentConfig(magnitude=9.0))
    assert augmented.min() >= 0
    assert augmented.max() <= 255
    np.testing.assert_array_equal(augmented, np.floor(augmented))
    plain = _train(encoded, 32, 20)
    assert plain.min() < 0
    assert plain.max() > 255


def test_without_layers_augmenting_clips_and_truncates():
    encoded = _encode(_noise(40, 50))
    plain = _train(encoded, 32, 10)
    truncated = _train(encoded, 32, 10, augment=AugmentConfig(layers=0))
    np.testing.assert_array_equal(truncated, np.floor(np.clip(plain, 0, 255)))


# --- the small-image path --------------------------------------------------------------------------------------------


def test_small_images_are_shifted_inside_their_reflection():
    image = _noise(32, 32)
    padded = np.pad(image, [(4, 4), (4, 4), (0, 0)], mode="reflect")
    crops = {padded[y : y + 32, x : x + 32].tobytes(): (y, x) for y in range(9) for x in range(9)}
    images = _train(_encode(image), 32, 500, small_image_model=True, flip=False).astype(np.uint8)
    offsets = np.array([crops[result.tobytes()] for result in images])
    for axis in range(2):
        assert stats.chisquare(np.bincount(offsets[:, axis], minlength=9)).pvalue > 0.001


def test_small_images_are_cut_out_before_they_are_shifted():
    encoded = _encode(np.full((32, 32, 3), 7, np.uint8))
    images = _train(encoded, 32, 300, small_image_model=True, augment=AugmentConfig(layers=0))
    assert set(np.unique(images)) == {7, 128}
    filled = (images[..., 0] == 128).sum((1, 2))
    # A square of 16 x 16, clipped at the border; larger only where the padding reflected it, which must come later.
    assert filled.min() >= 4 * 4
    assert np.median(filled) <= 16 * 16
    assert filled.max() > 16 * 16


def test_small_images_are_not_cut_out_without_augmentation():
    encoded = _encode(np.full((32, 32, 3), 7, np.uint8))
    assert set(np.unique(_train(encoded, 32, 20, small_image_model=True))) == {7}
