"""Evaluation crops against the release's, training images by their properties; eagerly and inside tf.data.map."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from data import preprocessing
from data.config import AugmentConfig

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "preprocess_subset.npz"
STORED_SCALE = 64.0  # the file holds int16 of 64ths
PLAIN = AugmentConfig(enabled=False)


def jpeg(height=120, width=90, value=None):
    generator = np.random.default_rng(1)
    image = generator.integers(0, 256, [height // 10, width // 10, 3]).repeat(10, 0).repeat(10, 1).astype(np.uint8)
    return tf.io.encode_jpeg(image if value is None else np.full_like(image, value), quality=95).numpy()


def png(size, value=200):
    return tf.io.encode_png(np.full([size, size, 3], value, np.uint8)).numpy()


def train(encoded, seed, size=32, small=False, flip=True, augment=PLAIN, remove_aug=False):
    return preprocessing.training_image(
        tf.constant(encoded),
        tf.constant(seed, tf.int64),
        size,
        small_image_model=small,
        flip=flip,
        augment=augment,
        remove_aug=remove_aug,
    ).numpy()


@pytest.mark.parametrize("mapped", [False, True])
def test_evaluation_crops_are_the_release_s(mapped):
    checked = 0
    with np.load(GOLDEN) as arrays:
        for key in arrays.files:
            if not key.startswith("eval/") or not key.endswith("/64"):
                continue
            encoded = arrays[f"jpeg/{key.split('/')[1]}"].tobytes()
            if mapped:
                dataset = tf.data.Dataset.from_tensors(encoded)
                dataset = dataset.map(lambda image: preprocessing.evaluation_image(image, 64, False))
                ours = next(dataset.as_numpy_iterator())
            else:
                ours = preprocessing.evaluation_image(tf.constant(encoded), 64, False).numpy()
            # 1e-3 of 255, and half of the stored step.
            np.testing.assert_allclose(ours, arrays[key] / STORED_SCALE, atol=0.255 + 0.5 / STORED_SCALE)
            checked += 1
    assert checked >= 2


def test_evaluation_of_a_small_image_changes_nothing():
    encoded = png(16, 77)
    np.testing.assert_array_equal(
        preprocessing.evaluation_image(tf.constant(encoded), 16, True), np.full([16, 16, 3], 77.0)
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"stored with 16x16 pixels.*but --input_image_size is 32"):
        preprocessing.evaluation_image(tf.constant(encoded), 32, True)


def test_a_training_image_follows_from_its_seed_alone():
    encoded, noisy = jpeg(), AugmentConfig(True, 2, 9)
    first = train(encoded, [3, 4], augment=noisy)
    np.testing.assert_array_equal(first, train(encoded, [3, 4], augment=noisy))
    assert any(not np.array_equal(first, train(encoded, [3, other], augment=noisy)) for other in range(5, 8))
    assert first.shape == (32, 32, 3)
    assert first.min() >= 0
    assert first.max() <= 255


def test_remove_aug_is_the_evaluation_image():
    encoded = jpeg()
    expected = preprocessing.evaluation_image(tf.constant(encoded), 32, False)
    np.testing.assert_array_equal(train(encoded, [1, 2], augment=AugmentConfig(), remove_aug=True), expected)


def test_about_half_of_the_images_are_mirrored():
    encoded = tf.io.encode_png(
        np.tile(np.arange(16, dtype=np.uint8)[np.newaxis, :, np.newaxis] * 16, [16, 1, 3])
    ).numpy()
    mirrored = 0
    for position in range(60):
        kept = train(encoded, [9, position], 16, small=True, flip=False)
        flipped = train(encoded, [9, position], 16, small=True)
        assert np.array_equal(flipped, kept) or np.array_equal(flipped, kept[:, ::-1])
        mirrored += not np.array_equal(flipped, kept)
    assert 15 <= mirrored <= 45


def test_crops_cover_what_they_may():
    """Of an image whose rows tell their number, a crop's rows lie inside it and differ from seed to seed."""
    image = np.tile(np.arange(200, dtype=np.uint8)[:, np.newaxis, np.newaxis], [1, 150, 3])
    encoded = tf.io.encode_png(image).numpy()
    spans = []
    for position in range(20):
        cropped = train(encoded, [5, position], 20, flip=False)
        assert cropped.min() >= -1
        assert cropped.max() <= 200
        spans.append(cropped.max() - cropped.min())
    # Areas from 8 % to all of the image, aspect from 3/4 to 4/3.
    assert min(spans) < 110
    assert max(spans) > 120


def test_the_small_image_path_cuts_out_before_it_shifts():
    encoded = png(32, 200)
    for position in range(10):
        image = train(encoded, [2, position], 32, small=True, flip=False, augment=AugmentConfig(True, 0, 5))
        values = set(np.unique(image))
        assert values <= {128.0, 200.0}
        assert 128.0 in values
        hole = (image[..., 0] == 128).sum()
        # Half-width 8: at most 16 x 16, and what the reflected border repeats of it.
        assert 16 <= hole <= 24 * 24
