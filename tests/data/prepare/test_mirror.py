"""Whether pictures can be told from their mirror images."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from data.prepare import mirror
from data.prepare.config import PrepareConfig
from data.prepare.run import prepare
from data.records.examples import unlabeled_example
from data.records.shards import write_shard


def strokes(number, seed, symmetric=False):
    """uint8 [N, 20, 20]: a bent stroke, moved about, in noise; if `symmetric`, half of them the other way round."""
    random = np.random.default_rng(seed)
    pictures = random.normal(40, 20, (number, 20, 20))
    for index, picture in enumerate(pictures):
        top, left = random.integers(2, 8, 2)
        picture[top : top + 10, left] += 150
        picture[top + 9, left : left + 8] += 150
        if symmetric and index % 2:
            picture[:] = picture[:, ::-1]
    return np.clip(pictures, 0, 255).astype(np.uint8)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(file, "PNG")
    return file.getvalue()


def test_pictures_with_a_right_and_a_left_side_are_told_from_their_mirror_images():
    found = mirror.told_apart(strokes(200, 0).astype(float))
    assert found.share > 0.8
    assert found.pictures == 200
    assert found.is_there


@pytest.mark.parametrize("seed", range(5))
def test_pictures_that_are_as_likely_the_other_way_round_are_not(seed):
    assert not mirror.told_apart(strokes(200, seed, symmetric=True).astype(float)).is_there
    noise = np.random.default_rng(seed).normal(size=(100, 16, 16))
    assert not mirror.told_apart(noise).is_there


def test_of_few_or_blank_pictures_nothing_is_said(tmp_path):
    assert not mirror.told_apart(np.full((60, 16, 16), 7.0)).is_there
    path = str(tmp_path / "train-00000-of-00001")
    write_shard(path, [unlabeled_example(png(pixels)) for pixels in strokes(mirror.LEAST - 1, 0)])
    assert mirror.measure([path]) == (0.5, mirror.LEAST - 1)


def test_prepare_decides_and_says_so(tmp_path, capsys):
    for number, pixels in enumerate(strokes(80, 1)):
        part = "unlabeled" if number > 3 else f"labeled/{number % 2}"
        (tmp_path / "source" / part).mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / part / f"{number}.png").write_bytes(png(pixels))

    def flip_of(name, **options):
        folder = tmp_path / name
        prepare(PrepareConfig("folder", str(folder), source_dir=str(tmp_path / "source"), num_processes=1, **options))
        return json.loads((folder / "task.json").read_text())["flip"]

    assert flip_of("measured") is False
    assert "of 76 pictures" in capsys.readouterr().out
    assert flip_of("given", flip=True) is True
    assert "mirror image" not in capsys.readouterr().out
