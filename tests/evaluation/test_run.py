"""`--mode=eval`: a network, its weights, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from checkpoints import writing
from checkpoints.names import AVERAGE_SUFFIX, STEP_NAME
from data.config import SplitConfig
from data.fast import Fast
from data.prepare.config import PrepareConfig
from data.prepare.run import prepare
from data.tasks import TASKS
from efficientnet.model import EfficientNet
from efficientnet.ops import Ops
from efficientnet.variants import ModelConfig
from evaluation.config import EvaluateConfig
from evaluation.run import SplitAccuracy, evaluate
from runtime.config import DeviceConfig
from runtime.errors import UserError

TASK = TASKS["digits"]
MODEL = ModelConfig("efficientnet-b0", 10, TASK.mean, TASK.std, True, width_coefficient=0.1, depth_coefficient=0.1)
IMAGES = 21


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("digits"))
    prepare(PrepareConfig("digits", folder, 20, num_test_images=IMAGES, num_shards=2))
    return folder


@pytest.fixture
def config(data_dir, tmp_path):
    """Of a checkpoint whose averages say 3 of every image, and its raw weights 7."""
    named = EfficientNet(MODEL, seed=1).named_variables()
    tensors = {name: variable.numpy() for name, variable in named.items()}
    bias = "efficientnet-b0/head/dense/bias"
    averages = {name + AVERAGE_SUFFIX: value for name, value in tensors.items()}
    tensors[bias] = _says(7)
    averages[bias + AVERAGE_SUFFIX] = _says(3)
    prefix = str(tmp_path / "model" / "model.ckpt-5")
    writing.write(prefix, {**tensors, **averages, STEP_NAME: np.int64(5)})
    split = SplitConfig(TASK, os.path.join(data_dir, "labeled"))
    return EvaluateConfig("eval", MODEL, prefix, 16, split, device=DeviceConfig(use_tpu=False))


def _says(label):
    return 1000.0 * np.eye(10, dtype=np.float32)[label]


def images_of(config, label):
    """How many of the first `num_images` images have that label."""
    from data.records.shards import find_shards, read_shard

    count = 0
    records = [
        record for path in find_shards(config.data.label_data_dir, "test-*", "flag") for record in read_shard(path)
    ]
    for record in records[: config.data.num_images]:
        feature = tf.train.Example.FromString(record).features.feature["image/class/label"]
        count += feature.int64_list.value[0] == label + 1
    return count


def test_it_counts_the_averages_answers_and_writes_them_beside_the_checkpoint(config, capsys):
    result = evaluate(config)
    right = images_of(config, 3)
    assert 0 < right < IMAGES
    assert {key: result[key] for key in ("split", "step", "num_images", "correct", "accuracy")} == {
        "split": "test",
        "step": 5,
        "num_images": IMAGES,
        "correct": right,
        "accuracy": right / IMAGES,
    }
    assert f"eval: step 5: {100 * right / IMAGES:.2f} % of 21 test images right\n" in capsys.readouterr().out
    folder = os.path.dirname(config.checkpoint)
    with open(os.path.join(folder, "evaluation.json")) as file:
        assert json.load(file) == result
    assert evaluate(dataclasses.replace(config, checkpoint=folder)) == result
    raw = evaluate(dataclasses.replace(config, use_averages=False))
    assert raw["correct"] == images_of(config, 7)


def test_a_checkpoint_that_says_no_step_is_at_0(config):
    reader = tf.train.load_checkpoint(config.checkpoint)
    kept = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if name != STEP_NAME}
    prefix = os.path.join(os.path.dirname(config.checkpoint), "released", "model.ckpt")
    writing.write(prefix, kept)
    assert evaluate(dataclasses.replace(config, checkpoint=prefix))["step"] == 0
    assert os.path.exists(os.path.join(os.path.dirname(prefix), "evaluation.json"))


def test_it_holds_one_network_and_nothing_else(config):
    """No optimiser slots, no averages, no second network: five times the memory of a large one."""
    sizes = []

    def creator(make, **named):
        variable = make(**named)
        sizes.append(int(np.prod(variable.shape)))
        return variable

    with tf.variable_creator_scope(creator):
        EfficientNet(MODEL)
        alone = sizes.copy()
        sizes.clear()
        evaluate(config)
    assert sizes == alone
    assert sum(sizes) > 36_000


def test_it_needs_a_checkpoint(config):
    with pytest.raises(UserError, match=r"--model_dir: no checkpoint \S+/nowhere"):
        evaluate(dataclasses.replace(config, checkpoint=f"{config.checkpoint}/nowhere"))


def test_an_evaluation_of_nothing_is_an_error_and_keeps_what_was_found_before(config, tmp_path):
    evaluate(config)
    path = os.path.join(os.path.dirname(config.checkpoint), "evaluation.json")
    with open(path) as file:
        before = file.read()
    (tmp_path / "test-00000-of-00001").touch()
    empty = dataclasses.replace(config.data, label_data_dir=str(tmp_path))
    with pytest.raises(
        UserError, match=r"--eval_split: the shards of 'test' hold no image, from \S+test-00000-of-00001 on"
    ):
        evaluate(dataclasses.replace(config, data=empty))
    with open(path) as file:
        assert file.read() == before


def test_the_network_knows_how_many_images_are_evaluated(config):
    counts = []

    def plain(count_up_to):
        counts.append(count_up_to(1000))
        return Ops()

    fast = Fast(inference=plain)
    for limit in (None, 5, 1000):
        evaluate(dataclasses.replace(config, data=dataclasses.replace(config.data, num_images=limit)), fast)
    assert counts == [IMAGES, 5, IMAGES]


def test_a_network_that_changes_is_measured_again(config):
    """As a training measures it."""
    model = EfficientNet(MODEL, seed=1)
    accuracy = SplitAccuracy(model, tf.distribute.get_strategy(), config.data, 16)
    bias = model.named_variables()["efficientnet-b0/head/dense/bias"]
    found = []
    for label in (3, 7):
        bias.assign(_says(label))
        found.append(accuracy(label)["correct"])
    assert found == [images_of(config, 3), images_of(config, 7)]


def test_a_folder_that_cannot_be_written_to_is_one_line(config, monkeypatch):
    from evaluation import run

    with pytest.raises(UserError, match=r"--model_dir: cannot write \S+/model.ckpt-5.index/evaluation.json: "):
        run.write_evaluation(config.checkpoint + ".index", {})
