from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from tests.golden.compare import compare, read
from tests.golden.compare_attacks import RUN, compare_attacks
from tests.golden.reduce_attacks import reduce

FOLDER = os.path.dirname(__file__)
SUBSET = os.path.join(FOLDER, "attacks_subset.npz")
KIND = "recalibrated"


@pytest.fixture(scope="module")
def run() -> dict[str, np.ndarray]:
    return read(os.path.join(FOLDER, RUN))


@pytest.fixture(scope="module")
def subset() -> dict[str, np.ndarray]:
    return read(SUBSET)


def test_the_attacks_of_others_agree() -> None:
    result = compare(SUBSET)
    assert result["ok"], result
    assert result["kind"] == "attacks"
    attacks = ["clean", "fgsm/eps4", "fgsm/eps16", "pgd10/eps8_step2"]
    expected = {"gradient", "FGSM: share of values", "PGD: share of pictures"} | {
        f"logits of {name}" for name in attacks
    }
    assert set(result["deviations"]) == {f"{KIND}: {quantity}" for quantity in expected}


def test_what_differs_is_found(subset: dict[str, np.ndarray], run: dict[str, np.ndarray]) -> None:
    gradient = subset[f"{KIND}/clean/gradient"].copy()
    gradient[3] *= -1
    pictures = {name: subset[f"{KIND}/{name}/image"].copy() for name in ("fgsm/eps16", "pgd10/eps8_step2")}
    pictures["fgsm/eps16"][0, :2] ^= 1
    pictures["pgd10/eps8_step2"][:2, :2] ^= 1
    changes = {f"{KIND}/{name}/image": value for name, value in pictures.items()}
    result = compare_attacks({**subset, **changes, f"{KIND}/clean/gradient": gradient}, run)
    bad = {name for name, found in result["deviations"].items() if found["largest"] > found["tolerance"]}
    assert bad >= {f"{KIND}: gradient", f"{KIND}: FGSM: share of values", f"{KIND}: PGD: share of pictures"}


def test_the_subset_is_what_it_reduces_to(subset: dict[str, np.ndarray]) -> None:
    its_run = {
        f"final/{name[len('weights/') :]}": value for name, value in subset.items() if name.startswith("weights/")
    }
    full = {name: value for name, value in subset.items() if not name.startswith("weights/")}
    more = {f"{KIND}/fgsm/eps2/logits": np.zeros(1), "ema/clean/gradient": np.zeros(1)}
    left = reduce({**full, **more}, {**its_run, "final/global_step": np.zeros(1), "flags": np.zeros(1)})
    assert set(left) == set(subset)


def test_a_file_needs_its_network(tmp_path: Path, subset: dict[str, np.ndarray]) -> None:
    path = tmp_path / "some.npz"
    np.savez(path, **{name: value for name, value in subset.items() if not name.startswith("weights/")})
    with pytest.raises(UserError, match=rf"^{path}: {tmp_path}/{RUN}: cannot be read: "):
        compare(str(path))
    (tmp_path / "trajectory").mkdir()
    shutil.copy(os.path.join(FOLDER, RUN), tmp_path / RUN)
    with pytest.raises(
        UserError, match=rf"^{path}: got no weights: neither weights/.* in the file nor final/.* in {RUN}"
    ):
        compare(str(path))


def test_a_name_that_is_no_attack_is_named(subset: dict[str, np.ndarray], run: dict[str, np.ndarray]) -> None:
    extra = {f"{KIND}/other/{part}": subset[f"{KIND}/fgsm/eps4/{part}"] for part in ("image", "logits")}
    with pytest.raises(UserError, match=r"^got the name 'recalibrated/other', expected <kind>/fgsm/eps<e> or "):
        compare_attacks({**subset, **extra}, run)
