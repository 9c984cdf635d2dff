from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import tasks
from data.prepare import digits, shards
from data.prepare.config import PrepareConfig
from data.prepare.run import prepare
from data.records.examples import CLASS_LABEL, IMAGE, unlabeled_example
from data.records.shards import read_shard, write_shard
from runtime.errors import UserError
from runtime.files import temporary_beside


def config(folder, **changes):
    return dataclasses.replace(PrepareConfig(task_name="digits", data_dir=str(folder), num_labeled=40), **changes)


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read(path):
    examples = [tf.train.Example.FromString(record) for record in read_shard(str(path))]
    encoded = [example.features.feature[IMAGE].bytes_list.value[0] for example in examples]
    labels = [list(example.features.feature[CLASS_LABEL].int64_list.value) for example in examples]
    return encoded, labels


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    prepare(config(folder))
    return folder


def test_the_splits_hold_every_digit_once(prepared):
    encoded, labels = read(prepared / "labeled/train-00000-of-00001")
    assert sorted(label for (label,) in labels) == sorted(list(range(1, 11)) * 4)
    test_encoded, test_labels = read(prepared / "labeled/test-00000-of-00001")
    assert len(test_labels) == 500
    assert {label for (label,) in test_labels} == set(range(1, 11))
    unlabeled = [read(prepared / f"unlabeled/train-{shard:05d}-of-00004") for shard in range(4)]
    assert [len(images) for images, _ in unlabeled] == [315, 314, 314, 314]
    assert not any(label for _, labels in unlabeled for label in labels)

    images, _ = digits.load()
    everything = encoded + test_encoded + [image for images_of_shard, _ in unlabeled for image in images_of_shard]
    assert sorted(everything) == sorted(digits.encode_png(image) for image in images)


def test_the_true_labels_are_those_of_the_unlabeled_records(prepared):
    images, labels = digits.load()
    label_of = {digits.encode_png(image): label for image, label in zip(images, labels)}
    truth = json.loads((prepared / "unlabeled/labels_for_report.json").read_text())
    assert sorted(truth) == [f"train-{shard:05d}-of-00004" for shard in range(4)]
    for name, listed in truth.items():
        encoded, _ = read(prepared / "unlabeled" / name)
        assert listed == [label_of[image] for image in encoded]
    encoded, stored = read(prepared / "labeled/train-00000-of-00001")
    assert [label - 1 for (label,) in stored] == [label_of[image] for image in encoded]


def test_images_are_the_digits_enlarged(prepared):
    encoded, _ = read(prepared / "labeled/test-00000-of-00001")
    image = np.asarray(Image.open(io.BytesIO(encoded[0])))
    assert image.shape == (16, 16, 3)
    assert image.dtype == np.uint8
    images, _ = digits.load()
    from sklearn.datasets import load_digits

    originals = load_digits().images * 255 / 16
    inner = images[:, digits.BORDER : -digits.BORDER, digits.BORDER : -digits.BORDER, 0]
    assert inner.astype(np.int64).sum() == images[..., 0].astype(np.int64).sum()  # the border is black
    lanczos = Image.Resampling.LANCZOS
    shrunk = np.stack(
        [np.asarray(Image.fromarray(image.astype(np.float32)).resize((8, 8), lanczos)) for image in inner]
    )
    assert np.abs(shrunk - originals).mean() < 12
    assert np.corrcoef(shrunk.ravel(), originals.ravel())[0, 1] > 0.98


def test_the_folder_describes_itself(prepared):
    task = tasks.load_task("digits", str(prepared))
    assert task.num_images == {"train": 40, "unlabeled": 1257, "test": 500}
    assert task.class_names == tuple("0123456789")
    images, _ = digits.load()
    np.testing.assert_allclose(task.mean, np.mean(images, axis=(0, 1, 2)) / 255, atol=5e-5)
    np.testing.assert_allclose(task.std, np.std(images, axis=(0, 1, 2)) / 255, atol=5e-5)


def test_the_seed_fixes_every_file(prepared, tmp_path):
    prepare(config(tmp_path / "same"))
    assert digests(tmp_path / "same") == digests(prepared)
    prepare(config(tmp_path / "other", seed=1))
    assert (
        digests(tmp_path / "other")["labeled/test-00000-of-00001"] != digests(prepared)["labeled/test-00000-of-00001"]
    )


def test_more_labeled_images_add_to_fewer_and_leave_the_test_images():
    _, labels = digits.load()
    few, many = digits.split(labels, 40, 500, 4, seed=3), digits.split(labels, 100, 500, 4, seed=3)
    assert set(few.labeled) < set(many.labeled)
    np.testing.assert_array_equal(few.test, many.test)


def test_preparing_again_says_so_and_touches_nothing(prepared, capsys):
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    prepare(config(prepared))
    assert capsys.readouterr().out == f"{prepared}: digits is already prepared with these settings, nothing to do\n"
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*")} == before


def test_other_settings_in_the_same_folder_are_refused(prepared):
    before = digests(prepared)
    with pytest.raises(UserError, match=r"was prepared with num_labeled=40, got --num_labeled=100; choose another"):
        prepare(config(prepared, num_labeled=100))
    assert digests(prepared) == before


