"""What goes in is looked at: pictures that are there more than once, folders that are no classes, counts of whatever is lost."""

from __future__ import annotations

import csv
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from data import tasks
from data.images.files import Item, Loaded
from data.prepare import duplicates, folder, image_shards, listing
from data.prepare.config import PrepareConfig
from data.prepare.run import prepare
from data.records.examples import CLASS_LABEL, name_of
from data.records.shards import read_shard
from runtime.errors import UserError
from tests.data.prepare.test_folder import config, fill, picture, save

# --- more than once -------------------------------------------------------------------------------------------------

PICTURES = st.integers(0, 5)  # which picture it is; 0 cannot be read
PLACES = st.tuples(st.sampled_from(["train", "test"]), st.integers(1, 3), PICTURES)


@given(st.lists(PLACES, max_size=12), st.lists(PICTURES, max_size=6))
@example([("train", 1, 1), ("test", 2, 1), ("train", 2, 2), ("train", 2, 2)], [1, 2])
def test_no_picture_is_in_two_classes_nor_trained_and_tested_on_and_nothing_else_is_left_out(places, unlabeled):
    items = [Item(f"{split}/{label}/{number}", 9, label) for number, (split, label, _) in enumerate(places)]
    digests = {item: bytes([picture]) if picture else b"" for item, (_, _, picture) in zip(items, places)}
    test = [item for item in items if item.path.startswith("test")]
    by_class = [[item for item in items if item.label == label and item not in test] for label in (1, 2, 3)]
    looked = {
        item: Loaded(b"", digest=digests[item]) for item in [item for members in by_class for item in members] + test
    }
    planned = folder.Plan(["a", "b", "c"], by_class, test, [], listing.Passed())
    found = folder.sort_out(planned, looked, PrepareConfig("folder", "data", source_dir=""))
    labels: dict[bytes, int] = {}
    for item in [*found.train, *found.test]:
        if digests[item]:
            assert labels.setdefault(digests[item], item.label) == item.label
    assert not {digests[item] for item in found.train} & {digests[item] for item in found.test} - {b""}
    written, left_out = Counter([*found.train, *found.test]), {copy.item for copy in found.copies if copy.left_out}
    assert written == Counter(set(items) - left_out)
    for item in left_out:
        equal = [each for each in items if digests[each] == digests[item] and each != item]
        assert any(each.label != item.label for each in equal) or (item not in test and set(equal) & set(test))
    assert {row.picture for row in found.rows} == {copy.item.path for copy in found.copies}
    for number in set(unlabeled) - {0}:
        became = found.others.get(bytes([number]))
        assert (became is not None and became.became == "left out: a test image, too") == (
            bytes([number]) in {digests[item] for item in found.test}
        )


def label_of(record):
    return next(iter(tf.train.Example.FromString(record).features.feature[CLASS_LABEL].int64_list.value), 0)


def read(folder):
    return [
        (
            name_of(record).decode(),
            next(iter(tf.train.Example.FromString(record).features.feature[CLASS_LABEL].int64_list.value), 0),
        )
        for path in sorted(Path(folder).glob("*"))
        for record in read_shard(str(path))
    ]


def rows(tmp_path):
    with open(tmp_path / "data/duplicates.csv", encoding="utf-8", newline="") as file:
        return {tuple(row) for row in list(csv.reader(file))[1:]}


