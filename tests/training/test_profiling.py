"""--profile_steps: exactly the steps that were asked for, in a file that TensorBoard's Profile page reads."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
import tensorboard
import tensorflow as tf
from tensorboard import default, program

from data.prepare import run
from data.prepare.config import PrepareConfig
from tests.training.test_trainer import make_config
from training import profiling, trainer


def traces(folder):
    return [path for path in pathlib.Path(folder).glob("plugins/profile/*/*.xplane.pb") if path.stat().st_size > 1000]


def test_a_training_writes_a_profile_of_the_steps_and_of_no_other(tmp_path, monkeypatch):
    data_dir = str(tmp_path / "data")
    run.prepare(PrepareConfig("digits", data_dir, 20, num_test_images=21, num_shards=2))
    config = dataclasses.replace(make_config(data_dir, str(tmp_path / "model")), evaluation=None, profile_steps=(1, 3))
    told = []
    start, stop = tf.profiler.experimental.start, tf.profiler.experimental.stop
    one = trainer.Trainer(config, tf.distribute.get_strategy())

    def noted(function):
        def call(*arguments):
            told.append(one.step)
            function(*arguments)

        return call

    monkeypatch.setattr(tf.profiler.experimental, "start", noted(start))
    monkeypatch.setattr(tf.profiler.experimental, "stop", noted(stop))
    one.train()
    assert told == [1, 3]
    assert len(traces(config.model_dir)) == 1


def test_a_profile_that_is_cut_short_is_written(tmp_path):
    with pytest.raises(KeyboardInterrupt), profiling.profile(str(tmp_path), (2, 100)) as tell:
        tell(1)
        assert not traces(tmp_path)
        tell(2)
        tf.linalg.matmul(tf.ones([64, 64]), tf.ones([64, 64]))
        raise KeyboardInterrupt
    assert len(traces(tmp_path)) == 1


def test_chunks_end_where_a_profile_begins_and_ends():
    assert profiling.steps_until_change(0, (10, 20)) == [10, 20]
    assert profiling.steps_until_change(10, (10, 20)) == [10]
    assert profiling.steps_until_change(20, (10, 20)) == []
    assert profiling.steps_until_change(5, None) == []


def test_tensorboard_starts(capsys):
    board = program.TensorBoard(plugins=default.get_plugins())
    board.configure(["tensorboard", "--version_tb"])
    assert board.main() == 0
    assert capsys.readouterr().out.split() == [tensorboard.__version__]
