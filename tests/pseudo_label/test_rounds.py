"""The whole loop in one process on a tiny setting: two rounds on real digits, stopped and continued, then the report."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from checkpoints import writing
from checkpoints.config import ConvertConfig
from data.config import AugmentConfig, DataConfig, SplitConfig
from data.prepare.config import PrepareConfig
from data.tasks import TASKS
from efficientnet.model import EfficientNet
from efficientnet.variants import ModelConfig
from evaluation.robustness.config import RobustnessConfig
from pseudo_label import rounds
from pseudo_label.config import BalanceConfig, IterateConfig, PredictConfig, RoundConfig
from pseudo_label.manifest import Manifest, first_difference
from runtime.config import DeviceConfig
from runtime.errors import UserError
from runtime.work_dir import MANIFEST_FILE
from training.config import OptimizerConfig, TrainConfig

TASK = TASKS["digits"]
MODEL = ModelConfig("efficientnet-b0", 10, TASK.mean, TASK.std, True, width_coefficient=0.1, depth_coefficient=0.1)
LARGER = dataclasses.replace(MODEL, width_coefficient=0.3)
DEVICE = DeviceConfig(use_tpu=False)


def training(work_dir, model, folder, unlabeled=""):
    return TrainConfig(
        folder,
        model,
        DataConfig(
            TASK,
            os.path.join(work_dir, "data", "labeled"),
            unlabeled,
            image_size=16,
            small_image_model=True,
            augment=AugmentConfig(magnitude=5),
            unlabeled_augment=AugmentConfig(magnitude=5),
        ),
        OptimizerConfig(
            4, 8, 20, base_learning_rate=0.05, unlabel_ratio=2.0 if unlabeled else 0.0, teacher_softmax_temp=1.0
        ),
        os.path.join(work_dir, folder),
        DEVICE,
        evaluation=SplitConfig(TASK, os.path.join(work_dir, "data", "labeled")),
        save_checkpoints_steps=2,
        log_step_count_steps=2,
    )


def finetune_of(work_dir, student, folder):
    finetune = training(work_dir, dataclasses.replace(student.model, fix_layer_num=1), folder)
    return dataclasses.replace(
        finetune,
        data=dataclasses.replace(finetune.data, remove_aug=True),
        optimizer=dataclasses.replace(finetune.optimizer, train_last_step_num=2),
        init_path=student.model_dir,
    )


def one_round(work_dir, number, teacher, teacher_dir):
    folder = os.path.join(work_dir, f"round{number}")
    images = os.path.join(work_dir, "data", "unlabeled")
    predictions = os.path.join(folder, "predictions")
    return RoundConfig(
        PredictConfig(
            "predict",
            teacher,
            os.path.join(work_dir, teacher_dir),
            images,
            predictions,
            16,
            num_shards=2,
            shard_ids=None,
            batch_size=128,
            samples_per_class=2,
            device=DEVICE,
        ),
        BalanceConfig("balance", images, predictions, os.path.join(folder, "balanced"), 10, num_image=12, num_shards=2),
        training(work_dir, LARGER, f"round{number}/student", os.path.join(folder, "balanced", "data")),
    )


@pytest.fixture
def config(tmp_path):
    work_dir = str(tmp_path / "work")
    first = one_round(work_dir, 1, MODEL, "teacher")
    first = dataclasses.replace(first, finetune=finetune_of(work_dir, first.student, "round1/finetuned"))
    return IterateConfig(
        work_dir,
        training(work_dir, MODEL, "teacher"),
        (first, one_round(work_dir, 2, first.outcome.model, "round1/finetuned")),
        PrepareConfig("digits", os.path.join(work_dir, "data"), 20, num_test_images=50, num_shards=2),
        command="python main.py --mode=iterate",
    )


def test_the_whole_loop_continues_where_it_stopped_and_reports(config, monkeypatch, capsys):
    done = []
    run_stage = Manifest.mark_done

    def stop_after_first_balance(self, stage):
        run_stage(self, stage)
        done.append(stage.name)
        if stage.name == "round1/balance":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Manifest, "mark_done", stop_after_first_balance)
        rounds.iterate(config)
    assert done == ["prepare", "teacher", "round1/predict", "round1/balance"]

    results = rounds.iterate(config)
    output = capsys.readouterr().out
    assert "[4/9] round1/balance: done before" in output
    assert "[6/9] round1/finetune\n" in output
    assert "[9/9] round2/student\n" in output
    assert "student 2" in output
    assert [each["name"] for each in results["networks"]] == [
        "teacher",
        "student 1",
        "student 1 finetuned",
        "student 2",
    ]
    assert [each["labeled_by"] for each in results["rounds"]] == ["teacher", "student 1 finetuned"]
    assert_finetuned(config)
    report = os.path.join(config.work_dir, "report")
    with open(os.path.join(report, "results.json")) as file:
        text = file.read()
    assert json.loads(text) == json.loads(json.dumps(results))
    assert config.work_dir not in text
    for name in ("report.md", "accuracy.png", "training-teacher.png", "round2-mosaic.png"):
        assert os.path.getsize(os.path.join(report, name)) > 0

    again = rounds.iterate(config)
    assert again == results
    assert "round2/student: done before" in capsys.readouterr().out

    changed = dataclasses.replace(config.rounds[0].balance, num_image=11)
    other = dataclasses.replace(
        config, rounds=(dataclasses.replace(config.rounds[0], balance=changed), config.rounds[1])
    )
    with pytest.raises(
        UserError, match=r"stage round1/balance done with num_image=12, these flags give 11; use another"
    ):
        rounds.iterate(other)


def test_a_ready_made_teacher_is_copied_and_measured(config, tmp_path, capsys):
    made = EfficientNet(MODEL, seed=3).named_variables()
    prefix = str(tmp_path / "released" / "model.ckpt")
    averages = {name + "/ExponentialMovingAverage": value + 1.0 for name, value in made.items()}
    writing.write(prefix, {**made, **averages, "global_step": tf.constant(7, tf.int64)})
    teacher = config.teacher
    ready = ConvertConfig("teacher", MODEL, prefix, teacher.model_dir, 16, TASK, flag="teacher_model_path")
    config = dataclasses.replace(config, ready_teacher=ready, rounds=())
    results = rounds.iterate(config)
    output = capsys.readouterr().out
    assert "[2/3] teacher\n" in output
    assert "[3/3] teacher/evaluate\n" in output
    (network,) = results["networks"]
    assert (network["name"], network["model"], network["image_size"]) == ("teacher", "efficientnet-b0", 16)
    assert (network["test"]["num_images"], network["test"]["step"]) == (50, 7)
    with open(os.path.join(config.work_dir, "report", "report.md")) as file:
        assert "The teacher (efficientnet-b0, 16 px) was given, as a checkpoint." in file.read()
    assert sorted(os.listdir(tmp_path / "released")) == ["model.ckpt.data-00000-of-00001", "model.ckpt.index"]

    os.remove(os.path.join(config.work_dir, MANIFEST_FILE))  # as if it had stopped before noting that it was done
    assert rounds.iterate(config) == results
    with open(os.path.join(teacher.model_dir, "metrics.jsonl"), "w"):
        pass
    with pytest.raises(
        UserError, match=r"teacher holds a teacher that was being trained; leave --teacher_model_path out"
    ):
        rounds.take_teacher(ready)
    elsewhere = dataclasses.replace(ready, model_dir=str(tmp_path / "new"), checkpoint=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"^--teacher_model_path: no checkpoint \S+/nowhere"):
        rounds.take_teacher(elsewhere)


def assert_finetuned(config):
    """It began with the student's averages and left the fixed layers as they were."""
    student, finetuned = (
        tf.train.load_checkpoint(writing.latest(each.model_dir))
        for each in (config.rounds[0].student, config.rounds[0].finetune)
    )
    assert (student.get_tensor("global_step"), finetuned.get_tensor("global_step")) == (4, 2)
    fixed, free = ("efficientnet-b0/blocks_0/conv2d/kernel", "efficientnet-b0/head/conv2d/kernel")
    average = "/ExponentialMovingAverage"
    np.testing.assert_array_equal(finetuned.get_tensor(fixed), student.get_tensor(fixed + average))
    assert not finetuned.has_tensor(fixed + average)
    moved = np.abs(finetuned.get_tensor(free) - student.get_tensor(free + average)).max()
    assert 0 < moved < 1


