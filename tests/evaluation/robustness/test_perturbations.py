from __future__ import annotations

from typing import Any, Optional

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.robustness.corruptions import picture_generator
from evaluation.robustness.perturbations import PERTURBATIONS, center_crop, perturb
from tests.evaluation.robustness.pictures import any_pictures, smooth


def _perturb(image: np.ndarray, name: str, size: Optional[int] = None, **keywords: Any) -> np.ndarray:
    return perturb(image, name, picture_generator(0, name, 1, 0), size, **keywords)


@given(any_pictures(st.integers(8, 24)), st.sampled_from(list(PERTURBATIONS)))
def test_any_picture_gives_frames_and_always_the_same(image: np.ndarray, name: str) -> None:
    before = image.copy()
    first, second = _perturb(image, name), _perturb(image, name)
    assert (first.shape[1:], first.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("size", [32, 64, 224, 299])
def test_as_many_frames_as_published(size: int) -> None:
    image = smooth(size)
    few = {32: {"translate": 16, "motion_blur": 21}, 224: {"translate": 41}, 299: {"translate": 41}}
    for name in PERTURBATIONS:
        assert len(_perturb(image, name)) == few.get(size, {}).get(name, 31), name


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("gaussian_noise", 0),
        ("shot_noise", 0),
        ("zoom_blur", 0),
        ("brightness", 15),
        ("translate", 7),
        ("rotate", 15),
        ("scale", 15),
    ],
)
def test_where_the_clean_picture_is(name: str, frame: int) -> None:
    image = smooth(32)
    # A float level that is cut off may be one lower.
    assert np.abs(_perturb(image, name)[frame].astype(int) - image).max() <= (1 if name == "brightness" else 0)


@pytest.mark.parametrize("name", sorted(set(PERTURBATIONS) - {"gaussian_noise", "shot_noise"}))
def test_frames_change_little_by_little(name: str) -> None:
    frames = _perturb(smooth(64), name).astype(int)
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    whole = np.abs(frames[-1] - frames[0]).mean()
    assert (steps > 0).all()
    assert steps.max() < max(whole, 3)


def test_tilt_by_nothing_is_one_pixel_further_away_than_its_focal_length() -> None:
    image = np.full((32, 32, 3), 200, np.uint8)
    frame = _perturb(image, "tilt")[15]
    assert 0 < (frame < 200).mean() < 0.15  # 32 * f / (f + 1) pixels wide, f = 45
    assert (frame[1:-1, 1:-1] == 200).all()


def test_noise_is_new_in_every_frame_and_stronger_with_the_difficulty() -> None:
    image = smooth(32)
    for name in ("gaussian_noise", "shot_noise"):
        changes = []
        for difficulty in (1, 2, 3):
            frames = _perturb(image, name, difficulty=difficulty)
            assert len({frame.tobytes() for frame in frames}) == 31
            changes.append(np.abs(frames[1:].astype(int) - image).mean())
        assert changes == sorted(changes)
        assert changes[0] < 0.7 * changes[2]


def test_the_difficulty_leaves_other_frames_as_they_are() -> None:
    image = smooth(32)
    np.testing.assert_array_equal(_perturb(image, "tilt", difficulty=3), _perturb(image, "tilt"))


@pytest.mark.parametrize("name", ["translate", "rotate", "tilt", "scale"])
def test_what_lies_outside_the_middle_moves_in(name: str) -> None:
    large = np.full((48, 50, 3), 200, np.uint8)
    frames = _perturb(large, name, 32)
    assert frames.shape[1:] == (32, 32, 3)
    black_in_the_small = (_perturb(large[:32, :32], name) == 0).sum()
    assert (frames == 0).sum() < 0.2 * black_in_the_small


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "motion_blur", "snow", "brightness"])
def test_what_does_not_move_the_picture_sees_the_middle_alone(name: str) -> None:
    large = smooth(48)
    np.testing.assert_array_equal(_perturb(large, name, 32), _perturb(center_crop(large, 32), name))


def test_translate_shifts_whole_columns_to_the_right() -> None:
    image = smooth(32)
    frames = _perturb(image, "translate")
    for frame, shift in zip(frames, range(-7, 9)):
        old, new = slice(max(-shift, 0), 32 - max(shift, 0)), slice(max(shift, 0), 32 + min(shift, 0))
        np.testing.assert_array_equal(frame[:, new], image[:, old])
        assert not np.delete(frame, np.arange(32)[new], axis=1).any()


def test_rotate_turns_about_the_middle() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[14:19, 14:19] = 255
    frames = _perturb(image, "rotate").astype(float)
    rows, columns = np.mgrid[:32, :32]
    for frame in frames:
        weight = frame[..., 0] / frame[..., 0].sum()
        assert (weight * rows).sum() == pytest.approx(16, abs=0.15)
        assert (weight * columns).sum() == pytest.approx(16, abs=0.15)


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("shear", {}, "got the perturbation 'shear', expected one of gaussian_noise, shot_noise, "),
        ("tilt", {"difficulty": 4}, "got the difficulty 4, expected 1 to 3"),
        ("tilt", {"size": 33}, "got frames of 33 pixels, expected 8 to 32, the picture's shorter side"),
        ("tilt", {"size": 7}, "got frames of 7 pixels, expected 8 to 32, the picture's shorter side"),
    ],
)
def test_what_cannot_be_perturbed_is_named(name: str, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _perturb(smooth(32), name, **keywords)
    with pytest.raises(ValueError, match=r"got a picture of float64 \[32, 32, 3\], expected uint8 \[H, W, 3\]"):
        _perturb(smooth(32) / 255, "tilt")
