from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import tasks
from data.images import files
from data.images.files import Item, Rules, encode
from data.prepare import folder, image_shards, listing
from data.prepare.config import PrepareConfig
from data.prepare.run import prepare
from data.records.examples import CLASS_LABEL, image_of
from data.records.shards import read_shard
from runtime.errors import UserError
from runtime.workers import CHUNK, CHUNKS_AHEAD, Workers


def picture(seed=0, width=12, height=10, channels=3):
    """Smooth uint8 [H, W, C], so that JPEG changes little."""
    y, x, c = np.mgrid[:height, :width, :channels]
    return (128 + 90 * np.sin((x * 0.9 + y * 0.5 + seed * 7.1) / 4 + c / 3)).astype(np.uint8)


def save(path, pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(picture() if pixels is None else pixels)
    image.save(path, **options)
    return path


def encoded(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def fill(source, classes=("cat", "dog"), each=3, unlabeled=5, test=0):
    seed = 0
    for split, count in (("labeled", each), ("test", test)):
        for name in classes:
            for number in range(count):
                save(source / split / name / f"{number}.jpg", picture(seed := seed + 1))
    (source / "unlabeled").mkdir(parents=True, exist_ok=True)
    for number in range(unlabeled):
        save(source / "unlabeled" / f"part{number % 2}" / f"{number}.png", picture(seed := seed + 1))
    return source


def config(tmp_path, **changes):
    base = PrepareConfig(
        task_name="folder", data_dir=str(tmp_path / "data"), source_dir=str(tmp_path / "source"), num_shards=2
    )
    return dataclasses.replace(base, num_processes=1, **changes)


def read(pattern):
    """[(encoded, label or None)] of every record of the shards."""
    found = []
    for path in sorted(tf.io.gfile.glob(str(pattern))):
        for record in read_shard(path):
            label = tf.train.Example.FromString(record).features.feature[CLASS_LABEL].int64_list.value
            found.append((image_of(record), next(iter(label), None)))
    return found


def decoded(content):
    return tf.io.decode_image(content, channels=3, expand_animations=False).numpy()


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_a_folder_of_images_becomes_records_that_describe_themselves(tmp_path, capsys):
    source = fill(tmp_path / "source", test=2)
    prepare(config(tmp_path))
    data = tmp_path / "data"
    by_label = {1: "cat", 2: "dog"}
    for split, count in (("train", 3), ("test", 2)):
        found = read(data / f"labeled/{split}-00000-of-00001")
        folder_name = "labeled" if split == "train" else "test"
        assert sorted(label for _, label in found) == [1] * count + [2] * count
        for content, label in found:
            originals = [path.read_bytes() for path in (source / folder_name / by_label[label]).iterdir()]
            assert content in originals  # an RGB JPEG stays as it is
    unlabeled = read(data / "unlabeled/train-*-of-00002")
    assert len(unlabeled) == 5
    assert {label for _, label in unlabeled} == {None}
    task = tasks.load_task("folder", str(data))
    assert task.num_classes == 2
    assert task.class_names == ("cat", "dog")
    assert task.num_images == {"train": 6, "unlabeled": 5, "test": 4}
    assert task.eval_split == "test"
    stored = [content for content, _ in read(data / "labeled/train-*") + unlabeled]
    pixels = [np.asarray(Image.open(io.BytesIO(content))) / 255.0 for content in stored]
    assert task.mean == pytest.approx(np.mean(pixels, axis=(0, 1, 2)), abs=1e-6)
    assert task.std == pytest.approx(np.std(pixels, axis=(0, 1, 2)), abs=1e-6)
    assert (data / "unreadable.txt").read_text() == ""
    assert (data / "noted.txt").read_text() == ""
    assert (data / "duplicates.csv").read_text() == "picture,equal_to,became\n"
    assert capsys.readouterr().out == (
        "class        labeled  test\n"
        "cat                3     2\n"
        "dog                3     2\n"
        "(unlabeled)        5\n"
        f"{data}: prepared folder, 15 images in 4 shards\n"
    )


UNKNOWN = f"not an image of a known format ({', '.join(files.FORMATS)})"

FORMATS: dict[str, tuple[Image.Image, dict[str, Any], str]] = {
    "grey.jpg": (Image.fromarray(picture()[..., 0]), {"quality": 95}, "JPEG"),
    "cmyk.jpg": (Image.fromarray(picture()).convert("CMYK"), {"quality": 95}, "JPEG"),
    "progressive.jpg": (Image.fromarray(picture()), {"progressive": True}, "JPEG"),
    "rgb.png": (Image.fromarray(picture()), {}, "PNG"),
    "grey.png": (Image.fromarray(picture()[..., 0]), {}, "PNG"),
    "palette.png": (Image.fromarray(picture()).quantize(64), {}, "PNG"),
    "rgb.webp": (Image.fromarray(picture()), {"quality": 95}, "JPEG"),
    "rgb.bmp": (Image.fromarray(picture()), {}, "PNG"),
    "rgb.tif": (Image.fromarray(picture()), {}, "PNG"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_an_rgb_image_that_tensorflow_decodes(tmp_path, name):
    image, options, stored_as = FORMATS[name]
    path = save(tmp_path / name, image, **options)
    loaded = files.load(Item(str(path), path.stat().st_size), Rules(statistics=True))
    assert loaded.problem == ""
    assert Image.open(io.BytesIO(loaded.encoded)).format == stored_as
    assert Image.open(io.BytesIO(loaded.encoded)).mode == "RGB"
    expected = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_allclose(decoded(loaded.encoded), expected, atol=0 if stored_as == "PNG" else 8)
    np.testing.assert_allclose(loaded.mean, expected.mean(axis=(0, 1)) / 255, atol=1e-2)
    np.testing.assert_allclose(loaded.mean_square, ((expected / 255.0) ** 2).mean(axis=(0, 1)), atol=1e-2)


def normalised(image, rules=None, **options):
    loaded = encode(encoded(image, **options), rules or Rules())
    return decoded(loaded.encoded)


def test_what_is_transparent_is_laid_on_white():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2] = (200, 10, 20, 255)
    rgba[2, :] = (200, 10, 20, 51)
    found = normalised(Image.fromarray(rgba), format="PNG")
    np.testing.assert_array_equal(found[:2].reshape(-1, 3), [[200, 10, 20]] * 8)
    np.testing.assert_array_equal(found[3], [[255, 255, 255]] * 4)
    np.testing.assert_allclose(found[2], [[244, 206, 208]] * 4, atol=1)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    palette.putpixel((0, 0), 0)
    found = normalised(palette, format="GIF", transparency=0)
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[1, 1].tolist() == [9, 8, 7]


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (6, 5), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    for name in ("GIF", "WEBP"):
        options = {"lossless": True} if name == "WEBP" else {}
        found = normalised(frames[0], format=name, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_allclose(found, np.broadcast_to([250, 0, 0], (5, 6, 3)), atol=4)


def test_sixteen_bits_become_eight():
    deep = (np.arange(20, dtype=np.uint16) * 3000).reshape(4, 5)
    found = normalised(Image.fromarray(deep), format="PNG")
    np.testing.assert_array_equal(found[..., 0], deep >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(orientation):
    from PIL import ImageOps

    image = Image.fromarray(picture(width=16, height=8))
    image.getexif()[0x0112] = orientation
    content = encoded(image, format="JPEG", quality=95, exif=image.getexif())
    loaded = encode(content, Rules())
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    np.testing.assert_allclose(decoded(loaded.encoded), upright, atol=16)  # the decoders round differently
    assert (loaded.encoded == content) == (orientation == 1)
    assert encode(content, Rules(upright=False)).encoded == content


def test_large_images_are_scaled_down():
    wide = Image.fromarray(picture(width=3000, height=20))
    for name in ("JPEG", "PNG"):
        assert normalised(wide, format=name).shape == (14, 2048, 3)
    huge = Image.new("RGB", (30_000, 300), (10, 120, 230))
    found = normalised(huge, format="JPEG")
    assert found.shape == (20, 2048, 3)
    np.testing.assert_allclose(found, np.broadcast_to([10, 120, 230], found.shape), atol=3)
    assert normalised(wide, Rules(max_side=None), format="PNG").shape == (20, 3000, 3)


def test_a_jpeg_of_more_pixels_than_are_decoded_is_decoded_at_a_fraction(tmp_path):
    path = save(tmp_path / "vast.jpg", Image.new("L", (30_000, 4_000), 77))
    loaded = files.load(Item(str(path), path.stat().st_size), Rules())
    assert loaded.problem == ""
    found = decoded(loaded.encoded)
    assert found.shape == (273, 2048, 3)
    np.testing.assert_allclose(found, np.full(found.shape, 77), atol=3)


def png_header(width, height):
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, idat, b"IEND")
    )


def test_what_cannot_be_used_is_listed_counted_and_left_out(tmp_path, capsys):
    source = fill(tmp_path / "source")
    odd = source / "unlabeled" / "odd ones, ü"
    odd.mkdir()
    whole = save(source / "unlabeled" / "whole.jpg", picture(width=64, height=64)).read_bytes()
    (odd / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (odd / "cut.png").write_bytes(encoded(Image.fromarray(picture()), format="PNG")[:-40])
    (odd / "empty.jpg").write_bytes(b"")
    (odd / "notes.txt").write_text("not an image")
    (odd / "huge.png").write_bytes(png_header(30_000, 30_000))
    save(odd / "pixel.png", picture(width=1, height=1))
    save(odd / "line.png", picture(width=30_000, height=2))
    (odd / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(odd / "pipe.jpg")
    (odd / ".DS_Store").write_text("the system's")
    (odd / "Thumbs.db").write_text("the system's")
    with open(os.fsencode(odd) + b"/bad\xff\nname.jpg", "wb") as file:
        file.write(b"broken")
    prepare(config(tmp_path))
    lines = (tmp_path / "data/unreadable.txt").read_text(encoding="utf-8").splitlines()
    listed = dict(line.split("\t") for line in lines)
    prefix = "unlabeled/odd ones, ü/"
    assert {name[len(prefix) :]: reason for name, reason in listed.items()} == {
        "cut.jpg": listed[prefix + "cut.jpg"],
        "cut.png": listed[prefix + "cut.png"],
        "empty.jpg": "an empty file",
        "notes.txt": UNKNOWN,
        "bad\\xff\\nname.jpg": UNKNOWN,
        "huge.png": "30000 x 30000 pixels, more than the 100,000,000 that are decoded; shrink it",
        "pixel.png": "1 x 1 pixels, fewer than 2 x 2",
        "line.png": "30000 x 2 pixels, too narrow to be scaled to 2048",
        "gone.jpg": "not a regular file (a broken link?)",
        "pipe.jpg": "not a regular file (a broken link?)",
    }
    assert "truncated" in listed[prefix + "cut.jpg"]
    assert len(read(tmp_path / "data/unlabeled/train-*")) == 6
    task = tasks.load_task("folder", str(tmp_path / "data"))
    assert task.num_images == {"train": 6, "unlabeled": 6}
    assert task.eval_split == ""
    out = capsys.readouterr().out
    assert (
        f"10 of 22 files could not be used and were left out; {tmp_path}/data/unreadable.txt says which and why" in out
    )
    assert f"no test split: there is no {tmp_path}/source/test and --num_test_images was not given" in out


def test_names_with_spaces_and_letters_of_any_language(tmp_path):
    classes = ("Änne's cat", "いぬ", "big dog", "naïve")
    fill(tmp_path / "source", classes=classes)
    save(tmp_path / "source/labeled/big dog/deeper down/0.jpg", picture(90))
    prepare(config(tmp_path))
    task = tasks.load_task("folder", str(tmp_path / "data"))
    assert sorted(task.class_names) == sorted(classes)
    labels = [label for _, label in read(tmp_path / "data/labeled/train-*")]
    assert labels.count(task.class_names.index("big dog") + 1) == 4


def test_names_of_one_file_in_several_classes_do_not_meet(tmp_path):
    source = fill(tmp_path / "source", each=1)
    contents = {name: (source / "labeled" / name / "0.jpg").read_bytes() for name in ("cat", "dog")}
    prepare(config(tmp_path))
    assert dict(read(tmp_path / "data/labeled/train-*")) == {contents["cat"]: 1, contents["dog"]: 2}


def rename(source, old, new):
    (source / old).rename(source / new)


def drop_all(source, name):
    for path in (source / name).rglob("*"):
        if path.is_file():
            path.unlink()


BROKEN = {
    "no labeled": (
        lambda s: rename(s, "labeled", "labelled"),
        r"--source_dir: \S+ has no folder labeled/, expected it",
    ),
    "no unlabeled": (
        lambda s: rename(s, "unlabeled", "other"),
        r"has no folder unlabeled/, .*; make an empty one to prepare labeled images alone$",
    ),
    "empty class": (
        lambda s: (s / "labeled/eel").mkdir(),
        r"--source_dir: the class folder \S+/labeled/eel is empty; add images or remove the folder",
    ),
    "class of hidden files": (
        lambda s: save(s / "labeled/eel/.hidden.png"),
        r"the class folder \S+/labeled/eel is empty",
    ),
    "case": (
        lambda s: save(s / "labeled/CAT/1.png"),
        r"labeled has the class folders 'CAT' and 'cat', which differ only in case or Unicode form",
    ),
    "unicode form": (
        lambda s: [save(s / f"labeled/{name}/1.png") for name in ("caf\u00e9", "cafe\u0301")],
        r"which differ only in case or Unicode form",
    ),
    "one class": (
        lambda s: [path.unlink() for path in (s / "labeled/dog").iterdir()] and (s / "labeled/dog").rmdir(),
        r"labeled has 1 class folders, expected at least 2",
    ),
    "stray image": (
        lambda s: save(s / "labeled/cat.png"),
        r"\S+/labeled/cat.png is not a class folder; every image belongs into a folder with its class's name",
    ),
    "unknown test class": (
        lambda s: save(s / "test/cow/1.png"),
        r"\S+/test/cow is no class of labeled/ \(2 classes, cat, dog\); rename or remove it",
    ),
    "empty test class": (
        lambda s: (s / "test/cat").mkdir(parents=True),
        r"the class folder \S+/test/cat is empty",
    ),
    "empty test": (lambda s: (s / "test").mkdir(), r"\S+/test has no class folders; add test images or remove"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_source_folder_that_is_wrong_is_refused_before_anything_is_written(tmp_path, case):
    spoil, message = BROKEN[case]
    spoil(fill(tmp_path / "source"))
    with pytest.raises(UserError, match=message) as caught:
        prepare(config(tmp_path))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_dir": ""}, r"--source_dir: missing; give the folder that holds labeled/<class>/ and unlabeled/"),
        ({"source_dir": "gs://bucket/x"}, r"--source_dir: got gs://bucket/x, expected a folder of this machine"),
        (
            {"num_shards": 6},
            r"--num_shards: 6 \(4 where it is not given\) are too many for 5 unlabeled files; give 1 to 5",
        ),
        ({"num_test_images": 5}, r"--num_test_images: got 5, expected 1 to 4: every class keeps a training image"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, changes, message):
    fill(tmp_path / "source")
    with pytest.raises(UserError, match=message):
        prepare(dataclasses.replace(config(tmp_path), **changes))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("place", "images"), [("unlabeled/data", "unlabeled"), ("unlabeled", "unlabeled"), ("labeled/", "labeled")]
)
def test_a_data_dir_among_the_images_is_refused(tmp_path, place, images):
    fill(tmp_path / "source")
    inside = dataclasses.replace(config(tmp_path), data_dir=f"{tmp_path}/source/{place}")
    with pytest.raises(UserError, match=rf"--data_dir: \S+ lies among the images of \S+/{images}; choose another"):
        prepare(inside)


def test_a_class_without_a_readable_image_is_named(tmp_path):
    source = fill(tmp_path / "source")
    for path in (source / "labeled/dog").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(UserError, match=r"no image of the class 'dog' can be read \(see \S+/data/unreadable.txt\)"):
        prepare(config(tmp_path))
    assert (tmp_path / "data/unreadable.txt").read_text().count("labeled/dog/") == 3
    save(source / "labeled/dog/0.jpg", picture(77))
    prepare(config(tmp_path))
    assert sorted(label for _, label in read(tmp_path / "data/labeled/train-*")) == [1, 1, 1, 2]


def test_test_images_are_drawn_where_they_are_asked_for(tmp_path):
    source = fill(tmp_path / "source", classes=("a", "b", "c"), each=10)
    for number in range(30):
        save(source / f"labeled/c/more{number}.jpg", picture(200 + number))
    prepare(config(tmp_path, num_test_images=15))
    train, test = (read(tmp_path / f"data/labeled/{split}-*") for split in ("train", "test"))
    assert len(train) == 45
    assert len(test) == 15
    assert not {content for content, _ in train} & {content for content, _ in test}
    counts = [sum(label == number for _, label in test) for number in (1, 2, 3)]
    assert counts in ([2, 3, 10], [3, 2, 10], [2, 2, 11], [3, 3, 9])
    (tmp_path / "source/test/a").mkdir(parents=True)
    save(tmp_path / "source/test/a/0.jpg")
    with pytest.raises(UserError, match=r"--num_test_images: got 15, but \S+/test holds the test images already"):
        folder.check(config(tmp_path, num_test_images=15))


def test_labeled_images_alone_are_enough(tmp_path, capsys):
    fill(tmp_path / "source", unlabeled=0, test=1)
    prepare(config(tmp_path))
    assert "no unlabeled split" in capsys.readouterr().out
    assert not (tmp_path / "data/unlabeled").exists()
    assert tasks.load_task("folder", str(tmp_path / "data")).num_images == {"train": 6, "test": 2}


def test_the_seed_fixes_every_file_and_processes_change_nothing(tmp_path, monkeypatch):
    fill(tmp_path / "source", each=20, unlabeled=30)
    monkeypatch.setattr(image_shards, "PATIENCE", 0.0)
    found = []
    for name, changes in (("one", {}), ("two", {"num_processes": 2}), ("other", {"seed": 1})):
        prepare(dataclasses.replace(config(tmp_path), data_dir=str(tmp_path / name), **changes))
        found.append(digests(tmp_path / name))
    assert found[0] == found[1]
    assert found[0]["unlabeled/train-00000-of-00002"] != found[2]["unlabeled/train-00000-of-00002"]


def test_an_interrupted_run_goes_on_after_its_last_whole_shard(tmp_path, monkeypatch):
    fill(tmp_path / "source")
    prepare(dataclasses.replace(config(tmp_path), data_dir=str(tmp_path / "uninterrupted")))
    load = files.load

    def stop(item, rules):
        if os.path.basename(item.path) == "4.png":
            raise KeyboardInterrupt
        return load(item, rules)

    monkeypatch.setattr(files, "load", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(config(tmp_path))
    first = tmp_path / "data/labeled/train-00000-of-00001"
    written_at = first.stat().st_mtime_ns
    assert not list((tmp_path / "data").rglob("*.writing-*"))
    monkeypatch.setattr(files, "load", load)
    prepare(config(tmp_path))
    assert digests(tmp_path / "data") == digests(tmp_path / "uninterrupted")
    assert first.stat().st_mtime_ns == written_at


def test_what_the_file_system_refused_is_tried_again(tmp_path, monkeypatch):
    fill(tmp_path / "source")
    read_bytes, refused = files.read_bytes, ["dog", "4.png"]

    def refuse(item):
        if any(text in item.path for text in refused):
            raise PermissionError(13, "Permission denied")
        return read_bytes(item)

    monkeypatch.setattr(files, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"no image of the class 'dog' can be read"):
        prepare(config(tmp_path))
    assert (tmp_path / "data/unreadable.txt").read_text().endswith("labeled/dog/2.jpg\tPermission denied\n")
    refused.remove("dog")
    prepare(config(tmp_path))
    assert (tmp_path / "data/unreadable.txt").read_text() == "unlabeled/part0/4.png\tPermission denied\n"
    marker = json.loads((tmp_path / "data/prepare.json").read_text())
    (tmp_path / "data/prepare.json").write_text(json.dumps({**marker, "finished": False}))
    monkeypatch.undo()
    prepare(config(tmp_path))
    assert (tmp_path / "data/unreadable.txt").read_text() == ""
    assert len(read(tmp_path / "data/unlabeled/train-*")) == 5


def test_images_that_changed_meanwhile_are_read_again_and_nothing_old_stays(tmp_path, monkeypatch):
    source = fill(tmp_path / "source", each=4)
    monkeypatch.setattr(folder, "IMAGES_PER_SHARD", 3)
    monkeypatch.setattr(folder, "_write_task", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(config(tmp_path))
    assert len(list((tmp_path / "data/labeled").iterdir())) == 3
    monkeypatch.undo()
    save(source / "labeled/cat/new.jpg", picture(50))
    prepare(config(tmp_path))
    assert [path.name for path in (tmp_path / "data/labeled").iterdir()] == ["train-00000-of-00001"]
    assert len(read(tmp_path / "data/labeled/train-*")) == 9
    save(source / "labeled/cat/newer.jpg", picture(51))
    with pytest.raises(
        UserError, match=r"--source_dir: the files in \S+ are no longer those that \S+ was prepared from"
    ):
        prepare(config(tmp_path))


def test_prepared_is_prepared_even_when_the_source_is_gone(tmp_path, capsys):
    source = fill(tmp_path / "source")
    prepare(config(tmp_path))
    prepare(config(tmp_path))
    assert capsys.readouterr().out.endswith("folder is already prepared with these settings, nothing to do\n")
    source.rename(tmp_path / "elsewhere")
    prepare(config(tmp_path))
    assert capsys.readouterr().out.endswith("folder is already prepared with these settings, nothing to do\n")


def test_files_are_listed_in_little_memory(tmp_path):
    """A hundred thousand take 64 MiB; what is read of them at a time is bounded by the next test."""
    count = 10_000
    content = save(tmp_path / "one.png")
    many = tmp_path / "many files, ü"
    many.mkdir()
    for number in range(count):
        os.symlink(content, many / f"{number}.png")
    tracemalloc.start()
    try:
        items = listing.list_files(str(many))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(items) == count
    assert items[0] == (str(many / "0.png"), content.stat().st_size, 0, 0)
    assert peak < (64 << 20) * count / 100_000


def test_few_items_are_in_memory_at_a_time():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield -number

    negated: Workers[int, int] = Workers(abs, 2)
    with negated as workers:
        results = workers.map(items())
        assert next(results) == 0
        assert len(taken) <= 2 * CHUNK * CHUNKS_AHEAD
        assert list(results) == list(range(1, 1000))


def test_a_process_imports_little():
    asked = "__import__('data.images.files') and 'tensorflow' in __import__('sys').modules"
    evaluate: Workers[str, bool] = Workers(eval, 2)
    with evaluate as workers:
        assert list(workers.map([asked])) == [False]


def test_a_killed_process_is_one_line():
    with (
        Workers(os._exit, 2) as workers,
        pytest.raises(
            UserError, match=r"--num_processes: one of 2 processes was killed, .* it goes on where it stopped"
        ),
    ):
        list(workers.map([1] * 10))


def test_a_link_that_leads_in_a_circle_is_followed_once(tmp_path):
    source = fill(tmp_path / "source", unlabeled=2)
    (source / "unlabeled/part0/again").symlink_to(source / "unlabeled")
    prepare(config(tmp_path))
    assert len(read(tmp_path / "data/unlabeled/train-*")) == 2


def test_damage_never_passes_what_tensorflow_cannot_decode():
    content = bytearray(encoded(Image.fromarray(picture(width=40, height=40)), format="JPEG"))
    generator = np.random.default_rng(0)
    passed = 0
    for _ in range(150):
        damaged = bytearray(content)
        for position in generator.integers(2, len(content), 2):
            damaged[position] = generator.integers(256)
        try:
            loaded = encode(bytes(damaged), Rules())
        except Exception:
            continue
        passed += 1
        assert decoded(loaded.encoded).shape[2] == 3
    assert passed > 20


def test_the_part_files_say_what_went_into_each_shard(tmp_path):
    fill(tmp_path / "source")
    prepare(config(tmp_path))
    part = json.loads((tmp_path / "data/prepare/labeled/train-00000-of-00001.json").read_text())
    assert part["records"] == 6
    assert part["labels"] == {"1": 3, "2": 3}
    assert part["unreadable"] == []


def test_work_that_is_soon_done_is_done_without_other_processes():
    alone: Workers[int, int] = Workers(abs, 2, patience=60.0)
    with alone as workers:
        assert list(workers.map(range(-9, 0))) == list(range(9, 0, -1))
        assert workers._pool is None
    asked = ["__import__('time').sleep(0.1) or 0", *["__import__('os').getpid()"] * 40]
    helped: Workers[str, int] = Workers(eval, 2, patience=0.05)
    with helped as workers:
        others = list(workers.map(asked))[1:]
        assert os.getpid() not in others