def test_first_difference_names_nested_settings():
    assert first_difference({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}) == ("a.b", [1, 2], [1, 3])
    assert first_difference({"a": 1}, {"a": 1}) is None
    assert first_difference({"a": 1}, {}) == ("a", 1, None)


def touch_checkpoint(folder):
    os.makedirs(folder, exist_ok=True)
    for suffix in (writing.INDEX_SUFFIX, writing.DATA_SUFFIX):
        open(os.path.join(folder, f"model.ckpt-2{suffix}"), "w").close()


def manifest_of(config, names):
    """A manifest in which the stages of these names are done."""
    os.makedirs(config.work_dir, exist_ok=True)
    manifest = Manifest(config.work_dir)
    for stage in rounds.stages(config):
        if stage.name in names:
            manifest.mark_begun(stage)
            manifest.mark_done(stage)
    return Manifest(config.work_dir)


def test_a_network_that_is_gone_is_trained_again(config):
    planned = rounds.stages(config)
    manifest = manifest_of(config, [stage.name for stage in planned])
    for folder in ("teacher", "round1/student", "round1/finetuned"):
        touch_checkpoint(os.path.join(config.work_dir, folder))
    # The last student needs the balanced records, and they the predictions, which are gone too; round 1's are not needed.
    assert rounds.stages_to_do(planned, manifest) == {"round2/predict", "round2/balance", "round2/student"}
    os.makedirs(os.path.join(config.work_dir, "round2/balanced"))
    open(os.path.join(config.work_dir, "round2/balanced/stats.json"), "w").close()
    assert rounds.stages_to_do(planned, manifest) == {"round2/student"}
    touch_checkpoint(os.path.join(config.work_dir, "round2/student"))
    assert rounds.stages_to_do(planned, manifest) == set()


