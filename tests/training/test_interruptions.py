"""What ends a training from outside: no room on the disk, a file that vanishes, another worker that is gone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import shutil
from typing import Any

import pytest
import tensorflow as tf

from checkpoints import writing
from data.prepare import run
from data.prepare.config import PrepareConfig
from runtime import devices
from runtime.errors import UserError
from runtime.files import is_temporary
from tests.training.test_trainer import STEPS, assert_same_tensors, make_config
from training import trainer


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("digits"))
    run.prepare(PrepareConfig("digits", folder, 20, num_test_images=21, num_shards=2))
    return folder


@contextlib.contextmanager
def files_limited_to(size):
    """Lets no file of this process grow beyond `size` bytes, which the kernel refuses as it does a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_last_checkpoint_whole_and_the_run_continues(data_dir, tmp_path, monkeypatch):
    config = make_config(data_dir, str(tmp_path / "model"))
    whole = make_config(data_dir, str(tmp_path / "whole"))
    trainer.train(whole)
    write = writing.write
    limits: list[Any] = [contextlib.nullcontext(), files_limited_to(4096)]

    def write_limited(*arguments):
        with limits.pop(0):
            write(*arguments)

    with monkeypatch.context() as patch, pytest.raises(UserError) as error:
        patch.setattr(writing, "write", write_limited)
        trainer.train(config)
    message = str(error.value)
    assert message.startswith(f"--model_dir: cannot write {config.model_dir}/model.ckpt-6: ")
    assert "File too large" in message
    assert "\n" not in message
    assert writing.list_own(config.model_dir) == [3]
    assert not any(is_temporary(name) for name in os.listdir(config.model_dir))
    result = trainer.train(config)
    assert result is not None
    assert result["step"] == STEPS
    assert_same_tensors(config.model_dir, whole.model_dir)


def test_a_labeled_file_that_vanishes_is_named(data_dir, tmp_path, monkeypatch):
    labeled = str(tmp_path / "labeled")
    shutil.copytree(os.path.join(data_dir, "labeled"), labeled)
    config = make_config(data_dir, str(tmp_path / "model"))
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, label_data_dir=labeled, use_cache=False),
        optimizer=dataclasses.replace(config.optimizer, train_steps=1000),
        evaluation=None,
    )
    boundary = trainer.Trainer._boundary

    def remove(self, last, log):
        boundary(self, last, log)
        for path in tf.io.gfile.glob(os.path.join(labeled, "train-*")):
            tf.io.gfile.remove(path)

    monkeypatch.setattr(trainer.Trainer, "_boundary", remove)
    with pytest.raises(
        UserError, match=r"labeled/train-\d{5}-of-\d{5}: the file is gone; put it back and run the same"
    ):
        trainer.train(config)
    assert writing.list_own(config.model_dir)


def test_another_worker_that_is_gone_is_one_line(monkeypatch):
    gone = tf.errors.UnavailableError(None, None, "Connection reset by peer\nAdditional information")
    assert devices.lost_worker(gone) is None
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    assert str(devices.lost_worker(gone)) == (
        "TF_CONFIG: another worker is gone (Connection reset by peer); start all workers again with the same command: they "
        "continue from the newest checkpoint"
    )
    assert devices.lost_worker(tf.errors.InvalidArgumentError(None, None, "shapes")) is None
