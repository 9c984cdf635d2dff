"""Whatever a user named a file or a folder: nothing of theirs is deleted, and no name is taken for a pattern."""

from __future__ import annotations

import os
import pathlib
import re
import tempfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime import files

SIGNS = "[]*?\\,:=$&<>{}()'\"`;|!~^#%+ -.ü猫\n"
# What a filesystem takes for a name: no slash, no NUL, at most 255 bytes.
NAMES = st.text(
    st.one_of(st.sampled_from(SIGNS), st.characters(exclude_characters="/\0", exclude_categories=["Cs"])),
    min_size=1,
    max_size=40,
).filter(lambda name: name not in (".", ".."))
HEX = st.text("0123456789abcdef", min_size=0, max_size=24)
LIKE_OURS = st.builds(
    lambda name, token, suffix: f"{name}.writing-{token}{suffix}", NAMES, HEX, st.sampled_from(["", ".index"])
)


@given(theirs=st.sets(NAMES | LIKE_OURS, max_size=6), ours=st.lists(NAMES, max_size=3), folder=NAMES)
@example(
    theirs={"notes.writing-0123456789abcdef0123", "a.writing-b", "my.writing-plan.txt"}, ours=["stats.json"], folder="."
)
def test_only_what_we_began_to_write_is_removed(theirs, ours, folder):
    with tempfile.TemporaryDirectory() as root:
        place = pathlib.Path(root, folder)
        place.mkdir(exist_ok=True)
        for name in theirs:
            (place / name).write_text("theirs")
        below = place / "below, a folder of theirs"
        below.mkdir()
        half = pathlib.Path(files.temporary_beside(str(below / "half")))
        half.write_text("not in the folder that was asked for")
        temporary = [pathlib.Path(files.temporary_beside(str(place / name))) for name in ours]
        for path in temporary:
            path.write_text("half")
        files.remove_unfinished(str(place))
        assert {path.name for path in place.iterdir()} == theirs | {below.name}
        assert half.exists()


@given(name=NAMES, other=NAMES, suffix=st.sampled_from(["", ".index", ".data-00000-of-00001.tempstate7"]))
def test_a_temporary_name_is_known_by_its_token_and_belongs_to_one_name(name, other, suffix):
    path = files.temporary_beside(f"/a folder/{name}")
    assert os.path.dirname(path) == "/a folder"
    assert files.is_temporary(path + suffix)
    assert not files.is_temporary(f"/a folder/{name}")
    token = path.rpartition(".writing-")[2]
    assert files.is_temporary(f"/a folder/{other}.writing-{token}") == (other == name)


def test_only_the_names_that_were_asked_for_are_removed(tmp_path):
    mine, of_another = (pathlib.Path(files.temporary_beside(str(tmp_path / name))) for name in ("mine", "another's"))
    for path in (mine, of_another):
        path.write_text("half")
    files.remove_unfinished(str(tmp_path), {"mine"})
    assert list(tmp_path.iterdir()) == [of_another]


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127])
def test_the_longest_name_can_be_written(tmp_path, name):
    files.write_text(str(tmp_path / name), "whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    left = pathlib.Path(files.temporary_beside(str(tmp_path / name)))
    left.write_text("half")
    files.remove_unfinished(str(tmp_path), {name})
    assert not left.exists()


@given(folder=NAMES, neighbour=NAMES, name=NAMES)
@example(folder="[1]", neighbour="1", name="train-00000-of-00001")
@example(folder="r?", neighbour="rA", name="*")
def test_a_folder_is_no_pattern_and_never_its_neighbour(folder, neighbour, name):
    with tempfile.TemporaryDirectory() as root:
        for each in (folder, neighbour):
            pathlib.Path(root, each).mkdir(exist_ok=True)
        pathlib.Path(root, folder, name).write_text("")
        assert files.matching(os.path.join(root, folder), re.escape(name)) == [os.path.join(root, folder, name)]
        if folder != neighbour:
            assert files.matching(os.path.join(root, neighbour), ".*") == []
        assert files.matching(os.path.join(root, folder, "none"), ".*") == []


def test_the_tilde_at_the_beginning_is_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert files.expanded("~/x/~") == "/home/me/x/~"
    assert files.expanded("~") == "/home/me"
    for path in ("", "x", "./~", "a~", "gs://~/x"):
        assert files.expanded(path) == path
