from __future__ import annotations

import gzip
import json
import os
from typing import Any

import pytest

from efficientnet.variants import VARIANTS, ModelConfig, round_channels
from runtime.errors import UserError
from tests.golden.compare_tables import compare_variables

REFERENCE = os.path.join(os.path.dirname(__file__), os.pardir, "golden", "variables.json.gz")

# docs/release.md, section 1: pixels, dropout, trainable parameters, with batch-norm statistics; 1000 classes.
TABLE = {
    "efficientnet-b0": (224, 0.2, 5_288_548, 5_330_564),
    "efficientnet-b1": (240, 0.2, 7_794_184, 7_856_232),
    "efficientnet-b2": (260, 0.3, 9_109_994, 9_177_562),
    "efficientnet-b3": (300, 0.3, 12_233_232, 12_320_528),
    "efficientnet-b4": (380, 0.4, 19_341_616, 19_466_816),
    "efficientnet-b5": (456, 0.4, 30_389_784, 30_562_520),
    "efficientnet-b6": (528, 0.5, 43_040_704, 43_265_136),
    "efficientnet-b7": (600, 0.5, 66_347_960, 66_658_680),
    "efficientnet-l2": (800, 0.5, 480_309_308, 481_399_996),
}


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    with gzip.open(REFERENCE) as file:
        return json.load(file)


def test_every_variant_is_in_the_reference(reference: dict[str, Any]) -> None:
    assert set(reference) == set(VARIANTS) == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_every_name_shape_and_count_is_the_release_s(name: str, reference: dict[str, Any]) -> None:
    pixels, dropout, trainable, everything = TABLE[name]
    assert (VARIANTS[name].pixels, VARIANTS[name].dropout_rate) == (pixels, dropout)
    assert (reference[name]["params"], reference[name]["total_with_bn_stats"]) == (trainable, everything)
    assert ModelConfig(name, 1000).num_values == everything
    result = compare_variables({name: reference[name]})
    assert result["ok"], result


def test_the_comparison_finds_a_wrong_shape(reference: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(reference["efficientnet-b0"]))
    changed["variables"][0][1] = [3, 3, 3, 33]
    result = compare_variables({"efficientnet-b0": changed})
    assert not result["ok"]
    assert "[3, 3, 3, 33]" in result["deviations"]["differing_names_or_shapes"]["where"]


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [
        (32, 1.0, 32),
        (32, 0.25, 8),
        (16, 0.25, 8),  # never below 8
        (24, 1.1, 24),  # 26.4 is nearest to 24, which loses 9 %
        (112, 1.1, 120),
        (40, 0.5, 24),  # 20 is half-way: up
        (24, 0.78, 24),  # 18.72 is nearest to 16, which loses more than 10 %: one multiple up
        (32, 4.3, 136),
        (1280, 4.3, 5504),
    ],
)
def test_channels_are_rounded_as_in_the_release(channels: int, width: float, expected: int) -> None:
    assert round_channels(channels, width) == expected


def test_only_the_first_block_of_a_stage_has_its_stride_and_input_width() -> None:
    blocks = ModelConfig("efficientnet-b1", 10).blocks()
    assert [block.stride for block in blocks[:8]] == [1, 1, 2, 1, 1, 2, 1, 1]
    assert [(block.input_channels, block.output_channels) for block in blocks[:4]] == [
        (32, 16),
        (16, 16),
        (16, 24),
        (24, 24),
    ]
    assert [block.has_residual for block in blocks[:4]] == [False, True, False, True]


def test_squeeze_channels_follow_the_block_s_input() -> None:
    blocks = ModelConfig("efficientnet-b0", 10).blocks()
    assert [block.squeeze_channels for block in blocks[:3]] == [8, 4, 6]


def test_small_image_model_keeps_stages_two_and_three_at_full_size() -> None:
    strides = [block.stride for block in ModelConfig("efficientnet-b0", 10, small_image_model=True).blocks()]
    assert strides == [1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]


def test_coefficients_and_dropout_override_the_variant() -> None:
    config = ModelConfig("efficientnet-b7", 10, width_coefficient=1.0, depth_coefficient=1.0, dropout_rate=0.0)
    assert config.blocks() == ModelConfig("efficientnet-b0", 10).blocks()
    assert config.variant.dropout_rate == 0.0


def test_json_round_trip() -> None:
    config = ModelConfig("efficientnet-b2", 7, fix_layer_num=3, dropout_rate=0.1)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_an_unknown_variant_is_named() -> None:
    with pytest.raises(UserError, match=r"--model_name: got 'efficientnet-b9', expected one of efficientnet-b0, "):
        ModelConfig("efficientnet-b9", 10).blocks()
