"""The trainer on real digits and a tiny network: what it writes, how it continues, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from checkpoints import writing
from data.config import AugmentConfig, DataConfig, SplitConfig
from data.prepare import run
from data.prepare.config import PrepareConfig
from data.records.examples import filtered_example, labeled_example
from data.records.shards import write_shard
from data.streams import segments
from data.streams.training import training_stream
from data.tasks import load_task
from efficientnet.variants import ModelConfig
from evaluation.config import EvaluateConfig
from evaluation.run import evaluate
from runtime.config import DeviceConfig
from runtime.errors import UserError
from training import trainer
from training.config import OptimizerConfig, TrainConfig

STEPS = 7


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("digits"))
    run.prepare(PrepareConfig("digits", folder, 20, num_test_images=21, num_shards=2))
    return folder


@pytest.fixture
def config(data_dir, tmp_path):
    return make_config(data_dir, str(tmp_path / "model"))


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    """The config of a training that has run to its end, shared by the tests that only look at it."""
    config = make_config(data_dir, str(tmp_path_factory.mktemp("finished") / "model"))
    trainer.train(dataclasses.replace(config, keep_checkpoint_max=2))
    return config


def make_config(data_dir, model_dir):
    task = load_task("digits", data_dir)
    model = ModelConfig("efficientnet-b0", 10, task.mean, task.std, True, width_coefficient=0.1, depth_coefficient=0.1)
    data = DataConfig(
        task,
        os.path.join(data_dir, "labeled"),
        image_size=16,
        small_image_model=True,
        augment=AugmentConfig(magnitude=5),
    )
    return TrainConfig(
        "tiny",
        model,
        data,
        OptimizerConfig(STEPS, 8, 20, base_learning_rate=0.1),
        model_dir,
        DeviceConfig(use_tpu=False),
        evaluation=SplitConfig(task, data.label_data_dir),
        save_checkpoints_steps=3,
        log_step_count_steps=2,
    )


def tensors(model_dir):
    reader = tf.train.load_checkpoint(writing.latest(model_dir))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same_tensors(first, second):
    first, second = tensors(first), tensors(second)
    assert first.keys() == second.keys()
    different = [name for name in first if not np.array_equal(first[name], second[name])]
    assert not different


def test_train_and_eval_leaves_what_later_commands_need(finished):
    config = finished
    with open(os.path.join(config.model_dir, "evaluation.json")) as file:
        result = json.load(file)
    assert result["num_images"] == 21
    assert result["step"] == STEPS
    assert result["accuracy"] == result["correct"] / 21
    assert writing.list_own(config.model_dir) == [6, STEPS]
    with open(os.path.join(config.model_dir, "metrics.jsonl")) as file:
        steps = [json.loads(line)["step"] for line in file]
    assert steps == [2, 3, 4, 6, 7]
    with open(os.path.join(config.model_dir, "model.json")) as file:
        assert ModelConfig.from_json(json.load(file)["model"]) == config.model
    assert tf.io.gfile.glob(os.path.join(config.model_dir, "events.out.tfevents.*"))


def test_finished_model_dir_trains_nothing(finished, capsys):
    before = tensors(finished.model_dir)
    trainer.train(finished)
    output = capsys.readouterr().out
    assert f"has all {STEPS} steps already, nothing to train" in output
    assert "of 21 test images right" in output
    after = tensors(finished.model_dir)
    assert all(np.array_equal(before[name], after[name]) for name in before)


class Killed(Exception):
    pass


def test_a_run_that_stopped_continues_bit_for_bit(config, finished, monkeypatch):
    boundary = trainer.Trainer._boundary

    def die(self, last, log):
        boundary(self, last, log)
        if self.step >= 4:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trainer.Trainer, "_boundary", die)
        trainer.train(config)
    assert writing.list_own(config.model_dir) == [3]
    trainer.train(config)
    assert_same_tensors(config.model_dir, finished.model_dir)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        with open(os.path.join(config.model_dir, name)) as one, open(os.path.join(finished.model_dir, name)) as two:
            assert one.read() == two.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_mid_segment_and_the_run_continues_bit_for_bit(config, finished, number, monkeypatch, capsys):
    boundary = trainer.Trainer._boundary

    def terminate(self, last, log):
        boundary(self, last, log)
        if self.step == 4:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(trainer.Trainer, "_boundary", terminate)
        trainer.train(config)
    assert stop.value.code == 128 + number
    assert f"{number.name} at step 4, saved" in capsys.readouterr().out
    assert writing.list_own(config.model_dir)[-1] == 4
    trainer.train(config)
    assert_same_tensors(config.model_dir, finished.model_dir)


def test_another_architecture_is_refused_with_the_first_differing_variable(finished):
    wider = dataclasses.replace(finished, model=dataclasses.replace(finished.model, width_coefficient=0.5))
    with pytest.raises(UserError, match=r"has efficientnet-b0/stem/conv2d/kernel of shape \[3, 3, 3, 8\], expected"):
        trainer.train(wider)
    other = dataclasses.replace(finished, model=dataclasses.replace(finished.model, name="efficientnet-b1"))
    with pytest.raises(UserError, match=r"has no variable efficientnet-b1/stem/.*it holds efficientnet-b0"):
        trainer.train(other)


def test_a_loss_that_is_not_a_number_stops_and_saves_nothing(config):
    optimizer = dataclasses.replace(config.optimizer, base_learning_rate=1e30)
    with pytest.raises(
        UserError, match=r"the loss is (nan|inf) at step \d+; nothing of it was saved.*lower --base_lear"
    ):
        trainer.train(dataclasses.replace(config, optimizer=optimizer, save_checkpoints_steps=100))
    assert writing.latest(config.model_dir) is None


def test_black_pictures_are_named_where_they_are_to_blame(config, tmp_path):
    write_labeled(str(tmp_path / "black"), list(range(1, 11)) * 2)
    black = with_data(config, str(tmp_path / "black"))
    optimizer = dataclasses.replace(config.optimizer, base_learning_rate=1e30)
    with pytest.raises(
        UserError, match=r"nothing of it was saved .*: 20 of 20 pictures looked at have one colour alone"
    ):
        trainer.train(dataclasses.replace(black, optimizer=optimizer, save_checkpoints_steps=100))


def write_labeled(folder, labels, name="train-00000-of-00001"):
    encoded = tf.io.encode_png(np.zeros([16, 16, 3], np.uint8)).numpy()
    write_shard(os.path.join(folder, name), [labeled_example(encoded, label) for label in labels])


WHOSE = r"whose classes they are \(--data_dir, --task_name\)"


def with_data(config, folder):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, label_data_dir=folder), evaluation=None)


@pytest.mark.parametrize(("label", "advice"), [(11, rf", or give the task {WHOSE}"), (0, "")])
def test_labels_outside_the_classes_name_file_record_and_value(config, tmp_path, label, advice):
    folder = str(tmp_path / "bad")
    write_labeled(folder, [1, 2, label])
    where = f"train-00000-of-00001: record 2 has image/class/label {label}, expected 1 to 10"
    with pytest.raises(UserError, match=f"{where}; write the file again{advice}$"):
        trainer.train(with_data(config, folder))


def test_a_training_does_not_continue_with_classes_of_other_names(config, finished):
    names = tuple("abcdefghij")
    other = dataclasses.replace(
        config,
        model_dir=finished.model_dir,
        data=dataclasses.replace(config.data, task=dataclasses.replace(config.data.task, class_names=names)),
        optimizer=dataclasses.replace(config.optimizer, train_steps=config.optimizer.train_steps + 1),
    )
    with pytest.raises(
        UserError,
        match=r"was trained on the classes 0, 1, 2, 3, 4, \.\.\.; these data have a, b, c, d, e, \.\.\.; name another",
    ):
        trainer.train(other)


def test_a_class_without_an_image_is_named(config, tmp_path):
    folder = str(tmp_path / "bad")
    write_labeled(folder, [1, 2, 3, 4, 5, 6, 7, 8, 10])
    with pytest.raises(UserError, match=r"1 of 10 classes have no labeled image .* the first with label 9 \(8\)"):
        trainer.train(with_data(config, folder))


def test_missing_shards_name_the_pattern(config, tmp_path):
    with pytest.raises(UserError, match=r"--label_data_dir: no file matches .*nowhere/train-"):
        trainer.train(with_data(config, str(tmp_path / "nowhere")))


def test_a_truncated_shard_names_file_record_and_byte(config, tmp_path):
    folder = str(tmp_path / "bad")
    write_labeled(folder, list(range(1, 11)))
    path = os.path.join(folder, "train-00000-of-00001")
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.truncate(size - 5)
    with pytest.raises(UserError, match=r"train-00000-of-00001: record 9 at byte \d+ is truncated or corrupt"):
        trainer.train(with_data(config, folder))


def test_an_undecodable_image_names_file_and_record(config, tmp_path):
    folder = str(tmp_path / "bad")
    encoded = tf.io.encode_png(np.zeros([16, 16, 3], np.uint8)).numpy()
    images = [encoded] * 9 + [b"no image at all"]
    write_shard(
        os.path.join(folder, "train-00000-of-00001"),
        [labeled_example(image, label + 1) for label, image in enumerate(images)],
    )
    with pytest.raises(UserError, match=r"train-00000-of-00001: record 9 holds an image that cannot be decoded"):
        trainer.train(with_data(config, folder))


def test_soft_labels_of_the_wrong_length_name_the_record(config, tmp_path):
    folder = str(tmp_path / "unlabeled")
    encoded = tf.io.encode_png(np.zeros([16, 16, 3], np.uint8)).numpy()
    example = filtered_example(encoded, np.full([7], 1 / 7, np.float32))
    write_shard(os.path.join(folder, "train-0-00000-of-00001"), [example] * 3)
    bad = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, unlabel_data_dir=folder),
        optimizer=dataclasses.replace(config.optimizer, unlabel_ratio=1.0, teacher_softmax_temp=1.0),
        evaluation=None,
    )
    with pytest.raises(UserError, match=r"train-0-00000-of-00001: record \d has 7 probabilities, expected 10"):
        trainer.train(bad)


def test_unlabeled_images_without_pseudo_labels_say_how_to_get_them(config, data_dir):
    bad = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, unlabel_data_dir=os.path.join(data_dir, "unlabeled")),
        optimizer=dataclasses.replace(config.optimizer, unlabel_ratio=1.0),
    )
    with pytest.raises(
        UserError, match=r"00000-of-\d+ and its neighbours have no pseudo labels; make them with --mode=predict"
    ):
        trainer.train(bad)


def test_a_student_of_an_online_teacher_trains(config, finished, data_dir):
    online = dataclasses.replace(
        config,
        teacher=finished.model,
        teacher_path=finished.model_dir,
        data=dataclasses.replace(
            config.data, unlabel_data_dir=os.path.join(data_dir, "unlabeled"), teacher_image_size=16
        ),
        optimizer=dataclasses.replace(config.optimizer, unlabel_ratio=1.5, teacher_softmax_temp=1.0, train_steps=2),
    )
    result = trainer.train(online)
    assert result is not None
    assert result["step"] == 2
    with open(os.path.join(online.model_dir, "metrics.jsonl")) as file:
        metrics = json.loads(file.readlines()[-1])
    assert metrics["data_loss"] == pytest.approx(metrics["labeled_loss"] + 1.5 * metrics["unlabeled_loss"], rel=1e-5)


def test_unlabeled_images_alone_train_from_the_teacher_s_weights(config, finished, data_dir):
    alone = dataclasses.replace(
        config,
        teacher=finished.model,
        teacher_path=finished.model_dir,
        init_path=finished.model_dir,
        data=dataclasses.replace(
            config.data, unlabel_data_dir=os.path.join(data_dir, "unlabeled"), teacher_image_size=16
        ),
        optimizer=dataclasses.replace(config.optimizer, unlabel_ratio=1.5, unlabeled_only=True, train_steps=2),
        evaluation=None,
    )
    trainer.train(alone)
    with open(os.path.join(alone.model_dir, "metrics.jsonl")) as file:
        metrics = json.loads(file.readlines()[-1])
    assert metrics["data_loss"] == pytest.approx(1.5 * metrics["unlabeled_loss"], rel=1e-6)
    assert not {"labeled_loss", "labeled_accuracy"} & set(metrics)
    kernel = "efficientnet-b0/stem/conv2d/kernel"
    moved = np.abs(tensors(alone.model_dir)[kernel] - tensors(finished.model_dir)[kernel + "/ExponentialMovingAverage"])
    assert 0 < moved.max() < 0.1


def test_the_stream_of_a_segment_does_not_depend_on_where_a_run_started(config):
    def batches(first_step, count):
        stream = training_stream(config.data, 8, 0, 1, segments.Segments(first_step, 3))
        return [batch["labeled"]["image"].numpy() for batch in stream.take(count)]

    whole = batches(0, 8)
    for start in (2, 3, 7):
        for one, other in zip(whole[start:], batches(start, 8 - start)):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(whole[0], whole[3])


def test_a_noised_online_teacher_sees_its_own_crops_and_augmentation(config, data_dir):
    online = dataclasses.replace(
        config.data, unlabel_data_dir=os.path.join(data_dir, "unlabeled"), teacher_image_size=16
    )

    def batch(**changes):
        data = dataclasses.replace(online, **changes)
        stream = training_stream(data, 8, 64, 1, segments.Segments(0, 3), online_teacher=True)
        return next(iter(stream))["unlabeled"]

    quiet, noised, again = batch(), batch(noise_teacher=True), batch(noise_teacher=True)
    np.testing.assert_array_equal(noised["image"], quiet["image"])
    np.testing.assert_array_equal(noised["teacher_image"], again["teacher_image"])
    for other in (quiet["teacher_image"], noised["image"]):
        assert np.mean(np.any(noised["teacher_image"].numpy() != other.numpy(), (1, 2, 3))) > 0.95
    plain = batch(unlabeled_augment=AugmentConfig(False), noise_teacher=True)
    np.testing.assert_array_equal(plain["teacher_image"], noised["teacher_image"])
    assert np.any(plain["image"].numpy() != noised["image"].numpy())


def test_eval_takes_a_prefix_and_counts_as_the_training_did(finished):
    prefix = os.path.join(finished.model_dir, f"model.ckpt-{STEPS}")
    with open(os.path.join(finished.model_dir, "evaluation.json")) as file:
        trained = json.load(file)
    config = EvaluateConfig("eval", finished.model, prefix, 16, finished.evaluation, device=finished.device)
    assert evaluate(config) == trained


def test_missing_images_to_evaluate_are_said_before_the_first_step(config):
    other = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, split="dev"))
    with pytest.raises(UserError, match=r"--label_data_dir: no file matches \S+/dev-\?"):
        trainer.train(other)
    assert not os.path.exists(config.model_dir)


def test_a_model_dir_that_cannot_be_made_is_one_line(config, tmp_path):
    (tmp_path / "file").write_text("in the way")
    blocked = dataclasses.replace(config, model_dir=str(tmp_path / "file" / "model"))
    with pytest.raises(UserError, match=r"--model_dir: cannot write .*file/model: .*not a directory"):
        trainer.train(blocked)
