"""Every preset parses and gives a network, a schedule and input shapes; the recipes' numbers; the released command lines."""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest
import tensorflow as tf

import main
from efficientnet.model import EfficientNet
from efficientnet.variants import VARIANTS
from flags import build, rounds
from flags.notices import notices
from tests.flags.parsing import PRESETS, ROOT, parsed
from training import schedule

# What a preset leaves to the command line.
FOLDERS = ("--label_data_dir=labeled", "--model_dir=model")
GIVEN = {
    "student_online": ("--unlabel_data_dir=images", "--teacher_model_path=teacher/model.ckpt"),
    "student_offline": ("--unlabel_data_dir=balanced/data",),
    "student": ("--unlabel_data_dir=balanced/data",),
    "round": ("--unlabel_data_dir=balanced/data",),
    "finetune": ("--init_model_path=round/model",),
}
NAMES = sorted(path.stem for path in PRESETS.glob("*.flags"))


def iterating(name):
    given = () if name == "digits" else ("--label_data_dir=labeled", "--unlabel_data_dir=images", "--num_shards=64")
    return rounds.iterate_config(parsed(f"--flagfile={PRESETS / name}.flags", "--work_dir=work", *given))


def trainings(name):
    """The trainings that a preset describes."""
    flagfile = f"--flagfile={PRESETS / name}.flags"
    if "--mode=iterate" in (PRESETS / f"{name}.flags").read_text():
        config = iterating(name)
        assert notices(parsed(flagfile), config) == []
        trained = [config.teacher]
        for this in config.rounds:
            trained += [this.student, this.finetune] if this.finetune else [this.student]
        return trained
    given = next((flags for part, flags in GIVEN.items() if part in name), ())
    return [build.train_config(parsed(flagfile, *FOLDERS, *given))]


def test_every_experiment_has_its_preset():
    imagenet = [f"imagenet_b{number}_{who}" for number in range(8) for who in ("student", "teacher")]
    l2 = ["imagenet_l2", "imagenet_l2_finetune", "imagenet_l2_round1", "imagenet_l2_round2", "imagenet_l2_round3"]
    assert {"digits", "svhn_teacher", "svhn_student_online", "svhn_student_offline", *imagenet, *l2} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_how_to_run_it_and_what_comes_out(name):
    comment = (PRESETS / f"{name}.flags").read_text().split("\n--")[0]
    assert all(re.search(rf"^#   {word}s? ", comment, re.M) for word in ("command", "hardware", "time", "result"))
    assert f"--flagfile=flags/presets/{name}.flags" in comment
    assert all(len(line) <= 130 for line in comment.splitlines())


