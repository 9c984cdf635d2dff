from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.robustness import pixels
from evaluation.robustness.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, corrupt, picture_generator
from evaluation.robustness.perturbations import PERTURBATIONS, perturb
from tests.evaluation.robustness.pictures import any_pictures, smooth

ROOT = Path(__file__).parents[3]
ALL = {**CORRUPTIONS, **EXTRA_CORRUPTIONS}
RANDOM = [name for name, corruption in ALL.items() if corruption.draw]


def test_the_fifteen_and_their_groups() -> None:
    groups = [corruption.group for corruption in CORRUPTIONS.values()]
    assert len(groups) == 15
    assert {group: groups.count(group) for group in groups} == {"noise": 3, "blur": 4, "weather": 4, "digital": 4}
    assert not set(CORRUPTIONS) & set(EXTRA_CORRUPTIONS)


@given(any_pictures(st.integers(8, 40)), st.sampled_from(list(ALL)), st.integers(1, 5), st.integers(0, 2**32))
def test_any_picture_gives_one_like_it_and_always_the_same(
    image: np.ndarray, name: str, severity: int, seed: int
) -> None:
    before = image.copy()
    first, second = (corrupt(image, name, severity, picture_generator(seed, name, severity, 7)) for _ in range(2))
    assert (first.shape, first.dtype, first.flags.writeable) == (image.shape, np.uint8, True)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("side", [97, 130, 261, 320])
def test_sides_between_the_tables(side: int) -> None:
    image = smooth(side)
    for name in ALL:
        for severity in (1, 5):
            result = corrupt(image, name, severity, picture_generator(0, name, severity, 0))
            assert (result.shape, result.dtype) == (image.shape, np.uint8), name


@pytest.mark.parametrize("name", ALL)
def test_every_severity_changes_the_picture(name: str) -> None:
    image = smooth(32)
    results = [corrupt(image, name, severity, picture_generator(0, name, severity, 0)) for severity in range(1, 6)]
    for one, other in zip([image, *results], results):
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("name", ALL)
def test_working_piece_by_piece_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = smooth(32)

    def results() -> list[np.ndarray]:
        return [corrupt(image, name, severity, picture_generator(0, name, severity, 0)) for severity in range(1, 6)]

    whole = results()
    monkeypatch.setattr(pixels, "_PIXELS_AT_ONCE", 100)  # three rows, or one plane
    np.testing.assert_array_equal(results(), whole)


def test_no_order_changes_a_picture() -> None:
    image = smooth(32)
    wanted = [(name, severity, picture) for name in ALL for severity in (1, 4) for picture in (0, 1)]

    def results(order: list[Any]) -> dict[Any, bytes]:
        return {
            (name, severity, picture): corrupt(
                image, name, severity, picture_generator(3, name, severity, picture)
            ).tobytes()
            for name, severity, picture in order
        }

    shuffled = random.Random(0).sample(wanted, len(wanted))
    expected = results(wanted)
    assert results(shuffled) == expected
    drawn = [which for which in wanted if which[0] in RANDOM]
    assert len({expected[which] for which in drawn}) == len(drawn)


def digest() -> str:
    """Of every corruption and perturbation of a picture with flat patches, where the last bit of a float decides."""
    patches = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = patches.repeat(8, axis=0).repeat(8, axis=1)
    found = hashlib.sha256()
    for name in ALL:
        for severity in range(1, 6):
            found.update(corrupt(image, name, severity, picture_generator(0, name, severity, 0)).tobytes())
    for name in PERTURBATIONS:
        found.update(perturb(image, name, picture_generator(0, name, 1, 0)).tobytes())
    return found.hexdigest()


