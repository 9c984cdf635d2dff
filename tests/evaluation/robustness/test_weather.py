from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.robustness import frost, weather
from evaluation.robustness.constants import constants_of
from evaluation.robustness.corruptions import corrupt
from tests.evaluation.robustness.pictures import smooth


@pytest.mark.parametrize(
    ("side", "size"), [(8, 8), (9, 16), (16, 16), (32, 32), (33, 64), (64, 64), (224, 256), (299, 512)]
)
def test_the_height_map_holds_the_picture(side: int, size: int) -> None:
    assert weather.fog_size(side) == size


@given(st.integers(1, 6), st.floats(1.1, 3), st.integers(0, 2**32))
def test_a_height_map_is_the_diamond_square_algorithm(levels: int, decay: float, seed: int) -> None:
    size = 2**levels
    image = np.zeros((max(size, 2), max(size, 2), 3), np.uint8)
    (uniform,) = weather.draw_fog(np.random.default_rng(seed), image, 1.0, decay)
    assert uniform.shape == (size**2 - 1,)
    heights, draws = np.zeros((size, size)), iter(uniform)
    step, roughness = size, 100.0
    while step > 1:
        half = step // 2
        for rows, columns in ((half, half), (0, half), (half, 0)):
            diagonal = rows == columns
            for row in range(rows, size, step):
                for column in range(columns, size, step):
                    around = [(-half, -half), (-half, half), (half, -half), (half, half)]
                    around = around if diagonal else [(-half, 0), (half, 0), (0, -half), (0, half)]
                    mean = sum(heights[(row + down) % size, (column + right) % size] for down, right in around) / 4
                    heights[row, column] = mean + roughness * next(draws)
        step, roughness = half, roughness / decay
    expected = (heights - heights.min()) / (heights.max() - heights.min())
    np.testing.assert_allclose(weather.plasma(uniform, decay, size), expected, atol=1e-12)


def test_draws_of_fog_shrink_from_level_to_level() -> None:
    (uniform,) = weather.draw_fog(np.random.default_rng(0), smooth(32), 1.0, 2.0)
    start = 0
    for level in range(5):
        points = 3 * 4**level
        largest = np.abs(uniform[start : start + points]).max()
        assert largest <= 100 / 2**level
        assert level < 2 or largest > 70 / 2**level
        start += points


def test_fog_keeps_the_range_and_lowers_the_contrast() -> None:
    image = smooth(64)
    foggy = corrupt(image, "fog", 5, np.random.default_rng(0))
    assert foggy.max() <= image.max()
    small = [np.abs(np.diff(values.astype(int), axis=0)).mean() for values in (image, foggy)]
    assert small[1] < 0.7 * small[0]


def test_textures_of_frost_are_the_same_in_every_run_and_differ() -> None:
    textures = [frost.texture(number, 0.2) for number in range(frost.TEXTURES)]
    frost.texture.cache_clear()
    frost._texture.cache_clear()
    np.testing.assert_array_equal(frost.texture(2, 0.2), textures[2])
    assert {texture.shape for texture in textures} == {(120, 120, 3)}
    assert len({texture.tobytes() for texture in textures}) == frost.TEXTURES
    assert all(50 < texture.mean() < 200 and texture.std() > 25 for texture in textures)


@pytest.mark.parametrize("side", [8, 48, 49, 128, 129, 260, 299, 380])
def test_a_piece_of_frost_fits(side: int) -> None:
    image = smooth(side)
    constants = constants_of("frost", 3, side)
    numbers = set()
    for seed in range(60):
        number, top, left = weather.draw_frost(np.random.default_rng(seed), image, *constants)
        size = len(frost.texture(number, constants[2]))
        assert 0 <= top <= size - side
        assert 0 <= left <= size - side
        numbers.add(number)
    assert numbers == set(range(frost.TEXTURES))


def test_frost_adds_its_texture_by_weight() -> None:
    image, texture = smooth(32), frost.texture(1, 0.2).astype(float)
    expected = np.clip(0.5 * image + 0.25 * texture[3:35, 4:36], 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(weather.frost(image, 1, 3, 4, 0.5, 0.25, 0.2), expected)


def test_snow_whitens_and_falls_on_both_halves() -> None:
    image = np.full((32, 32, 3), 60, np.uint8)
    layer = np.zeros((32, 32), np.uint8)
    clear = weather.with_snow(image, layer, 1.0)
    assert (clear == 60).all()
    assert (weather.with_snow(image, layer, 0.5) > 100).all()  # half of it, half of 1.5 * 60 + 127
    layer[2, 3] = 255
    flakes = weather.with_snow(image, layer, 1.0) == 255
    assert {(int(row), int(column)) for row, column, _ in np.argwhere(flakes)} == {(2, 3), (29, 28)}


def test_flakes_below_the_threshold_are_black() -> None:
    (normal, angle), image = weather.draw_snow(np.random.default_rng(0), smooth(64)), smooth(64)
    assert -135 <= angle <= -45
    layer = weather.snow_layer(normal, 0.1, 0.3, 2, 0.5)
    assert (layer.shape, layer.dtype) == (image.shape[:2], np.uint8)
    assert ((layer == 0) | (layer >= 127)).all()
    assert 0.01 < (layer > 0).mean() < 0.3