def test_copies_are_known_by_their_pixels_in_any_format_and_counted_by_class(tmp_path, capsys):
    source = fill(tmp_path / "source", each=4, test=2)
    for number, suffix in enumerate(("png", "bmp", "tif")):
        pixels = Image.open(source / f"test/cat/{number % 2}.jpg")
        pixels.save(source / f"labeled/cat/copy.{suffix}")
        pixels.save(source / f"unlabeled/copy.{suffix}")
    Image.open(source / "labeled/dog/0.jpg").save(source / "labeled/cat/whose.png")
    shutil.copy(source / "labeled/dog/1.jpg", source / "labeled/dog/again.jpg")
    shutil.copy(source / "labeled/dog/1.jpg", source / "unlabeled/labeled too.jpg")
    prepare(config(tmp_path))
    assert rows(tmp_path) == {
        ("labeled/cat/copy.png", "test/cat/0.jpg", "left out: a test image, too"),
        ("labeled/cat/copy.bmp", "test/cat/1.jpg", "left out: a test image, too"),
        ("labeled/cat/copy.tif", "test/cat/0.jpg", "left out: a test image, too"),
        ("unlabeled/copy.png", "test/cat/0.jpg", "left out: a test image, too"),
        ("unlabeled/copy.bmp", "test/cat/1.jpg", "left out: a test image, too"),
        ("unlabeled/copy.tif", "test/cat/0.jpg", "left out: a test image, too"),
        ("labeled/cat/whose.png", "labeled/dog/0.jpg", "left out: in two classes"),
        ("labeled/dog/0.jpg", "labeled/cat/whose.png", "left out: in two classes"),
        ("labeled/dog/again.jpg", "labeled/dog/1.jpg", "kept: more than once in its class"),
        ("unlabeled/labeled too.jpg", "labeled/dog/1.jpg", "kept: a labeled image, too"),
    }
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "class        labeled  test  left out",
        "cat                4     2         4",
        "dog                4     2         1",
        "(unlabeled)        6               3",
    ]
    assert (
        f"10 pictures are there more than once, 8 of them were left out; {tmp_path}/data/duplicates.csv says which"
        in lines
    )
    assert "  labeled/cat: 3 x left out: a test image, too" in lines
    assert "  unlabeled: 3 x left out: a test image, too" in lines
    kept = read(tmp_path / "data/labeled") + read(tmp_path / "data/unlabeled")
    assert len(kept) == 18
    assert not {name for name, _ in kept} & {row[0] for row in rows(tmp_path) if row[2].startswith("left out")}


@pytest.mark.parametrize(("where", "why"), [("test/dog", "a test image, too"), ("labeled/cat", "in two classes")])
def test_a_class_of_which_nothing_is_left_is_an_error(tmp_path, where, why):
    source = fill(tmp_path / "source", each=2, test=1)
    for path in (source / "labeled/dog").iterdir():
        shutil.copy(path, source / where / f"copy of {path.name}")
    with pytest.raises(
        UserError,
        match=rf"no training image of the class 'dog' is left, because each of its pictures is {why} \(see \S+/duplicates.csv\)",
    ):
        prepare(config(tmp_path))
    assert ("labeled/dog/0.jpg", f"{where}/copy of 0.jpg", f"left out: {why}") in rows(tmp_path)


def test_drawn_test_images_are_never_copies_of_training_images(tmp_path):
    source = fill(tmp_path / "source", each=6)
    for name in ("cat", "dog"):
        for number in range(5):
            shutil.copy(source / f"labeled/{name}/{number}.jpg", source / f"labeled/{name}/copy{number}.jpg")
    prepare(config(tmp_path, num_test_images=6))
    task = tasks.load_task("folder", str(tmp_path / "data"))
    assert task.num_images["test"] == 6
    left_out = {row[0] for row in rows(tmp_path) if row[2] == "left out: a test image, too"}
    assert task.num_images["train"] == 22 - 6 - len(left_out)
    assert len(left_out) >= 4
    with pytest.raises(
        UserError, match=r"--num_test_images: got 11, expected 1 to 10: every class keeps a training image"
    ):
        prepare(config(tmp_path, num_test_images=11, data_dir=str(tmp_path / "more")))


