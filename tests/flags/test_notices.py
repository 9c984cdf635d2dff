"""What is said before a run begins."""

from __future__ import annotations

import dataclasses
import json

import pytest

from data.config import AugmentConfig, DataConfig
from data.tasks import TASKS
from efficientnet.variants import ModelConfig
from flags import rounds
from flags.notices import learns_nothing, notices
from main import MODES
from tests.flags.parsing import describe, parsed
from tests.flags.test_build import ANY_MODE, BALANCE
from training.config import OptimizerConfig, TrainConfig
from training.decay import steps_above
from training.schedule import learning_rate

ITERATE = ("--mode=iterate", "--task_name=digits", "--work_dir=work")


def noticed(*arguments):
    values = parsed(*arguments)
    return notices(values, MODES[values.mode][0](values))


def test_flags_without_meaning_are_noticed_only_when_given():
    train = ("--mode=train", *ANY_MODE["train"])
    assert noticed(*train) == []
    lines = noticed(*train, "--transpose_input=False", "--master=local", "--gcp_project=x", "--use_tpu=False")
    assert lines == [
        "--master is ignored: TensorFlow 2 finds its cluster by --tpu or TF_CONFIG",
        "--transpose_input is ignored: XLA chooses the layout",
        "--gcp_project is ignored: only a TPU has use for it",
    ]
    assert noticed(*train, "--gcp_project=x") == []
    assert noticed(*BALANCE, "--shard_id=3") == [
        "--shard_id is ignored: --mode=balance works on all shards and workers in one run"
    ]


@pytest.mark.parametrize("mode", ANY_MODE)
def test_another_number_of_classes_is_noticed(mode):
    arguments = (*ANY_MODE[mode], f"--mode={mode}", "--num_label_classes=7")
    if "train" in mode:
        arguments += ("--final_base_lr=0.001",)  # the default schedule is one of ImageNet's
    assert noticed(*arguments) == ["--num_label_classes: the network has 7 classes, although imagenet has 1000"]
    assert noticed(*arguments, "--task_name=svhn") == [
        "--num_label_classes: the network has 7 classes, although svhn has 10; the names of its classes are not used"
    ]
    assert noticed(*arguments, "--task_name=svhn", "--num_label_classes=10") == []


def test_of_balance_only_a_task_can_have_other_classes():
    assert noticed(*BALANCE, "--num_label_classes=7") == []
    assert noticed(*BALANCE, "--task_name=imagenet", "--num_label_classes=7") == [
        "--num_label_classes: the network has 7 classes, although imagenet has 1000"
    ]


def test_a_number_that_a_description_says_too_is_not_noticed(tmp_path):
    task = TASKS["digits"]
    folder = describe(tmp_path / "model", ModelConfig("efficientnet-b0", 10, small_image_model=True), 16, task)
    (tmp_path / "task.json").write_text(json.dumps(task.to_json()))
    evaluation = ("--mode=eval", f"--model_dir={folder}", "--num_label_classes=10")
    assert noticed(*evaluation, "--label_data_dir=x") == []
    assert noticed(*evaluation, f"--data_dir={tmp_path}") == []


def test_the_loop_with_another_number_of_classes():
    arguments = (
        *ITERATE, "--task_name=svhn", "--label_data_dir=a", "--unlabel_data_dir=b", "--num_label_classes=7",
        "--rounds=efficientnet-b0:4", "--final_base_lr=0.001",
    )  # fmt: skip
    (first,) = rounds.iterate_config(parsed(*arguments)).rounds
    assert (first.predict.model.num_classes, first.balance.num_classes, first.student.model.num_classes) == (7, 7, 7)
    assert noticed(*arguments) == [
        "--num_label_classes: the network has 7 classes, although svhn has 10; the names of its classes are not used"
    ]


def test_a_student_smaller_than_its_teacher_is_noticed():
    assert noticed(*ITERATE, "--rounds=efficientnet-b2:4,efficientnet-b1:4,efficientnet-b0:4") == [
        "--rounds: round 2's student (efficientnet-b1, 23 blocks, 1280 head channels) is smaller than its teacher "
        "(efficientnet-b2, 23 blocks, 1408 head channels); Noisy Student wants an equal or larger one",
        "--rounds: round 3's student (efficientnet-b0, 16 blocks, 1280 head channels) is smaller than its teacher "
        "(efficientnet-b1, 23 blocks, 1280 head channels); Noisy Student wants an equal or larger one",
    ]
    assert noticed(*ITERATE, "--rounds=efficientnet-b0:4,efficientnet-b1:4") == []


def test_a_student_that_never_sees_labeled_images_is_noticed():
    assert noticed(*ITERATE, "--unlabeled_only", "--rounds=efficientnet-b0:4") == [
        "--unlabeled_only: round 1's student never trains on the labeled images; --finetune would do so after it"
    ]


def optimizer(**changes):
    return OptimizerConfig(**{"train_steps": 5000, "train_batch_size": 64, "num_train_images": 40, **changes})


def a_training(own=True, augment=True, **changes):
    task = dataclasses.replace(TASKS["folder" if own else "svhn"], num_classes=10)
    data = DataConfig(task, "labeled", augment=AugmentConfig(enabled=augment))
    return TrainConfig("student", ModelConfig("efficientnet-b0", 10), data, optimizer(**changes), "model")


def test_a_schedule_that_ends_long_before_the_training_is_noticed():
    small, decayed = learns_nothing(a_training())
    assert small.startswith("--train_batch_size=64 is more than the 40 labeled pictures")
    assert decayed.startswith("the learning rate is below 1 % of its base from step 228 of 5,000 on, ")
    assert "--final_base_lr" in decayed
    assert learns_nothing(a_training(train_batch_size=8, final_base_lr=0.001)) == []
    (line,) = learns_nothing(a_training(train_batch_size=8, final_base_lr=1e-5))
    assert "of 5,000 on" in line


@pytest.mark.parametrize(("final", "steps"), [(None, 5000), (0.001, 800), (1e-6, 800), (None, 20)])
def test_steps_above_a_share_are_those_of_the_schedule(final, steps):
    config = optimizer(train_steps=steps, final_base_lr=final)
    base = config.base_learning_rate * config.train_batch_size / 256
    rates = [float(learning_rate(step, config)) for step in range(steps)]
    above = steps_above(0.01, config)
    assert rates[above - 1] >= 0.01 * base
    assert above == steps or max(rates[above:]) < 0.01 * base


def test_what_else_teaches_little_is_noticed_of_one_s_own_pictures():
    good = {"train_batch_size": 8, "final_base_lr": 0.001}
    (line,) = learns_nothing(a_training(augment=False, **good))
    assert line.startswith("the pictures are not augmented")
    (line,) = learns_nothing(a_training(unlabel_ratio=4.0, **good))
    assert line.startswith("the teacher's labels are hard")
    assert learns_nothing(a_training(unlabel_ratio=4.0, teacher_softmax_temp=1.0, **good)) == []
    assert learns_nothing(a_training(own=False, augment=False, unlabel_ratio=4.0, **good)) == []
