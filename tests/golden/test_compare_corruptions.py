from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import UserError
from tests.golden.compare import compare, read
from tests.golden.compare_corruptions import ALL, DETERMINISTIC, DRAWS, compare_corruptions, statistics
from tests.golden.reduce_corruptions import reduce

SUBSET = os.path.join(os.path.dirname(__file__), "corruptions_subset.npz")


@pytest.fixture(scope="module")
def subset() -> dict[str, np.ndarray]:
    return read(SUBSET)


def _only(subset: dict[str, np.ndarray], *beginnings: str, **changes: np.ndarray) -> dict[str, np.ndarray]:
    return {name: value for name, value in subset.items() if name.startswith(("input/", *beginnings))} | changes


def test_the_authors_pictures_agree() -> None:
    result = compare(SUBSET)
    assert result["ok"], result
    assert (result["kind"], result["checked"]) == ("corruptions", 34 + 9 + 9 + 7)
    assert "not_compared" not in result
    names = {quantity.split(":")[0].split(",")[0].split(" of ")[0] for quantity in result["deviations"]}
    assert set(ALL) - {"frost"} <= names


def test_the_subset_is_what_it_reduces_to(subset: dict[str, np.ndarray]) -> None:
    left = reduce({**subset, "input/64/0": np.zeros(1), "fog/224/1/0": np.zeros(1), "result/fog/224/3": np.zeros(1)})
    assert set(left) == set(subset)


@pytest.mark.parametrize("name", [*DETERMINISTIC, *DRAWS])
def test_a_picture_that_differs_is_found(subset: dict[str, np.ndarray], name: str) -> None:
    key = f"{name}/32/3/0" if name in DETERMINISTIC else f"result/{name}/32/3"
    wrong = subset[key].copy()
    wrong[5, 6, 1] ^= 2
    result = compare_corruptions({**_only(subset, f"draws/{name}/"), key: wrong})
    assert not result["ok"]
    bad = [deviation for deviation in result["deviations"].values() if deviation["largest"] > deviation["tolerance"]]
    assert bad
    assert all(deviation["where"] == key for deviation in bad)


@pytest.mark.parametrize(
    "key",
    [
        "p/rotate/32/frames",
        "p/tilt/32/frames",
        "draws/snow/32/3/layer_uint8",
        "draws/snow/32/3/layer_blurred",
        "draws/fog/32/3/plasma",
        "draws/elastic_transform/32/3/points_to",
        "draws/elastic_transform/32/3/matrix",
    ],
)
def test_a_frame_or_an_intermediate_result_that_differs_is_found(subset: dict[str, np.ndarray], key: str) -> None:
    wrong = subset[key].copy()
    wrong.flat[1] += 2
    beginnings = ("p/",) if key.startswith("p/") else (f"draws/{key.split('/')[1]}/", f"result/{key.split('/')[1]}/")
    result = compare_corruptions({**_only(subset, *beginnings), key: wrong})
    bad = {
        deviation["where"]
        for deviation in result["deviations"].values()
        if deviation["largest"] > deviation["tolerance"]
    }
    assert bad == {key}


def test_statistics_that_differ_are_found(subset: dict[str, np.ndarray]) -> None:
    prefix = "stats/impulse_noise/32/3/"
    content = {**_only(subset, prefix), "stats/seeds": subset["stats/seeds"], "stats/lags": subset["stats/lags"]}
    assert compare_corruptions(content)["ok"]
    wrong = content[prefix + "mad"] * np.array([[2], [1]])
    result = compare_corruptions({**content, prefix + "mad": wrong})
    assert not result["ok"]
    (deviation,) = result["deviations"].values()
    assert (deviation["where"], deviation["tolerance"]) == (prefix + "mad", 5)


def test_a_mean_without_any_spread_must_be_met(subset: dict[str, np.ndarray]) -> None:
    prefix = "stats/contrast/32/3/"
    content = {**_only(subset), "stats/seeds": np.array(3), "stats/lags": np.array([1, 2])}
    image = subset["input/32/0"]
    ours = statistics(subset["contrast/32/3/0"], image, [1, 2])
    content |= {prefix + name: np.stack([values, 0 * values]) for name, values in ours.items()}
    assert compare_corruptions(content)["ok"]
    content[prefix + "std"] = content[prefix + "std"] + np.array([[1e-3], [0]])
    assert not compare_corruptions(content)["ok"]


def test_what_has_no_counterpart_is_said(subset: dict[str, np.ndarray]) -> None:
    image = subset["input/32/0"]
    extra = ["spatter/32/1/0", "result/frost/32/1", "p/snow/32/frames", "draws/fog/32/3/other"]
    content = {**_only(subset, "contrast/", "draws/fog/", "result/fog/"), **dict.fromkeys(extra, image)}
    result = compare_corruptions(content)
    assert result["ok"]
    assert sorted(result["not_compared"]) == sorted(extra)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"contrast/32": 0},
            "got the name 'contrast/32', expected <corruption>/<side>/<severity>/<picture> or result/, stats/ or p/",
        ),
        ({"contrast/32/9/0": 0}, "is no whole corruptions file: ValueError: got the severity 9, expected 1 to 5"),
        ({"contrast/32/3/8": 0}, "is no whole corruptions file: KeyError: 'input/32/8'"),
        ({"p/rotate/32/index": [99]}, "is no whole corruptions file: IndexError: "),
    ],
)
def test_what_is_not_whole_is_named(
    tmp_path: Path, subset: dict[str, np.ndarray], change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "any.npz"
    content = _only(subset, "p/rotate/", "contrast/32/3/0") | {name: np.array(value) for name, value in change.items()}
    np.savez(path, **content)
    with pytest.raises(UserError) as caught:
        compare(str(path))
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_file_with_nothing_to_compare_is_not_in_order(subset: dict[str, np.ndarray]) -> None:
    assert not compare_corruptions({**_only(subset), "stats/seeds": np.array(50)})["ok"]