def test_a_training_that_has_begun_keeps_its_flags(config):
    teacher = rounds.stages(config)[1]
    os.makedirs(config.work_dir)
    Manifest(config.work_dir).mark_begun(teacher)
    other = dataclasses.replace(
        teacher,
        config=dataclasses.replace(
            teacher.config, optimizer=dataclasses.replace(teacher.config.optimizer, base_learning_rate=0.1)
        ),
    )
    manifest = Manifest(config.work_dir)
    manifest.check(other)  # nothing was saved, so nothing is mixed
    touch_checkpoint(teacher.config.model_dir)
    manifest.check(teacher)
    with pytest.raises(
        UserError,
        match=r"stage teacher begun with optimizer.base_learning_rate=0.05, these flags give 0.1; use another",
    ):
        manifest.check(other)


def test_a_manifest_of_before_may_name_what_no_longer_matters(config):
    stage = rounds.stages(config)[1]
    manifest = manifest_of(config, [stage.name])
    manifest._done[stage.name].update(log_step_count_steps=1, eval_batch_size=7)
    manifest.check(stage)


def test_a_damaged_manifest_is_one_line(config):
    os.makedirs(config.work_dir)
    for text in ("{", "{}", '{"done": 3}'):
        with open(os.path.join(config.work_dir, "manifest.json"), "w") as file:
            file.write(text)
        with pytest.raises(UserError, match=r"manifest.json: not a manifest \("):
            Manifest(config.work_dir)


def test_images_are_looked_for_before_a_teacher_is_trained(config):
    """Of a run whose data were prepared before."""
    prepared = dataclasses.replace(config, prepare=None)
    with pytest.raises(
        UserError, match=r"no file .*unlabeled/train-00000-of-00002; .* to train the teacher alone, use --mode="
    ):
        rounds.iterate(prepared)
    assert not os.path.exists(config.teacher.model_dir)


def test_robustness_is_the_last_stage_and_a_result(config):
    measured = RobustnessConfig("robustness", (), ("generated",), os.path.join(config.work_dir, "robustness"))
    last = rounds.stages(dataclasses.replace(config, robustness=measured))[-1]
    assert (last.name, last.is_result, last.is_there()) == ("robustness", True, False)
    assert [stage.name for stage in rounds.stages(config)][-1] != "robustness"