def test_test_images_that_change_bring_unlabeled_ones_back(tmp_path, monkeypatch):
    source = fill(tmp_path / "source", test=1)
    shutil.copy(source / "test/cat/0.jpg", source / "unlabeled/seen.jpg")
    monkeypatch.setattr(folder, "_write_task", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(config(tmp_path))
    assert "unlabeled/seen.jpg" not in dict(read(tmp_path / "data/unlabeled"))
    monkeypatch.undo()
    save(source / "test/cat/0.jpg", picture(400))
    prepare(config(tmp_path))
    assert "unlabeled/seen.jpg" in dict(read(tmp_path / "data/unlabeled"))


# --- trees that mean something else ---------------------------------------------------------------------------------


def test_classes_that_lie_one_folder_too_deep_are_refused(tmp_path):
    for number, parts in enumerate(
        (("train", "val"), ("Training", "test_set"), ("fold1", "fold_2"), ("train", "valid", "hamster"))
    ):
        source = fill(tmp_path / str(number), classes=[f"{part}/{name}" for part in parts for name in ("cat", "dog")])
        with pytest.raises(UserError) as error:
            folder.check(PrepareConfig("folder", str(tmp_path / "data"), source_dir=str(source)))
        deep = ", ".join(sorted(parts) if "hamster" not in parts else ["train", "valid"])
        assert str(error.value) == (
            f"--source_dir: {source}/labeled holds the folders {deep}, which hold cat, dog; put these right into labeled/, and "
            "the images to test on into test/<class>/"
        )
    flat = fill(tmp_path / "flat", classes=("train", "test"))
    with pytest.raises(UserError, match=r"labeled holds the folders test, train; put the classes right into labeled/"):
        folder.check(PrepareConfig("folder", str(tmp_path / "data"), source_dir=str(flat)))


@pytest.mark.parametrize(
    "classes", [("bus", "train/steam", "train/electric"), ("train", "car"), ("cat/front", "dog/front", "cat/back")]
)
def test_a_class_that_is_called_as_a_part_may_be_one(tmp_path, classes):
    source = fill(tmp_path / "source", classes=classes)
    planned = folder.plan(PrepareConfig("folder", str(tmp_path / "data"), source_dir=str(source)))
    assert planned.classes == sorted({name.split("/")[0] for name in classes})


@pytest.mark.parametrize("place", ["labeled/dog", "labeled/dog/deeper", "test/cat"])
def test_a_folder_that_is_there_twice_by_a_link_is_refused(tmp_path, place):
    source = fill(tmp_path / "source", test=1)
    link = source / place
    if link.exists():
        shutil.rmtree(link)
    link.symlink_to(source / "labeled/cat")
    with pytest.raises(
        UserError,
        match=rf"^--source_dir: \S+/{place} is the same folder as \S+/labeled/cat, by a link; remove one of them",
    ):
        folder.check(config(tmp_path))


def test_unlabeled_images_may_be_the_labeled_ones_by_a_link_but_never_the_test_images(tmp_path):
    source = fill(tmp_path / "source", unlabeled=2, test=2)
    for name in ("labeled", "test"):
        (source / "unlabeled" / name).symlink_to(source / name)
    prepare(config(tmp_path))
    names = [name for name, _ in read(tmp_path / "data/unlabeled")]
    assert len(names) == 2 + 6
    assert sum(row[2] == "left out: a test image, too" for row in rows(tmp_path)) == 4


SYSTEMS = (".DS_Store", "._IMG_1.jpg", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r", "Picasa.ini")
SYSTEMS_FOLDERS = (
    "@eaDir",
    "#recycle",
    "@Recycle",
    "__MACOSX",
    ".ipynb_checkpoints",
    "$RECYCLE.BIN",
    "lost+found",
    ".@__thumb",
)


def test_what_systems_put_there_is_no_class_and_no_picture_and_is_counted(tmp_path, capsys):
    source = fill(tmp_path / "source", test=1)
    for place in ("labeled", "labeled/cat", "unlabeled", "unlabeled/part0", "test", "test/dog"):
        for name in SYSTEMS_FOLDERS:
            save(source / place / name / "thumbnail.jpg", picture(99))
        for name in SYSTEMS:
            (source / place / name).write_bytes(b"the system's")
    (source / "validation").mkdir()
    (source / "notes.txt").write_text("mine")
    prepare(config(tmp_path))
    assert tasks.load_task("folder", str(tmp_path / "data")).class_names == ("cat", "dog")
    assert tasks.load_task("folder", str(tmp_path / "data")).num_images == {"train": 6, "unlabeled": 5, "test": 2}
    out = capsys.readouterr().out
    ignored = next(
        line for line in out.splitlines() if line.startswith("ignored, because systems and programs made them: ")
    )
    for name in (*SYSTEMS_FOLDERS, *SYSTEMS):
        assert f"6 x {listing.shown(name)}" in ignored
    assert "not used, because they are neither labeled/, unlabeled/ nor test/: notes.txt, validation\n" in out


# --- what is said ---------------------------------------------------------------------------------------------------


def test_what_cannot_be_used_is_counted_by_split_class_and_reason(tmp_path, capsys):
    source = fill(tmp_path / "source", test=1)
    for number in range(3):
        (source / f"labeled/cat/IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
        save(source / f"unlabeled/{number}x1.png", picture(width=1, height=2 + number))
    (source / "test/dog/empty.jpg").write_bytes(b"")
    prepare(config(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    start = lines.index(
        f"7 of 20 files could not be used and were left out; {tmp_path}/data/unreadable.txt says which and why"
    )
    assert lines[start + 1].startswith(
        "  labeled/cat: 3 x HEIC, which is not read here; save it as JPEG (on a Mac: sips"
    )
    assert lines[start + 2] == "  test/dog: 1 x an empty file"
    assert lines[start + 3] == "  unlabeled: 3 x 1 x 2 pixels, fewer than 2 x 2"
    assert lines[:5] == [
        "class        labeled  test  left out",
        "cat                3     1         3",
        "dog                3     1         1",
        "(unlabeled)        5               3",
        lines[start],
    ]


def test_pictures_of_which_nothing_is_seen_are_counted_and_listed(tmp_path, capsys):
    source = fill(tmp_path / "source")
    deep = np.random.default_rng(0).integers(0, 4096, (9, 9)).astype(np.uint16)
    save(source / "labeled/dog/deep.png", Image.fromarray(deep))
    save(source / "unlabeled/white.png", Image.new("RGB", (9, 9), "white"))
    prepare(config(tmp_path))
    assert (tmp_path / "data/noted.txt").read_text() == (
        "labeled/dog/deep.png\thardly anything to be seen: nearly all values lie between 0 and 15 of 255\n"
        "unlabeled/white.png\tevery pixel has the one colour (255, 255, 255)\n"
    )
    out = capsys.readouterr().out
    assert f"2 pictures are odd and used all the same, so look at them; {tmp_path}/data/noted.txt says which\n" in out
    assert "  labeled/dog: 1 x hardly anything to be seen" in out
    assert (
        "  hardly anything to be seen? Pictures of 16 bits that use few of them look so: scale them to 8 bits first\n"
        in out
    )
    assert "  unlabeled: 1 x every pixel has the one colour" in out


@pytest.mark.parametrize("number", [1, 3])
def test_unlabeled_images_of_which_none_can_be_used_are_an_error_before_any_teacher(tmp_path, number):
    source = fill(tmp_path / "source", unlabeled=0)
    for each in range(number):
        (source / f"unlabeled/{each}.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    with pytest.raises(UserError) as error:
        prepare(config(tmp_path, num_shards=1))
    assert str(error.value).startswith(
        f"--source_dir: none of the {number} files in unlabeled/ can be used, so there is nothing for a student to learn from: "
        f"{number} x HEIC, which is not read here"
    )


def test_pictures_longer_than_2_to_1_are_counted(tmp_path, capsys):
    source = fill(tmp_path / "source")
    for number, (width, height) in enumerate(((30, 10), (10, 21), (20, 10), (10, 19))):
        save(source / f"unlabeled/long{number}.png", picture(number, width, height))
    prepare(config(tmp_path))
    said = "2 of 15 pictures are longer than 2:1; a network sees only their middle: --fit=pad or --fit=stretch shows them whole"
    assert said in capsys.readouterr().out.splitlines()
    prepare(config(tmp_path, fit="pad", data_dir=str(tmp_path / "padded")))
    assert "2 of 15 pictures are longer than 2:1; --fit=pad shows them whole, between grey\n" in capsys.readouterr().out
    assert tasks.load_task("folder", str(tmp_path / "padded")).fit == "pad"


def test_the_table_is_aligned_in_any_script(tmp_path, capsys):
    fill(tmp_path / "source", classes=("猫", "고양이", "naïve", "cafe\u0301", "a\nb"))
    prepare(config(tmp_path))
    assert capsys.readouterr().out.splitlines()[:7] == [
        "class        labeled",
        "a\\nb               3",
        "café               3",
        "naïve              3",
        "猫                 3",
        "고양이             3",
        "(unlabeled)        5",
    ]


# --- names, mirrors and what is the user's ----------------------------------------------------------------------------


def test_every_record_keeps_its_files_name(tmp_path):
    source = fill(tmp_path / "source", test=1)
    odd = b"odd \xff=, name.jpg"
    with open(os.fsencode(source) + b"/unlabeled/" + odd, "wb") as file:
        file.write((source / "labeled/cat/0.jpg").read_bytes())
    prepare(config(tmp_path))
    names = [
        name_of(record)
        for kind in ("labeled", "unlabeled")
        for path in (tmp_path / "data" / kind).iterdir()
        for record in read_shard(str(path))
    ]
    files = [path for path in source.rglob("*") if path.is_file()]
    assert sorted(names) == sorted(os.fsencode(path.relative_to(source)) for path in files)
    assert b"unlabeled/" + odd in names


def test_a_set_whose_mirror_images_are_of_another_class_says_so(tmp_path):
    fill(tmp_path / "source", classes=("left", "right"))
    prepare(config(tmp_path, flip=False))
    assert not tasks.load_task("folder", str(tmp_path / "data")).flip
    with pytest.raises(UserError, match=r"was prepared with flip=False, got --flip=None; choose another folder"):
        prepare(config(tmp_path))


def test_a_folder_that_was_prepared_before_there_was_a_setting_is_prepared(tmp_path, capsys):
    fill(tmp_path / "source")
    prepare(config(tmp_path))
    marker = tmp_path / "data/prepare.json"
    marker.write_text(marker.read_text().replace('    "flip": null,\n', ""))
    assert "flip" not in marker.read_text()
    prepare(config(tmp_path))
    assert capsys.readouterr().out.endswith("already prepared with these settings, nothing to do\n")


@pytest.mark.parametrize("name", ["duplicates.csv", "noted.txt", "unreadable.txt", "task.json", "labeled"])
def test_nothing_of_the_users_is_written_over(tmp_path, name):
    fill(tmp_path / "source")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_text("mine")
    with pytest.raises(
        UserError, match=rf"--data_dir: \S+/{name} was not written by --mode=prepare and would be overwritten"
    ):
        prepare(config(tmp_path))
    assert (tmp_path / "data" / name).read_text() == "mine"


def test_only_our_own_shards_of_images_that_changed_are_removed(tmp_path):
    names = ("notes", "train-00000-of-00001", "x-00000-of-0001", "*")
    for name in names:
        for place in (f"prepare/labeled/{name}.json", f"prepare/mine/deeper/{name}.json", f"labeled/{name}"):
            save_text(tmp_path / place)
    image_shards.remove_others(str(tmp_path), [])
    gone = {"prepare/labeled/train-00000-of-00001.json", "labeled/train-00000-of-00001"}
    assert {place for place in gone if (tmp_path / place).exists()} == set()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3 * len(names) - len(gone)


def save_text(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


def test_a_table_of_duplicates_holds_no_formula(tmp_path):
    row = duplicates.Row('labeled/=cmd("x")/a,b.jpg', "test/+1/x.jpg", "left out: a test image, too", 1)
    duplicates.write_duplicates(str(tmp_path / "data"), [row])
    assert rows(tmp_path) == {tuple(row[:3])}
    assert not any(cell[0] in "=+-@\t\r" for found in rows(tmp_path) for cell in found)
