"""One global batch gives one trajectory: on one device, on two replicas, and in two processes that talk over loopback."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from checkpoints import writing
from data.config import AugmentConfig, DataConfig, SplitConfig
from data.prepare import run
from data.prepare.config import PrepareConfig
from data.tasks import load_task
from efficientnet.variants import ModelConfig
from runtime.config import DeviceConfig
from runtime.errors import UserError
from training import batch_norm_groups, trainer
from training.config import OptimizerConfig, TrainConfig

STEPS, PERIOD, DEATH = 4, 2, 3  # steps of a training, between its checkpoints, and until a worker dies


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
        save_checkpoints_steps=PERIOD,
        log_step_count_steps=1,
        evaluation=SplitConfig(task, data.label_data_dir, eval_batch_size=4),
    )


def start(config, folder, *options, environment=()):
    """A process that trains; two replicas share the statistics of batch norms."""
    shared = dataclasses.replace(config, device=dataclasses.replace(config.device, num_shards_per_group=2))
    path = os.path.join(folder, f"config-{len(os.listdir(folder))}.pickle")
    with open(path, "wb") as file:
        pickle.dump(shared, file)
    command = [sys.executable, "-m", "tests.training.worker", path, *options]
    variables = {**os.environ, **dict(environment)}
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def start_two(configs, folder, *options_of_second):
    """Two processes of one cluster, the chief and another, each with its config."""
    sockets = [socket.socket() for _ in range(2)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
    for free in sockets:
        free.close()
    started = []
    for index, config in enumerate(configs):
        described = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        options = options_of_second if index else ()
        started.append(start(config, folder, *options, environment={"TF_CONFIG": json.dumps(described)}.items()))
    return started


def finish(process):
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-4000:]
    return output


def read(model_dir, name):
    with open(os.path.join(model_dir, name)) as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def one_device(config):
    trainer.train(config)
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
    two = dataclasses.replace(config, rematerialise=True, model_dir=str(tmp_path / "two"))
    finish(start(two, tmp_path, "--devices=2"))
    assert_same_trajectory(one_device, two.model_dir)


@pytest.fixture(scope="module")
def cluster(config, tmp_path_factory):
    """Two processes train together until one dies: their configs, the chief's last words, how they end, what they leave."""
    folder = tmp_path_factory.mktemp("cluster")
    configs = [dataclasses.replace(config, model_dir=str(folder / name)) for name in ("chief", "other")]
    chief, other = start_two(configs, folder, f"--die_at={DEATH}")
    output, _ = chief.communicate(timeout=240)
    other.communicate(timeout=240)
    left = [writing.list_own(one.model_dir) for one in configs]
    return configs, output, (chief.returncode, other.returncode), left


def test_a_worker_that_dies_ends_the_others_with_what_to_do(cluster):
    _, output, codes, left = cluster
    assert codes == (1, -signal.SIGKILL), output[-4000:]
    assert "TF_CONFIG: another worker is gone" in output
    assert "they continue from the newest checkpoint" in output
    assert left == [[PERIOD], []]


def test_two_processes_that_died_and_returned_give_what_one_device_gives(one_device, cluster, tmp_path):
    chief, other = cluster[0]
    shutil.copytree(chief.model_dir, other.model_dir, dirs_exist_ok=True)
    for process in start_two([chief, other], tmp_path):
        finish(process)
    assert_same_trajectory(one_device, chief.model_dir)
    assert writing.list_own(chief.model_dir) == [PERIOD, STEPS]
    assert writing.list_own(other.model_dir) == [PERIOD]


def test_groups_of_replicas_follow_the_release():
    assert [batch_norm_groups.group_size(-1, replicas) for replicas in (1, 8, 16, 64, 128, 256)] == [1, 1, 8, 8, 16, 32]
    assert batch_norm_groups.group_size(4, 16) == 4
    with pytest.raises(UserError, match="--num_shards_per_group: got 3, expected -1 or a divisor of the 8 replicas"):
        batch_norm_groups.group_size(3, 8)
