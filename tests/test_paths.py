"""What a user typed is data, never syntax: any sign in a folder's name, a class's name or a flag's text stands for itself."""

from __future__ import annotations

import dataclasses
import glob
import os
import tempfile

import pytest
import tensorflow as tf
from hypothesis import assume, example, given

from checkpoints import writing
from checkpoints.config import ConvertConfig
from checkpoints.reading import Reader
from data.records.shards import find_shards, write_shard
from data.tasks import TASKS
from efficientnet.variants import ModelConfig
from pseudo_label.manifest import Manifest, Stage
from runtime.errors import UserError
from tests.runtime.test_files import NAMES

MODEL = ModelConfig("efficientnet-b0", 10)


@given(folder=NAMES, neighbour=NAMES)
@example(folder="p[1]", neighbour="p1")
@example(folder="a*", neighbour="ab")
def test_a_checkpoint_is_read_from_a_folder_of_any_name_and_never_from_its_neighbour(folder, neighbour):
    assume(folder != neighbour)
    with tempfile.TemporaryDirectory() as root:
        for name, value in ((folder, 1.0), (neighbour, 2.0)):
            writing.save_tensors(os.path.join(root, name), 5, {"w": tf.constant([value])})
        assert Reader(os.path.join(root, folder), "flag").tensor("w").tolist() == [1.0]
        assert Reader(os.path.join(root, folder, "model.ckpt-5"), "flag").tensor("w").tolist() == [1.0]


@given(folder=NAMES, neighbour=NAMES, prefix=NAMES)
@example(folder="r?", neighbour="rA", prefix="t*")
def test_shards_are_found_in_a_folder_of_any_name_and_never_in_its_neighbour(folder, neighbour, prefix):
    assume(folder != neighbour and ";" not in folder)
    with tempfile.TemporaryDirectory() as root:
        name = f"{prefix}-00000-of-00001"
        write_shard(os.path.join(root, neighbour, name), [b"theirs"])
        write_shard(os.path.join(root, folder, "other-00000-of-00001"), [b"other"])
        pattern = f"{glob.escape(prefix)}-?????-of-?????"
        if prefix != "other":
            with pytest.raises(UserError, match=r"^--flag: no file matches "):
                find_shards(os.path.join(root, folder), pattern, "flag")
        write_shard(os.path.join(root, folder, name), [b"ours"])
        assert find_shards(os.path.join(root, folder), pattern, "flag") == [os.path.join(root, folder, name)]


def stage(work_dir, class_names):
    task = dataclasses.replace(TASKS["folder"], num_classes=len(class_names), class_names=class_names)
    teacher = os.path.join(work_dir, "teacher")
    config = ConvertConfig("teacher", MODEL, "elsewhere/model.ckpt-1", teacher, 32, task)
    return Stage("teacher", print, config, is_there=lambda: True)


@given(work_dir=NAMES, moved=NAMES)
@example(work_dir=".", moved="1")
@example(work_dir="=eval", moved="model")
@example(work_dir="teacher", moved='"')
def test_a_manifest_holds_where_the_work_dir_lies_in_paths_alone(work_dir, moved):
    assume(";" not in work_dir + moved)  # it separates folders
    names = (work_dir, moved + "!")
    settings = stage(work_dir, names).settings(work_dir)
    assert settings == stage(moved, names).settings(moved)
    assert settings == stage(moved, names).settings(moved + "/")
    assert settings["model_dir"] == "WORK_DIR/teacher"
    assert settings["title"] == "teacher"
    assert settings["checkpoint"] == "elsewhere/model.ckpt-1"
    assert settings["task"]["class_names"] == list(names)


@pytest.mark.parametrize("name", [".", "1", "=eval", 'a "quoted" one'])
def test_a_stage_that_is_done_is_done_in_a_work_dir_of_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    os.makedirs(name, exist_ok=True)
    manifest = Manifest(name)
    manifest.mark_begun(stage(name, ("a", "b")))
    manifest.mark_done(stage(name, ("a", "b")))
    again = Manifest(name)
    again.check(stage(name, ("a", "b")))
    assert again.is_done(stage(name, ("a", "b")))
    with pytest.raises(UserError, match=r"done with task.class_names=\['a', 'b'\], these flags give \['a', '1'\]"):
        again.check(stage(name, ("a", "1")))
