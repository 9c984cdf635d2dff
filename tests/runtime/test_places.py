"""Places are known again."""

from __future__ import annotations

import os
import shutil

import pytest

from data.records.shards import contents_of
from pseudo_label.made_with import CONTENTS, first_other
from runtime import places


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ("", ""),
        ("a;b/", "{here}/a;{here}/b"),
        ("~/a//b/..", "{home}/a"),
        ("gs://bucket/a/", "gs://bucket/a"),
        ("[a] *?", "{here}/[a] *?"),
        ("link/a", "{home}/a"),
    ],
)
def test_one_spelling(tmp_path, monkeypatch, paths, expected):
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert places.one_spelling(paths) == expected.format(here=tmp_path, home=tmp_path / "home")


def test_inside():
    assert places.inside("/a/b", "/a")
    assert places.inside("/a", "/a")
    assert places.inside("/a", "/")
    assert not places.inside("/ab", "/a")


def test_contents_are_those_of_the_shards_alone(tmp_path):
    before = tmp_path / "before"
    before.mkdir()
    (before / "train-00000-of-00001").write_bytes(b"x" * 10_000)
    digest = contents_of(str(before))
    (before / "notes.txt").write_text("mine")
    shutil.copytree(before, tmp_path / "after")
    assert digest == contents_of(str(before)) == contents_of(str(tmp_path / "after"))
    (tmp_path / "after" / "train-00000-of-00001").write_bytes(b"y" * 10_000)
    assert contents_of(str(tmp_path / "after")) != digest
    assert contents_of(str(tmp_path / "nowhere")) == contents_of("gs://bucket/a") == ""


def test_settings_with_moved_folders_are_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {"num": 1, "input_dir": "images", CONTENTS: {"input_dir": "abc"}}
    here = os.path.join(tmp_path, "images")
    assert first_other(before, {"num": 1, "input_dir": here, CONTENTS: {"input_dir": "other"}}) is None
    assert first_other(before, {"num": 1, "input_dir": "/moved", CONTENTS: {"input_dir": "abc"}}) is None
    assert first_other(before, {"num": 1, "input_dir": "/moved", CONTENTS: {"input_dir": "abd"}}) == "input_dir"
    assert first_other({"num": 1, "input_dir": "images"}, {"num": 1, "input_dir": "/x", CONTENTS: {}}) == "input_dir"
    assert first_other(before, {"num": 2, "input_dir": here}) == "num"
