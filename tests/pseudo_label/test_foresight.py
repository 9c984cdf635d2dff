"""What is known before a teacher is trained: pictures, folders, room."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import namedtuple

import pytest
import tensorflow as tf

from data.prepare.config import PrepareConfig
from data.records.examples import shard_name, unlabeled_example
from data.records.shards import write_shard
from efficientnet.model import EfficientNet
from pseudo_label import foresight, rounds
from pseudo_label.config import IterateConfig
from runtime.errors import UserError
from tests.pseudo_label.test_rounds import MODEL, finetune_of, one_round, training
from training import saving
from training.state import TrainingState

PICTURE = unlabeled_example(tf.io.encode_png(tf.zeros([16, 16, 3], tf.uint8)).numpy())
NO_PICTURE = unlabeled_example(b"no picture")
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def config(tmp_path):
    work_dir = str(tmp_path / "work")
    first = one_round(work_dir, 1, MODEL, "teacher")
    first = dataclasses.replace(first, finetune=finetune_of(work_dir, first.student, "round1/finetuned"))
    return IterateConfig(
        work_dir,
        training(work_dir, MODEL, "teacher"),
        (first, one_round(work_dir, 2, first.outcome.model, "round1/finetuned")),
        PrepareConfig("digits", os.path.join(work_dir, "data"), 20, num_shards=2),
    )


def write_unlabeled(config, *shards):
    for number, records in enumerate(shards):
        write_shard(os.path.join(config.rounds[0].predict.input_dir, shard_name("train", number, len(shards))), records)


def check(config):
    planned = rounds.stages(config)
    foresight.check(config, {stage.name for stage in planned}, planned)


def test_pictures_are_enough_wherever_they_are(config):
    write_unlabeled(config, [], [NO_PICTURE, PICTURE])
    assert foresight.check_images(config) == foresight.Images(2, len(NO_PICTURE) + len(PICTURE) + 32)


@pytest.mark.parametrize(
    ("shards", "cut", "message"),
    [
        (([], []), 0, r"none of the records of .*/train-00000-of-00002 and the 1 files after it holds a picture that can be"),
        (([NO_PICTURE], [NO_PICTURE] * 2), 0, r"none of the records of .* holds a picture that can be decoded; a student learns"),
        (([PICTURE], [PICTURE]), 5, r"train-00001-of-00002: record 0 at byte 0 is truncated or corrupt; .*a student learns from"),
        ((), 0, r"--unlabel_data_dir: no file .*/train-00000-of-00002; check --num_shards .*; a student learns from unlabeled"),
    ],
)  # fmt: skip
def test_what_no_student_can_learn_from_is_said_before_the_teacher(config, shards, cut, message):
    write_unlabeled(config, *shards)
    if cut:
        path = os.path.join(config.rounds[0].predict.input_dir, "train-00001-of-00002")
        os.truncate(path, os.path.getsize(path) - cut)
    with pytest.raises(UserError, match=message):
        check(config)


@pytest.mark.parametrize("folder", ["teacher", "round1", "round1/balanced", "round2/student", "round1/finetuned"])
def test_a_file_where_a_folder_is_to_be(config, folder):
    write_unlabeled(config, [PICTURE], [PICTURE])
    path = os.path.join(config.work_dir, folder)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w"):
        pass
    with pytest.raises(UserError, match=rf"--work_dir: {path} is a file, and the stage .* needs .*; move it away"):
        check(config)


def test_a_folder_that_cannot_be_written_to(config, monkeypatch):
    write_unlabeled(config, [PICTURE], [PICTURE])
    os.makedirs(closed := os.path.join(config.work_dir, "round2"))
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed)
    with pytest.raises(UserError, match=rf"{closed} cannot be written to, and the stage round2/predict needs it"):
        check(config)


@pytest.mark.parametrize("free", [10**5, 4 * 10**7, 10**12])
def test_room_on_the_disk(config, free, monkeypatch, capsys):
    write_unlabeled(config, [PICTURE] * 3, [PICTURE] * 3)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free, 0, free))
    if free < 10**6:
        message = r"will write .* \(checkpoints .* MB, soft labels .* kB, balanced .*\), and 100 kB are free; make room"
        with pytest.raises(UserError, match=message):
            check(config)
        return
    check(config)
    said = capsys.readouterr().err
    assert said.startswith("notice: the run will write ") if free < 10**9 else said == ""


def test_only_what_is_left_to_do_counts(config):
    images = foresight.Images(100, 10**6)
    assert [part.most for part in foresight.room(config, set(), images)] == [0, 0, 0]
    checkpoints, labels, balanced = foresight.room(config, {"round2/balance"}, images)
    assert checkpoints.most == labels.most == balanced.least == 0
    assert balanced.most == 12 * 10 * (10**4 + foresight.OF_A_RECORD + 40)
    sparse = dataclasses.replace(config.rounds[1], predict=dataclasses.replace(config.rounds[1].predict, store_top_k=2))
    labels = foresight.room(dataclasses.replace(config, rounds=(sparse,)), {"round1/predict"}, images)[1]
    assert labels.most == 100 * (foresight.OF_A_RECORD + 16)


def test_a_checkpoint_is_as_large_as_foreseen(config, tmp_path):
    prefix = saving.save(str(tmp_path / "model"), TrainingState(EfficientNet(MODEL)), 0)
    one = dataclasses.replace(config.teacher, save_checkpoints_steps=4)
    foreseen = foresight.room(dataclasses.replace(config, rounds=(), teacher=one), {"teacher"}, None)[0].least
    real = sum(os.path.getsize(prefix + suffix) for suffix in (".index", ".data-00000-of-00001"))
    assert 0.75 * real < foreseen < 1.25 * real