def test_an_interrupted_run_is_taken_up_again(prepared, tmp_path, monkeypatch):
    write_shard = shards.write_shard

    def stop_at_the_third(path, examples):
        if path.endswith("train-00001-of-00004"):
            raise KeyboardInterrupt
        return write_shard(path, examples)

    monkeypatch.setattr(shards, "write_shard", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        prepare(config(tmp_path))
    kept = tmp_path / "labeled/train-00000-of-00001"
    written_at = kept.stat().st_mtime_ns
    monkeypatch.setattr(shards, "write_shard", write_shard)
    prepare(config(tmp_path))
    assert digests(tmp_path) == digests(prepared)
    assert kept.stat().st_mtime_ns == written_at


def test_what_a_killed_run_left_half_written_is_removed_but_no_broken_download(prepared, tmp_path):
    (tmp_path / "labeled").mkdir()
    for path in (temporary_beside(f"{tmp_path}/labeled/train-00000-of-00001"), f"{tmp_path}/a.mat.writing-download"):
        pathlib.Path(path).write_bytes(b"half")
    (tmp_path / "prepare.json").write_text(
        json.dumps({**json.loads((prepared / "prepare.json").read_text()), "finished": False})
    )
    prepare(config(tmp_path))
    assert [path.name for path in tmp_path.rglob("*.writing-*")] == ["a.mat.writing-download"]


def test_a_lost_shard_is_written_again(prepared, tmp_path):
    prepare(config(tmp_path))
    (tmp_path / "unlabeled/train-00002-of-00004").unlink()
    prepare(config(tmp_path))
    assert digests(tmp_path) == digests(prepared)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_labeled": 0}, r"--num_labeled: got 0, expected a positive multiple of 10.*at most \d+0$"),
        ({"num_labeled": -10}, r"--num_labeled: got -10, expected a positive multiple of 10"),
        ({"known_classes": 11}, r"--known_classes: got 11, expected 1 to 10"),
        ({"num_labeled": 45}, r"--num_labeled: got 45, expected a positive multiple of 10"),
        ({"num_labeled": 5000}, r"--num_labeled: got 5000, expected at most \d+0: 500 test images leave \d+ of"),
        ({"num_test_images": 0}, r"--num_test_images: got 0, expected 1 to 1787 of the 1797 digits"),
        ({"num_test_images": 1797}, r"--num_test_images: got 1797, expected 1 to 1787"),
        ({"num_shards": 0}, r"--num_shards: got 0, expected 1 to 1257, the unlabeled images"),
        ({"num_shards": 2000}, r"--num_shards: got 2000, expected 1 to 1257"),
        (
            {"task_name": "imagenet64"},
            r"--task_name: got 'imagenet64' \(an unknown task\), but --mode=prepare can .*digits",
        ),
    ],
)
def test_numbers_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, changes, message):
    folder = tmp_path / "data"
    with pytest.raises(UserError, match=message):
        prepare(config(folder, **changes))
    assert not folder.exists()


def test_someone_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "labeled").mkdir()
    (tmp_path / "labeled/train-00000-of-00001").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"--data_dir: .*/labeled was not written by --mode=prepare"):
        prepare(config(tmp_path))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["labeled", "train-00000-of-00001"]


def test_a_marker_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "prepare.json").write_text("[1, 2")
    with pytest.raises(UserError, match=r"prepare.json: not what --mode=prepare writes"):
        prepare(config(tmp_path))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(
        UserError, match=r"--data_dir: cannot write to .*file/data: .*; choose a writable folder$"
    ) as caught:
        prepare(config(tmp_path / "file" / "data"))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["file"]


def test_a_shard_that_lost_records_does_not_pass(tmp_path):
    items = shards.spread([b"a", b"b", b"c"], 2)
    written = shards.write_shards(str(tmp_path), "unlabeled/train", items, unlabeled_example)
    assert written == {"unlabeled/train-00000-of-00002": 2, "unlabeled/train-00001-of-00002": 1}
    shards.verify(str(tmp_path), written)
    write_shard(str(tmp_path / "unlabeled/train-00000-of-00002"), [unlabeled_example(b"a")])
    with pytest.raises(UserError, match=r"train-00000-of-00002: got 1 records, expected 2; remove the file"):
        shards.verify(str(tmp_path), written)


def test_images_of_unknown_classes_are_unlabeled_at_most():
    _, labels = digits.load()
    everything = digits.split(labels, 28, 100, 4, 0, known=7)
    known = digits.split(labels, 28, 100, 4, 0, known=7, unlabeled="known")
    unknown = digits.split(labels, 28, 100, 4, 0, known=7, unlabeled="unknown")
    for parts in (everything, known, unknown):
        assert np.array_equal(np.bincount(labels[parts.labeled]), [4] * 7)
        assert labels[parts.test].max() == 6
        np.testing.assert_array_equal(parts.test, everything.test)
    assert labels[known.unlabeled].max() == 6
    assert set(labels[unknown.unlabeled]) == {7, 8, 9}
    assert sorted([*known.unlabeled, *unknown.unlabeled]) == sorted(everything.unlabeled)
    assert len(labels) == len(everything.labeled) + len(everything.unlabeled) + len(everything.test)
