"""--fit: a long picture is seen whole, and seen alike in training, evaluation, prediction, classify and export."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from checkpoints.export import make_serving
from data.config import AugmentConfig, TeacherNoise
from data.images.decoding import CROP_PADDING, GREY, evaluation_image
from data.images.training import TrainingOptions, training_image
from data.records.examples import labeled_example, unlabeled_example
from data.records.shards import write_shard
from data.streams.evaluation import evaluation_stream
from data.streams.prediction import noised_inputs, prediction_stream
from data.tasks import FITS, Task
from efficientnet.model import EfficientNet
from efficientnet.variants import ModelConfig
from evaluation.classify import run as classify
from evaluation.config import ClassifyConfig
from tests.data.images.test_files import encoded, picture

SIZE = 32
MODEL = ModelConfig("efficientnet-b0", 3, width_coefficient=0.1, depth_coefficient=0.1)


def resized(pixels):
    images = tf.constant(pixels[None], tf.float32)
    return tf.raw_ops.ResizeBicubic(images=images, size=[SIZE, SIZE])[0].numpy()


def padded(pixels):
    height, width = pixels.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), GREY, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def centre(pixels):
    height, width = pixels.shape[:2]
    side = max(1, int(np.float32(SIZE / (SIZE + CROP_PADDING)) * np.float32(min(height, width))))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    return pixels[top : top + side, left : left + side]


EXPECTED = {"crop": centre, "pad": padded, "stretch": lambda pixels: pixels}
SIDES = st.integers(2, 90)


@given(width=SIDES, height=SIDES, form=st.sampled_from(["PNG", "JPEG"]), fit=st.sampled_from(FITS))
@example(width=200, height=3, form="JPEG", fit="stretch")
@example(width=3, height=200, form="PNG", fit="pad")
def test_a_picture_of_any_shape_is_seen_as_asked_for(width, height, form, fit):
    content = encoded(form, picture(0, width, height))
    pixels = tf.io.decode_image(content, channels=3).numpy()
    found = evaluation_image(tf.constant(content), SIZE, False, fit).numpy()
    np.testing.assert_allclose(found, resized(EXPECTED[fit](pixels)), atol=1e-3)


def banner():
    """8:1, red on the left and blue on the right."""
    pixels = np.full((16, 128, 3), 100, np.uint8)
    pixels[:, :16], pixels[:, -16:] = (250, 0, 0), (0, 0, 250)
    return encoded("PNG", Image.fromarray(pixels))


@pytest.mark.parametrize("fit", FITS)
def test_a_training_sees_the_ends_of_a_long_picture_unless_it_crops(fit):
    options = TrainingOptions(SIZE, False, False, AugmentConfig(enabled=False), fit=fit)
    seen = tf.function(lambda seed: training_image(tf.constant(banner()), seed, options))
    both = red = 0
    for number in range(60):
        image = seen(tf.constant([number, 7], tf.int64)).numpy()
        assert image.shape == (SIZE, SIZE, 3)
        has_red = bool((image[..., 0] > 200).any() and (image[..., 2] < 60).any())
        has_blue = bool(((image[..., 2] > 200) & (image[..., 0] < 60)).any())
        red += has_red
        both += has_red and has_blue
    if fit == "crop":
        assert both == 0
    else:
        assert red > 20
        assert both > 5


def test_a_window_of_the_stretched_square_is_that_of_the_picture():
    """All that is drawn lies in the picture, and a whole window is the whole picture, for any shape."""
    options = TrainingOptions(SIZE, False, False, AugmentConfig(enabled=False), fit="stretch")
    for width, height in ((2, 2), (2, 700), (2000, 3), (31, 97)):
        content = tf.constant(encoded("PNG", picture(0, width, height)))
        for seed in range(5):
            image = training_image(content, tf.constant([seed, 1], tf.int64), options).numpy()
            assert np.isfinite(image).all()


@pytest.mark.parametrize("fit", FITS)
def test_every_stage_sees_the_same(tmp_path, fit):
    """The picture itself; and through a network, what classify and the SavedModel make of it."""
    content = banner()
    expected = evaluation_image(tf.constant(content), SIZE, False, fit).numpy()
    labeled, unlabeled = str(tmp_path / "test-00000-of-00001"), str(tmp_path / "train-00000-of-00001")
    write_shard(labeled, [labeled_example(content, 1)])
    write_shard(unlabeled, [unlabeled_example(content)])
    (batch,) = evaluation_stream([labeled], 3, SIZE, False, 1, fit=fit)
    np.testing.assert_array_equal(batch["image"][0], expected)
    (batch,) = prediction_stream([unlabeled], SIZE, False, 1, (0, 1), fit=fit)
    np.testing.assert_array_equal(batch["image"][0], expected)
    (tmp_path / "banner.png").write_bytes(content)
    config = ClassifyConfig("classify", MODEL, "", (str(tmp_path / "banner.png"),), SIZE, fit=fit)
    ((_, pixels),) = classify._pixels(config, classify.find_images(config.inputs))
    np.testing.assert_array_equal(pixels, expected)
    model = EfficientNet(MODEL, seed=1)
    served = make_serving(model, SIZE, fit).serve(tf.constant([content]))["probabilities"]
    np.testing.assert_allclose(served, tf.nn.softmax(model(expected[None])), atol=1e-6)


def test_a_noised_teacher_sees_what_its_student_trains_on():
    seen = set()
    for fit in FITS:
        noise = TeacherNoise(AugmentConfig(enabled=False), False, 0, fit)
        seen.add(noised_inputs(tf.constant(banner()), noise, SIZE, False, 1)["image"].numpy().tobytes())
    assert len(seen) == len(FITS)


@pytest.mark.parametrize("fit", FITS)
def test_pictures_are_fitted_for_networks_of_small_images_too(fit):
    found = evaluation_image(tf.constant(banner()), SIZE, True, fit).numpy()
    assert found.shape == (SIZE, SIZE, 3)
    ends = {"crop": ((100, 100, 100), (100, 100, 100))}.get(fit, ((250, 0, 0), (0, 0, 250)))
    np.testing.assert_allclose([found[SIZE // 2, 0], found[SIZE // 2, -1]], ends, atol=12)
    assert (found[0, 0] == GREY).all() == (fit == "pad")


def test_a_task_says_how_its_pictures_are_fitted():
    task = Task("folder", 2, fit="pad")
    assert Task.from_json(task.to_json()) == task
    before = task.to_json()
    del before["fit"]
    assert Task.from_json(before).fit == "crop"
    with pytest.raises(ValueError, match=r"^fit is 'squeeze', expected one of crop, pad, stretch$"):
        Task.from_json({**before, "fit": "squeeze"})