# What was published: the paper's tables and the release's (docs/release.md, section 10).
PUBLISHED = {
    **{
        f"imagenet_b{number}_teacher": each
        for number, each in enumerate(["77.3", "79.2", "80.0", "81.7", "83.2", "84.0", "84.5", "85.0"])
    },
    **{
        f"imagenet_b{number}_student": each
        for number, each in enumerate(["78.8", "81.5", "82.4", "84.1", "85.3", "86.1", "86.4", "86.9"])
    },
    "imagenet_l2": "87.6, 88.1, 88.4",
    "imagenet_l2_finetune": "87.6, 88.1, 88.4",
    "imagenet_l2_round1": "87.6",
    "imagenet_l2_round2": "88.1",
    "imagenet_l2_round3": "88.4",
    "svhn_teacher": "97.9",
    "svhn_student_online": "98.6 +- 0.1",
    "svhn_student_offline": "98.6 +- 0.1",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_s_commands_are_command_lines_and_its_result_is_the_published_one(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    comment = (PRESETS / f"{name}.flags").read_text().split("\n--")[0]
    commands = re.findall(r"python main\.py (.*?)(?=\s{2,}|$)", re.sub(r" *\\\n# +", " ", comment), re.M)
    assert any(f"--flagfile=flags/presets/{name}.flags" in command for command in commands)
    for command in commands:
        values = parsed(*shlex.split(command.replace("=N ", "=64 ")))
        main.MODES[values.mode][0](values)
    (result,) = re.findall(r"^#   result +(.*)$", comment, re.M)
    assert name == "digits" or result.startswith(PUBLISHED[name] + " %")


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_gives_network_schedule_and_shapes(name):
    for config in trainings(name):
        assert config.model.blocks()
        assert config.data.image_size >= 16
        optimizer = config.optimizer
        assert 0 < optimizer.steps_to_train <= optimizer.train_steps
        if optimizer.num_train_images:  # else the trainer counts them
            peak = optimizer.base_learning_rate * optimizer.train_batch_size / 256
            first, last = (float(schedule.learning_rate(step, optimizer)) for step in (0, optimizer.steps_to_train - 1))
            assert 0 < last < peak / 5
            assert first == 0 if optimizer.first_schedule_step == 0 else first < peak / 5


@pytest.mark.parametrize("name", ["digits", "svhn_student_online", "imagenet_b0_student"])
def test_a_preset_s_networks_are_built(name):
    for config in trainings(name):
        size = config.data.image_size
        with tf.Graph().as_default():  # shapes alone, no weights
            logits = EfficientNet(config.model)(tf.zeros([2, size, size, 3]))
        assert logits.shape == [2, config.model.num_classes]


def test_the_digits_teacher_and_student():
    teacher, student = trainings("digits")
    table = [
        (each.model.width_coefficient, each.model.depth_coefficient, each.data.augment.enabled)
        for each in (teacher, student)
    ]
    assert table == [(0.5, 0.3, False), (0.75, 0.3, True)]
    for config, expected in (
        (teacher, (800, 20, 0.01, 0.001, 0.0)),
        (student, (1400, 12, 0.02, 0.003, 4.0)),
    ):
        optimizer = config.optimizer
        assert expected == (
            optimizer.train_steps,
            optimizer.train_batch_size,
            optimizer.base_learning_rate,
            optimizer.final_base_lr,
            optimizer.unlabel_ratio,
        )


def test_every_flag_file_beside_the_presets_is_named_by_one():
    named = re.findall(r"(rounds/\S+\.flags)", "".join(path.read_text() for path in PRESETS.glob("*.flags")))
    assert {f"rounds/{path.name}" for path in (PRESETS / "rounds").iterdir()} == set(named)


# Recipes: unlabel_ratio, randaug_mag, steps.
IMAGENET = {
    "b0": (1, None, 218948), "b1": (3, None, 218948), "b2": (3, 6, 218948), "b3": (3, 12, 218948),
    "b4": (3, 15, 218948), "b5": (3, 18, 109474), "b6": (3, 24, 109474), "b7": (3, 27, 109474),
}  # fmt: skip


@pytest.mark.parametrize("variant", IMAGENET)
def test_imagenet_s_table(variant):
    ratio, magnitude, steps = IMAGENET[variant]
    (student,), (teacher,) = trainings(f"imagenet_{variant}_student"), trainings(f"imagenet_{variant}_teacher")
    assert student.model == teacher.model
    assert student.model.name == f"efficientnet-{variant}"
    assert student.data.image_size == VARIANTS[student.model.name].pixels
    assert (student.optimizer.unlabel_ratio, teacher.optimizer.unlabel_ratio) == (ratio, 0)
    assert (student.optimizer.train_steps, teacher.optimizer.train_steps) == (steps, 109474)
    assert student.optimizer.train_batch_size == 4096
    assert student.optimizer.teacher_softmax_temp == 1
    assert student.data.augment.enabled is (magnitude is not None)
    assert magnitude is None or student.data.augment.magnitude == magnitude


def test_svhn_s_recipe():
    (online,), (offline,), (teacher,) = map(trainings, ("svhn_student_online", "svhn_student_offline", "svhn_teacher"))
    for config in (online, offline, teacher):
        assert (config.data.image_size, config.data.small_image_model) == (32, True)
        assert (config.optimizer.train_batch_size, config.optimizer.weight_decay) == (128, 1e-4)
        assert config.optimizer.final_base_lr == 0.0002
        assert (config.data.augment.layers, config.data.augment.magnitude) == (2, 5)
    assert [each.optimizer.unlabel_ratio for each in (online, offline, teacher)] == [5, 5, 0]
    assert (online.teacher is not None, offline.teacher) == (True, None)
    assert online.data.teacher_image_size == 32


def test_the_paper_s_three_rounds_of_l2():
    students = [trainings(f"imagenet_l2_round{number}")[0] for number in (1, 2, 3)]
    (finetune,) = trainings("imagenet_l2_finetune")
    assert [each.optimizer.unlabel_ratio for each in students] == [14, 14, 28]
    for config in (*students, finetune):
        epochs = config.optimizer.train_steps * 2048 / 1281167
        assert config.optimizer.train_batch_size == 2048
        assert epochs == pytest.approx(350, abs=0.01)
        assert (config.model.dropout_rate, config.model.depth_drop_rate) == (0.5, 0.2)
    assert {config.data.augment.magnitude for config in students} == {27}
    assert finetune.optimizer.steps_to_train * 2048 / 1281167 == pytest.approx(1.5, abs=0.01)
    assert finetune.data.remove_aug
    assert finetune.data.image_size > students[0].data.image_size
    assert finetune.model.fix_layer_num == 28
    assert finetune.init_path == "round/model"


def test_the_paper_s_three_rounds_of_l2_in_one_command():
    """The same trainings as stage by stage."""
    config = iterating("imagenet_l2")
    assert (config.teacher.model.name, config.teacher.data.image_size) == ("efficientnet-b7", 600)
    assert [this.predict.image_size for this in config.rounds] == [600, 800, 800]
    assert [this.predict.checkpoint for this in config.rounds] == [
        "work/teacher", "work/round1/finetuned", "work/round2/finetuned"
    ]  # fmt: skip
    assert {(this.balance.num_image, this.balance.min_threshold) for this in config.rounds} == {(130000, 0.3)}
    (alone,) = trainings("imagenet_l2_finetune")
    for number, this in enumerate(config.rounds, start=1):
        (student,) = trainings(f"imagenet_l2_round{number}")
        places = {"label_data_dir": "", "unlabel_data_dir": ""}
        for ours, expected in ((this.student, student), (this.finetune, alone)):
            assert ours.model == expected.model
            assert dataclasses.replace(ours.data, **places) == dataclasses.replace(expected.data, **places)
        assert this.student.optimizer == student.optimizer
        # The temperature of soft labels has no meaning without unlabeled images.
        assert dataclasses.replace(this.finetune.optimizer, teacher_softmax_temp=-1.0) == alone.optimizer


# --- command lines of the release ------------------------------------------------------------------------------------

SVHN_TRAINING = """
    --model_name=efficientnet-b0 --use_tpu=False --use_bfloat16=False --task_name=svhn --mode=train --train_batch_size=128
    --iterations_per_loop=1000 --save_checkpoints_steps=1000 --unlabel_ratio=5 --teacher_softmax_temp=1 --augment_name=v1
    --randaug_mag=5 --final_base_lr=0.0002 --weight_decay=1e-4 --label_data_dir=./data/svhn/proc --model_dir=./ckpt/exp_1
"""
PREDICTION = """
    --model_name=efficientnet-b0 --use_tpu=False --use_bfloat16=False --mode=predict --predict_ckpt_path=ckpt/model.ckpt
    --worker_id=0 --num_shards=128 --shard_id=77 --data_type=tfrecord --info_dir=./info
"""
FILTER = """
    --mode=balance --input_dir=./data/unlabeled --file_prefix=extra --info_dir=./info --prediction_dir=./predict_label
    --prelim_stats_dir=./prelim_stats --output_dir=./filter_data --num_shards=128 --shard_id=127 --min_threshold=0.3 --task=0
"""


def released(line, *more):
    return parsed(*shlex.split(line.replace("\n", " ")), *more)


def test_released_svhn_training_with_the_teacher_online():
    more = ("--teacher_model_name=efficientnet-b0", "--teacher_model_path=ckpt/model.ckpt", "--unlabel_data_dir=./u")
    config = build.train_config(released(SVHN_TRAINING, *more))
    assert config.evaluation is None
    assert config.teacher == config.model
    assert config.device.use_bfloat16 is False


def test_released_svhn_training_offline():
    config = build.train_config(released(SVHN_TRAINING, "--unlabel_data_dir=./data/svhn/predict/filter_data/data"))
    assert (config.teacher, config.data.unlabel_data_dir) == (None, "./data/svhn/predict/filter_data/data")


def test_released_imagenet_training():
    line = """--use_tpu=False --use_bfloat16=False --mode=train --model_name=efficientnet-b4 --label_data_dir=l --model_dir=m
    --unlabel_data_dir=u --teacher_model_name=efficientnet-b4 --teacher_model_path=t --teacher_softmax_temp=1
    --unlabel_ratio=3 --train_ratio=2 --augment_name=v1 --randaug_mag=15"""
    config = build.train_config(released(line))
    assert (config.optimizer.train_steps, config.data.teacher_image_size) == (218948, 380)


def test_released_evaluations():
    line = (
        "--model_name=efficientnet-b0 --use_tpu=False --use_bfloat16=False --mode=eval --label_data_dir=l --model_dir=m"
    )
    assert build.evaluate_config(released(line)).data.split == "validation"
    assert build.evaluate_config(released(line, "--task_name=svhn")).data.split == "test"


def test_released_predictions_and_reassignment():
    config = build.predict_config(
        released(PREDICTION, "--file_prefix=extra", "--label_data_dir=./u", "--output_dir=./p")
    )
    assert (config.input_dir, config.shard_ids, config.model.num_classes) == ("./u", (77,), 1000)
    more = (
        "--task_name=svhn",
        "--file_prefix=train",
        "--label_data_dir=./f",
        "--output_dir=./r",
        "--reassign_label=True",
    )
    config = build.predict_config(released(PREDICTION, *more))
    assert (config.input_dir, config.reassign_label, config.model.num_classes) == ("./f", True, 10)


@pytest.mark.parametrize(("classes", "num_image"), [(10, 53113), (1000, 130000)])
@pytest.mark.parametrize("only_get_stats", [0, 1])
def test_released_filters(classes, num_image, only_get_stats):
    values = released(
        FILTER, f"--num_label_classes={classes}", f"--num_image={num_image}", f"--only_get_stats={only_get_stats}"
    )
    config = build.balance_config(values)
    assert (config.num_classes, config.num_image, config.only_get_stats) == (classes, num_image, bool(only_get_stats))
    assert [line.split()[0] for line in notices(values, config)] == [
        "--prelim_stats_dir", "--task", "--shard_id", "--info_dir"
    ]  # fmt: skip