def test_a_processor_without_the_newest_instructions_gives_the_same_bytes() -> None:
    code = f"from {__name__} import digest; print(digest())"
    for features in ("AVX512F AVX512CD AVX512_SKX", "AVX512F AVX512CD AVX512_SKX AVX2 FMA3"):
        environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": features, "OPENBLAS_CORETYPE": "Nehalem"}
        command = [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == digest(), features


@given(st.integers(0, 2**40), st.integers(1, 4), st.integers(0, 10**6))
def test_a_change_of_any_of_the_four_numbers_changes_the_draws(seed: int, severity: int, picture: int) -> None:
    def draw(*which: Any) -> float:
        return float(picture_generator(*which).random())

    here = draw(seed, "fog", severity, picture)
    assert here == draw(seed, "fog", severity, picture)
    assert here != draw(seed + 1, "fog", severity, picture)
    assert here != draw(seed, "snow", severity, picture)
    assert here != draw(seed, "fog", severity + 1, picture)
    assert here != draw(seed, "fog", severity, picture + 1)


@pytest.mark.parametrize("name", sorted(set(ALL) - set(RANDOM)))
def test_what_is_not_random_draws_nothing(name: str) -> None:
    generator = np.random.default_rng(0)
    corrupt(smooth(32), name, 3, generator)
    assert generator.random() == np.random.default_rng(0).random()


# Where the published constants rise in all that counts. Not so in glass_blur, snow, frost, fog, elastic_transform and saturate:
# these trade one thing for another. At 32 pixels motion_blur's severities 3 and 4 are the same. Pixelate's grid may fit.
RISING = {
    "gaussian_noise": (32, 64, 224, 299),
    "shot_noise": (32, 64, 224, 299),
    "impulse_noise": (32, 64, 224, 299),
    "speckle_noise": (32, 64, 224, 299),
    "defocus_blur": (32, 64, 224, 299),
    "motion_blur": (64, 224, 299),
    "zoom_blur": (32, 64, 224, 299),
    "gaussian_blur": (32, 64, 224, 299),
    "brightness": (32, 64, 224, 299),
    "contrast": (32, 64, 224, 299),
    "pixelate": (32, 64),
    "jpeg_compression": (32, 64, 224, 299),
}


@pytest.mark.parametrize(("name", "side"), [(name, side) for name, sides in RISING.items() for side in sides])
def test_a_picture_changes_more_with_each_severity(name: str, side: int) -> None:
    image = smooth(side)
    pictures = range((8 if side < 100 else 2) if name in RANDOM else 1)

    def change(severity: int) -> float:
        results = (corrupt(image, name, severity, picture_generator(0, name, severity, number)) for number in pictures)
        return float(np.mean([np.abs(result.astype(int) - image) for result in results]))

    changes = [change(severity) for severity in range(1, 6)]
    assert changes == sorted(changes)
    assert len(set(changes)) == 5


@pytest.mark.parametrize(
    ("image", "name", "severity", "message"),
    [
        (smooth(32), "spatter", 1, "got the corruption 'spatter', expected one of gaussian_noise, shot_noise, "),
        (smooth(32), "fog", 0, "got the severity 0, expected 1 to 5"),
        (smooth(32), "fog", 6, "got the severity 6, expected 1 to 5"),
        (smooth(32)[:, :30], "fog", 1, "got a picture of 32 x 30 pixels, expected a square: crop it first"),
        (
            smooth(32)[:7, :7],
            "fog",
            1,
            r"got a picture of uint8 \[7, 7, 3\], expected uint8 \[H, W, 3\] with sides of at least 8",
        ),
        (smooth(32)[..., :1], "fog", 1, r"got a picture of uint8 \[32, 32, 1\], expected uint8 \[H, W, 3\]"),
        (smooth(32)[0], "fog", 1, r"got a picture of uint8 \[32, 3\], expected uint8 \[H, W, 3\]"),
        (smooth(32) / 255, "fog", 1, r"got a picture of float64 \[32, 32, 3\], expected uint8 \[H, W, 3\]"),
    ],
)
def test_what_cannot_be_corrupted_is_named(image: np.ndarray, name: str, severity: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corrupt(image, name, severity, np.random.default_rng(0))
