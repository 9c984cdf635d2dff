"""One global batch gives one trajectory: on one device, on two replicas, and in two processes that talk over loopback."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from checkpoints import writing
from data.config import AugmentConfig, DataConfig
from data.prepare import run
from data.prepare.config import PrepareConfig
from data.tasks import load_task
from efficientnet.variants import ModelConfig
from runtime.config import DeviceConfig
from runtime.errors import UserError
from training import batch_norm_groups
from training.config import OptimizerConfig, TrainConfig

STEPS = 4


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    data_dir = str(folder / "data")
    run.prepare(PrepareConfig("digits", data_dir, 20, num_test_images=21, num_shards=2))
    task = load_task("digits", data_dir)
    model = ModelConfig(
        "efficientnet-b0",
        10,
        task.mean,
        task.std,
        True,
        width_coefficient=0.1,
        depth_coefficient=0.1,
        dropout_rate=0.0,
        stochastic_depth_rate=0.0,
    )
    data = DataConfig(
        task,
        os.path.join(data_dir, "labeled"),
        image_size=16,
        small_image_model=True,
        augment=AugmentConfig(enabled=False),
    )
    return TrainConfig(
        "distributed",
        model,
        data,
        OptimizerConfig(STEPS, 8, 20, base_learning_rate=0.1),
        str(folder / "one"),
        DeviceConfig(use_tpu=False),
        log_step_count_steps=1,
        eval_batch_size=4,
    )


def start(config, model_dir, devices=1, tf_config=None, group=2):
    os.makedirs(model_dir, exist_ok=True)
    this = dataclasses.replace(
        config, model_dir=model_dir, device=dataclasses.replace(config.device, num_shards_per_group=group)
    )
    path = os.path.join(model_dir, "config.pickle")
    with open(path, "wb") as file:
        pickle.dump(this, file)
    environment = {**os.environ, **({"TF_CONFIG": json.dumps(tf_config)} if tf_config else {})}
    command = [sys.executable, "-m", "tests.training.worker", path, str(devices)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-4000:]
    return output


def read(model_dir, name):
    with open(os.path.join(model_dir, name)) as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def one_device(config):
    finish(start(config, config.model_dir, group=1))
    return config.model_dir


def assert_same_trajectory(one, other):
    for expected, got in zip(read(one, "metrics.jsonl"), read(other, "metrics.jsonl")):
        assert expected.keys() == got.keys()
        for name, value in expected.items():
            assert got[name] == pytest.approx(value, rel=2e-5), (name, expected["step"])
    assert len(read(other, "metrics.jsonl")) == STEPS
    first = tf.train.load_checkpoint(writing.latest(one))
    second = tf.train.load_checkpoint(writing.latest(other))
    for name in first.get_variable_to_shape_map():
        value = first.get_tensor(name)
        np.testing.assert_allclose(second.get_tensor(name), value, atol=1e-4 * max(1.0, np.abs(value).max()))
    assert read(one, "evaluations.jsonl") == read(other, "evaluations.jsonl")
    assert read(one, "evaluations.jsonl")[-1]["num_images"] == 21


def test_two_replicas_under_mirrored_strategy_with_rematerialisation(config, one_device, tmp_path):
    model_dir = str(tmp_path / "two")
    finish(start(dataclasses.replace(config, rematerialise=True), model_dir, devices=2))
    assert_same_trajectory(one_device, model_dir)


def start_two(config, model_dirs):
    sockets = [socket.socket() for _ in range(2)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
    for free in sockets:
        free.close()
    return [
        start(config, model_dir, tf_config={"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        for index, model_dir in enumerate(model_dirs)
    ]


def test_two_processes_under_tf_config(config, one_device, tmp_path):
    model_dirs = [str(tmp_path / "chief"), str(tmp_path / "other")]
    for process in start_two(config, model_dirs):
        finish(process)
    assert_same_trajectory(one_device, model_dirs[0])
    assert not writing.list_own(model_dirs[1])


def test_workers_that_die_and_return_continue_from_the_checkpoint(config, tmp_path):
    steps, period = 150, 10
    optimizer = dataclasses.replace(config.optimizer, train_steps=steps, base_learning_rate=0.01)
    longer = dataclasses.replace(config, optimizer=optimizer, save_checkpoints_steps=period, evaluate=False)
    model_dir = str(tmp_path / "killed")
    chief, other = start_two(longer, [model_dir, model_dir])
    while not writing.list_own(model_dir):
        assert chief.poll() is None, chief.communicate()[0][-4000:]
        time.sleep(0.05)
    other.kill()
    other.communicate()
    output, _ = chief.communicate(timeout=240)
    assert "TF_CONFIG: another worker is gone" in output
    assert "they continue from the newest checkpoint" in output
    reached = max(writing.list_own(model_dir))
    assert reached < steps

    for process in start_two(longer, [model_dir, model_dir]):
        finish(process)
    metrics = read(model_dir, "metrics.jsonl")
    assert [line["step"] for line in metrics] == list(range(1, steps + 1))
    whole = str(tmp_path / "whole")
    finish(start(longer, whole, group=1))
    for expected, got in zip(read(whole, "metrics.jsonl"), metrics):
        assert got["loss"] == pytest.approx(expected["loss"], rel=1e-3), expected["step"]


def test_groups_of_replicas_follow_the_release():
    assert [batch_norm_groups.group_size(-1, replicas) for replicas in (1, 8, 16, 64, 128, 256)] == [1, 1, 8, 8, 16, 32]
    assert batch_norm_groups.group_size(4, 16) == 4
    with pytest.raises(UserError, match="--num_shards_per_group: got 3, expected -1 or a divisor of the 8 replicas"):
        batch_norm_groups.group_size(3, 8)
