"""From flags to configs: what each mode gets, and the message of every rule between flags."""

from __future__ import annotations

import dataclasses
import json

import pytest

from data.config import AugmentConfig, SplitConfig, TeacherNoise
from data.tasks import TASKS
from efficientnet.variants import ModelConfig
from flags import build
from main import MODES
from runtime.errors import UserError
from tests.flags.parsing import describe, parsed

IMAGENET = ("--label_data_dir=labeled", "--model_dir=model")
DIGITS = ("--task_name=digits", *IMAGENET)
ONLINE = ("--teacher_model_name=efficientnet-b2", "--teacher_model_path=teacher/model.ckpt", "--unlabel_ratio=3")
PREDICT = ("--mode=predict", "--predict_ckpt_path=model.ckpt", "--output_dir=out")
BALANCE = ("--mode=balance", "--input_dir=images", "--prediction_dir=predictions", "--output_dir=out")


def train(*arguments):
    return build.train_config(parsed(*arguments))


def evaluated(*arguments):
    return build.evaluate_config(parsed("--mode=eval", *arguments))


def message_of(builder, *arguments):
    with pytest.raises(UserError) as caught:
        builder(parsed(*arguments))
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- training -------------------------------------------------------------------------------------------------------


def test_the_release_s_defaults_give_its_imagenet_training():
    config = train(*IMAGENET)
    assert config.model == ModelConfig("efficientnet-b0", 1000)
    assert (config.data.image_size, config.data.small_image_model) == (224, False)
    assert config.optimizer.train_steps == 109474
    assert config.optimizer.num_train_images == 1281167
    assert config.optimizer.unlabel_ratio == 0
    assert config.data.augment.enabled is config.data.unlabeled_augment.enabled is False
    assert (config.evaluation.split, config.evaluation.num_images) == ("validation", None)
    assert config.device.use_bfloat16 is None
    assert config.teacher is None


@pytest.mark.parametrize(("mode", "evaluates"), [("train", False), ("train_and_eval", True)])
def test_what_each_mode_does(mode, evaluates):
    config = train(f"--mode={mode}", *IMAGENET)
    assert (config.evaluation is not None, config.title) == (evaluates, mode)


def test_what_eval_gets():
    config = evaluated("--use_averages=False", "--eval_batch_size=3", "--input_image_size=64", *IMAGENET)
    assert (config.title, config.model, config.checkpoint) == ("eval", ModelConfig("efficientnet-b0", 1000), "model")
    assert config.data == SplitConfig(TASKS["imagenet"], "labeled", "validation", None, 3)
    assert (config.image_size, config.use_averages) == (64, False)


def test_svhn_implies_pixels_network_and_classes():
    config = train("--task_name=svhn", *IMAGENET)
    assert config.model.num_classes == 10
    assert config.model.small_image_model
    assert config.model.mean == (0.4376821, 0.4437697, 0.47280442)
    assert (config.data.image_size, config.data.small_image_model) == (32, True)
    assert (config.evaluation.split, config.optimizer.num_train_images) == ("test", 69257)


def test_the_ratio_multiplies_the_steps():
    assert train("--train_steps=101", "--train_ratio=2.5", *IMAGENET).optimizer.train_steps == 252
    config = train("--train_steps=101", "--train_ratio=2.5", "--train_last_step_num=11", *IMAGENET).optimizer
    assert (config.train_steps, config.steps_to_train, config.first_schedule_step) == (252, 27, 225)


def test_the_variant_s_pixels_give_way_to_the_flag():
    assert train("--model_name=efficientnet-b7", *IMAGENET).data.image_size == 600
    assert train("--model_name=efficientnet-b7", "--input_image_size=475", *IMAGENET).data.image_size == 475


def test_augmentation_of_each_stream():
    config = train("--augment_name=v1", "--randaug_mag=5", "--nocutout_op", *IMAGENET)
    assert config.data.augment == config.data.unlabeled_augment == AugmentConfig(True, 2, 5.0, False)
    config = train("--augment_name=v1", "--unl_aug=none", *IMAGENET)
    assert (config.data.augment.enabled, config.data.unlabeled_augment.enabled) == (True, False)
    config = train("--unl_aug=v1", "--augment_name=", *IMAGENET)
    assert (config.data.augment.enabled, config.data.unlabeled_augment.enabled) == (False, True)


def test_bfloat16_is_decided_by_the_hardware_unless_flagged():
    assert train("--use_bfloat16=False", *IMAGENET).device.use_bfloat16 is False
    assert train("--use_bfloat16", *IMAGENET).device.use_bfloat16 is True


def test_a_prepared_folder_stands_for_its_parts(tmp_path):
    task = dataclasses.replace(TASKS["folder"], num_classes=3, num_images={"train": 7}, class_names=("a", "b", "c"))
    (tmp_path / "task.json").write_text(json.dumps(task.to_json()))
    config = train("--task_name=folder", f"--data_dir={tmp_path}", "--model_dir=model")
    assert config.data.task == task
    assert config.data.label_data_dir == f"{tmp_path}/labeled"
    assert config.data.unlabel_data_dir == ""
    assert (config.model.num_classes, config.optimizer.num_train_images) == (3, 7)
    config = train("--task_name=folder", f"--data_dir={tmp_path}", "--model_dir=model", *ONLINE)
    assert config.data.unlabel_data_dir == f"{tmp_path}/unlabeled"


def test_a_prepared_folder_says_which_task_it_is(tmp_path):
    (tmp_path / "task.json").write_text(json.dumps(TASKS["svhn"].to_json()))
    arguments = (f"--data_dir={tmp_path}", "--model_dir=model")
    assert train(*arguments).data.task == TASKS["svhn"]
    assert evaluated(*arguments).model.num_classes == 10
    assert "describes the task 'svhn'" in message_of(build.train_config, *arguments, "--task_name=imagenet")


def test_images_of_an_epoch_are_counted_where_nobody_says_them():
    assert train(*DIGITS).optimizer.num_train_images == 0
    assert train(*DIGITS, "--num_train_images=40").optimizer.num_train_images == 40


def test_how_many_images_to_evaluate_is_the_split_s_own_flag():
    both = ("--num_eval_images=11", "--num_test_images=22")
    assert train(*both, *IMAGENET).evaluation.num_images == 11
    assert train(*both, "--eval_split=test", *IMAGENET).evaluation.num_images == 22


def test_a_released_online_teacher_is_the_variant_at_its_native_size():
    config = train(*ONLINE, "--unlabel_data_dir=images", "--fix_layer_num=3", *IMAGENET)
    assert config.teacher == ModelConfig("efficientnet-b2", 1000)
    assert config.data.teacher_image_size == 260
    assert config.teacher_path == "teacher/model.ckpt"


def test_noise_is_switched_off_for_unlabeled_images_alone():
    more = ("--unlabel_data_dir=images", "--augment_name=v1", *IMAGENET)
    config = train(*ONLINE, *more)
    assert (config.unlabeled_dropout, config.unlabeled_stochastic_depth, config.data.noise_teacher) == (
        True,
        True,
        False,
    )
    config = train(*ONLINE, *more, "--unl_aug=none", "--nounl_dropout", "--nounl_stochastic_depth", "--noise_teacher")
    assert (config.data.augment.enabled, config.data.unlabeled_augment.enabled) == (True, False)
    assert (config.unlabeled_dropout, config.unlabeled_stochastic_depth, config.data.noise_teacher) == (
        False,
        False,
        True,
    )
    assert (config.model.dropout_rate, config.model.stochastic_depth_rate) == (None, None)


def test_a_noised_teacher_predicts():
    more = (*PREDICT, "--task_name=svhn", "--unlabel_data_dir=images")
    assert build.predict_config(parsed(*more)).noise is None
    config = build.predict_config(parsed(*more, "--noise_teacher", "--augment_name=v1", "--randaug_mag=5", "--seed=3"))
    assert config.noise == TeacherNoise(AugmentConfig(magnitude=5), flip=False, seed=3)


def test_a_student_starts_from_its_online_teacher():
    more = ("--unlabel_data_dir=images", "--model_name=efficientnet-b2", *IMAGENET)
    assert train(*ONLINE, *more).init_path == ""
    config = train(*ONLINE, *more, "--student_start=teacher", "--unlabeled_only", "--input_image_size=64")
    assert (config.init_path, config.optimizer.unlabeled_only) == ("teacher/model.ckpt", True)


def test_an_online_teacher_of_small_images_sees_what_the_student_sees():
    assert train(*ONLINE, "--unlabel_data_dir=images", "--task_name=svhn", *IMAGENET).data.teacher_image_size == 32


def test_an_online_teacher_of_ours_describes_itself(tmp_path):
    narrow = ModelConfig("efficientnet-b2", 10, small_image_model=True, width_coefficient=0.5)
    folder = describe(tmp_path / "teacher", narrow, 16, TASKS["digits"])
    flags = ("--teacher_model_name=efficientnet-b2", "--unlabel_ratio=3", "--unlabel_data_dir=images", *DIGITS)
    for path in (folder, f"{folder}/model.ckpt-7"):
        config = train(f"--teacher_model_path={path}", *flags)
        assert (config.teacher, config.data.teacher_image_size) == (narrow, 16)
    assert message_of(
        build.train_config, f"--teacher_model_path={folder}", *flags, "--teacher_model_name=efficientnet-b1"
    ) == (f"--teacher_model_name: got efficientnet-b1, but {folder}/model.json says efficientnet-b2")
    assert "says 10 classes, expected the student's 1000" in message_of(
        build.train_config, f"--teacher_model_path={folder}", *flags[:3], *IMAGENET
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label_data_dir=x",), "--model_dir is missing: --mode=train_and_eval needs it, the folder of checkpoints"),
        (
            ("--model_dir=x",),
            "--label_data_dir is missing: --mode=train_and_eval needs it, the labeled shards; or give --data_dir",
        ),
        (
            ("--profile_steps=9,9", *IMAGENET),
            "--profile_steps: got '9,9', expected FIRST,LAST with FIRST below LAST, e.g. 100,110",
        ),
        (("--task_name=cifar", *IMAGENET), "--task_name: got 'cifar', expected one of imagenet, svhn, digits, folder"),
        (
            ("--task_name=folder", *IMAGENET),
            "--task_name: folder has no classes of its own; give --data_dir, a folder that --mode=prepare wrote",
        ),
        (
            ("--model_name=resnet-50", *IMAGENET),
            "--model_name: got 'resnet-50', expected one of efficientnet-b0, efficientnet-b1, efficientnet-b2, "
            "efficientnet-b3, efficientnet-b4, efficientnet-b5, efficientnet-b6, efficientnet-b7, efficientnet-l2",
        ),
        (
            ("--num_label_classes=11", *DIGITS),
            "--num_label_classes: got 11, but the task digits has 10 classes; leave the flag out, or give the "
            "--task_name that is meant",
        ),
        (
            ("--unlabel_ratio=2", *IMAGENET),
            "--unlabel_ratio: got 2 without unlabeled images; give --unlabel_data_dir (balanced records, or plain images "
            "with --teacher_model_name and --teacher_model_path)",
        ),
        (
            ("--unlabel_data_dir=x", *IMAGENET),
            "--unlabel_data_dir is given with --unlabel_ratio=0; give the ratio, or leave the folder out",
        ),
        (
            ("--teacher_model_name=efficientnet-b0", "--unlabel_ratio=1", *IMAGENET),
            "--teacher_model_name is given without --teacher_model_path; an online teacher needs both",
        ),
        (
            ("--teacher_model_path=x", "--unlabel_ratio=1", *IMAGENET),
            "--teacher_model_path is given without --teacher_model_name; an online teacher needs both",
        ),
        (
            (*ONLINE, "--unlabel_data_dir=images", "--student_start=teacher", *IMAGENET),
            "--student_start=teacher: the student (efficientnet-b0, 16 blocks, 1280 head channels) is of another architecture "
            "than its teacher (efficientnet-b2, 23 blocks, 1408 head channels); give both the same model and coefficients, or "
            "pass --student_start=scratch",
        ),
        (
            ("--unlabel_ratio=1", "--unlabel_data_dir=balanced", "--student_start=teacher", *IMAGENET),
            "--student_start=teacher is given without an online teacher (--teacher_model_name, --teacher_model_path); where the "
            "teacher's labels are on disk, pass --init_model --init_model_path=TEACHER",
        ),
        (
            (
                *ONLINE,
                "--unlabel_data_dir=images",
                "--student_start=teacher",
                "--init_model",
                "--init_model_path=x",
                *IMAGENET,
            ),
            "--student_start=teacher is given with --init_model; only one of them can be the start",
        ),
        (
            ("--unlabel_ratio=1", "--unlabel_data_dir=balanced", "--noise_teacher", *IMAGENET),
            "--noise_teacher is given without an online teacher (--teacher_model_name, --teacher_model_path); where the labels "
            "are on disk, it belongs to the --mode=predict that makes them",
        ),
        (
            ("--unlabeled_only", *IMAGENET),
            "--unlabeled_only is given with --unlabel_ratio=0, which leaves nothing to train on; give the ratio, or leave it out",
        ),
        (
            ("--teacher_model_name=b0", "--teacher_model_path=x", *IMAGENET),
            "--teacher_model_name: got 'b0', expected one of efficientnet-b0, efficientnet-b1, efficientnet-b2, "
            "efficientnet-b3, efficientnet-b4, efficientnet-b5, efficientnet-b6, efficientnet-b7, efficientnet-l2",
        ),
        (
            (*ONLINE[:2], *IMAGENET),
            "--teacher_model_name is given with --unlabel_ratio=0; give the ratio, or leave the teacher out",
        ),
        (
            ("--init_model", *IMAGENET),
            "--init_model is given without --init_model_path; give the checkpoint to start from",
        ),
        (
            ("--init_model_path=x", *IMAGENET),
            "--init_model_path is given without --init_model; give both, or leave both out",
        ),
        (
            ("--reset_head", *IMAGENET),
            "--reset_head is given without --init_model; there is no classifier to leave out",
        ),
        (("--augment_name=v2", *IMAGENET), "--augment_name: got 'v2', expected v1 (RandAugment), none"),
        (("--unl_aug=v2", *IMAGENET), "--unl_aug: got 'v2', expected v1 (RandAugment), none or default"),
        (
            ("--train_steps=3", "--train_ratio=0.1", *IMAGENET),
            "--train_ratio: got 0.1, which leaves none of --train_steps=3; give a larger one",
        ),
        (
            ("--train_steps=30", "--train_ratio=0.1", "--train_last_step_num=3", *IMAGENET),
            "--train_ratio: got 0.1, which leaves none of --train_last_step_num=3; give a larger one",
        ),
        (
            ("--train_steps=10", "--train_ratio=2", "--train_last_step_num=11", *IMAGENET),
            "--train_last_step_num: got 11, expected at most 10, as --train_steps says (--train_ratio multiplies both)",
        ),
        (
            ("--final_base_lr=0.02", *IMAGENET),
            "--final_base_lr: got 0.02, expected less than --base_learning_rate, which is 0.016",
        ),
        (
            ("--fix_layer_num=17", *IMAGENET),
            "--fix_layer_num: got 17, expected at most 16, the blocks there are",
        ),
        (
            ("--input_image_size=224", *DIGITS),
            "--input_image_size: got 224, but images of digits enter as they are stored, 16 pixels wide; leave the flag "
            "out",
        ),
    ],
)
def test_what_does_not_fit_together_in_a_training(arguments, message):
    assert message_of(build.train_config, *arguments) == message


def test_eval_does_not_ask_for_what_only_training_needs():
    of_training = ("--unlabel_data_dir=x", "--teacher_model_name=efficientnet-b0", "--noise_teacher", "--reset_head")
    assert evaluated(*of_training, "--train_steps=3", "--train_ratio=0.1", *IMAGENET) == evaluated(*IMAGENET)


# --- checkpoints that describe themselves ---------------------------------------------------------------------------

NARROW = ModelConfig("efficientnet-b1", 10, (0.1, 0.1, 0.1), (0.2, 0.2, 0.2), True, 0.5, 0.75)


def test_eval_takes_network_and_task_from_the_model_dir(tmp_path):
    folder = describe(tmp_path, NARROW, 16, TASKS["digits"])
    config = evaluated(f"--model_dir={folder}", "--label_data_dir=x")
    assert (config.model, config.image_size, config.data.task) == (NARROW, 16, TASKS["digits"])
    assert config.data.split == "test"


def test_a_training_is_what_its_flags_say_whatever_lies_in_its_folder(tmp_path):
    folder = describe(tmp_path, NARROW, 16, TASKS["digits"])
    assert train(f"--model_dir={folder}", "--label_data_dir=x").model == ModelConfig("efficientnet-b0", 1000)


def test_predict_and_export_take_the_network_from_beside_the_checkpoint(tmp_path):
    folder = describe(tmp_path, NARROW, 16, TASKS["digits"])
    path = f"--predict_ckpt_path={folder}/model.ckpt-5"
    config = build.predict_config(parsed("--mode=predict", path, "--output_dir=out", "--unlabel_data_dir=x"))
    assert (config.model, config.image_size, config.class_names) == (NARROW, 16, tuple("0123456789"))
    exported = build.export_config(parsed("--mode=export", path, "--output_dir=out", "--noexport_tf1"))
    assert (exported.model, exported.image_size, exported.tf1_checkpoint) == (NARROW, 16, False)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "--model_name=efficientnet-b0",
            "--model_name: got efficientnet-b0, but {} says efficientnet-b1; leave the flag out",
        ),
        ("--width_coefficient=1", "--width_coefficient: got 1.0, but {} says 0.5; leave the flag out"),
        ("--depth_coefficient=1", "--depth_coefficient: got 1.0, but {} says 0.75; leave the flag out"),
        ("--nosmall_image_model", "--small_image_model: got False, but {} says True; leave the flag out"),
        ("--num_label_classes=5", "--num_label_classes: got 5, but {} says 10; leave the flag out"),
        (
            "--task_name=imagenet",
            "--task_name: imagenet has 1000 classes, but {} says 10; give the task that the checkpoint was trained on",
        ),
    ],
)
def test_flags_that_contradict_the_checkpoint_s_description(tmp_path, argument, message):
    folder = describe(tmp_path, NARROW, 16, TASKS["digits"])
    text = message_of(
        build.predict_config,
        "--mode=predict",
        f"--predict_ckpt_path={folder}",
        "--output_dir=out",
        "--unlabel_data_dir=x",
        argument,
    )
    assert text == message.format(f"{folder}/model.json")


def test_flags_that_repeat_the_description_are_welcome(tmp_path):
    folder = describe(tmp_path, NARROW, 16, TASKS["digits"])
    same = ("--model_name=efficientnet-b1", "--width_coefficient=0.5", "--num_label_classes=10", "--task_name=digits")
    config = evaluated(f"--model_dir={folder}", "--label_data_dir=x", *same)
    assert config.model == NARROW


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"model": {"name": 1}}'])
def test_a_broken_description_names_its_file(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    message = message_of(build.evaluate_config, "--mode=eval", f"--model_dir={tmp_path}", "--label_data_dir=x")
    assert message.startswith(f"{tmp_path}/model.json: not a network's description (")


def test_a_broken_task_json_names_its_file(tmp_path):
    (tmp_path / "task.json").write_text("{")
    message = message_of(build.train_config, *DIGITS, f"--data_dir={tmp_path}")
    assert message.startswith(f"{tmp_path}/task.json: not a task's description (")
    for change, found in (
        ({"num_classes": "10"}, "num_classes is '10', expected an integer of at least 2"),
        ({"num_classes": 3}, "class_names has 10 names for 3 classes"),
        ({"image_size": "16"}, "image_size is '16', expected an integer of at least 1, or null"),
        ({"mean": [0.5]}, "mean and std need three numbers each, for red, green and blue"),
    ):
        (tmp_path / "task.json").write_text(json.dumps({**TASKS["digits"].to_json(), **change}))
        assert message_of(build.train_config, *DIGITS, f"--data_dir={tmp_path}") == (
            f"{tmp_path}/task.json: not a task's description ({found}); put it right, or prepare the data again"
        )
    (tmp_path / "task.json").write_text(json.dumps(TASKS["svhn"].to_json()))
    assert message_of(build.train_config, *DIGITS, f"--data_dir={tmp_path}") == (
        f"--task_name: got 'digits', but {tmp_path}/task.json describes the task 'svhn'"
    )


def test_a_data_dir_without_a_description_is_no_imagenet(tmp_path):
    assert message_of(build.train_config, f"--data_dir={tmp_path}", "--model_dir=model") == (
        f"--data_dir: there is no {tmp_path}/task.json; give a folder that --mode=prepare wrote, or name the task (--task_name)"
    )
    assert train(f"--data_dir={tmp_path}", "--task_name=imagenet", "--model_dir=model").model.num_classes == 1000


def test_other_classes_than_the_checkpoint_s_are_refused(tmp_path):
    task = dataclasses.replace(TASKS["digits"], class_names=tuple("abcdefghij"))
    model = describe(tmp_path / "model", ModelConfig("efficientnet-b0", 10), 16, TASKS["digits"])
    (tmp_path / "task.json").write_text(json.dumps(task.to_json()))
    assert message_of(build.evaluate_config, "--mode=eval", f"--data_dir={tmp_path}", f"--model_dir={model}") == (
        f"--data_dir: its classes are a, b, c, d, e, ..., but {model}/model.json says 0, 1, 2, 3, 4, ...; give data of the "
        "classes that the checkpoint was trained on"
    )


# --- another number of classes --------------------------------------------------------------------------------------

ANY_MODE = {
    "train": IMAGENET,
    "eval": IMAGENET,
    "train_and_eval": IMAGENET,
    "predict": (*PREDICT, "--unlabel_data_dir=images"),
    "classify": ("--predict_ckpt_path=model.ckpt", "--input_files=a.jpg"),
    "convert": ("--init_model_path=model.ckpt", "--model_dir=model"),
    "export": ("--predict_ckpt_path=model.ckpt", "--output_dir=out"),
}


@pytest.mark.parametrize("mode", ANY_MODE)
@pytest.mark.parametrize("task", ["imagenet", "svhn"])
def test_as_in_the_release_a_flag_sets_the_number_of_classes(mode, task):
    config = MODES[mode][0](parsed(*ANY_MODE[mode], f"--mode={mode}", f"--task_name={task}", "--num_label_classes=7"))
    assert config.model.num_classes == 7
    assert config.model.small_image_model is (task == "svhn")
    described = config.data.task if hasattr(config, "data") else getattr(config, "task", None)
    if described is None:
        assert config.class_names == ()
    else:
        assert (described.name, described.num_classes, described.class_names) == (task, 7, ())


def test_the_number_that_a_task_has_keeps_its_class_names():
    assert train("--task_name=svhn", "--num_label_classes=10", *IMAGENET).data.task == TASKS["svhn"]


def test_an_online_teacher_without_a_description_has_the_flagged_classes_too():
    config = train(*ONLINE, "--unlabel_data_dir=images", "--num_label_classes=7", *IMAGENET)
    assert (config.model.num_classes, config.teacher.num_classes) == (7, 7)


def test_a_checkpoint_of_other_classes_is_used_with_the_same_flags(tmp_path):
    task = train("--task_name=svhn", "--num_label_classes=7", *IMAGENET).data.task
    folder = describe(tmp_path, ModelConfig("efficientnet-b0", 7, task.mean, task.std, True), 32, task)
    arguments = ("--mode=eval", f"--model_dir={folder}", "--label_data_dir=x")
    assert evaluated(*arguments).data.task == task
    assert evaluated(*arguments, "--num_label_classes=7").data.task == task
    assert evaluated(*arguments, "--task_name=svhn", "--num_label_classes=7").data.task == task
    assert message_of(build.evaluate_config, *arguments, "--task_name=svhn") == (
        f"--task_name: svhn has 10 classes, but {folder}/model.json says 7; add --num_label_classes=7"
    )
    assert message_of(build.evaluate_config, *arguments, "--task_name=svhn", "--num_label_classes=8") == (
        f"--num_label_classes: got 8, but {folder}/model.json says 7; leave the flag out"
    )


@pytest.mark.parametrize("mode", [*ANY_MODE, "balance"])
def test_a_task_json_says_how_many_classes_there_are(tmp_path, mode):
    (tmp_path / "task.json").write_text(json.dumps(TASKS["svhn"].to_json()))
    arguments = (*ANY_MODE.get(mode, BALANCE), f"--mode={mode}", f"--data_dir={tmp_path}", "--num_label_classes=7")
    for more in ((), ("--task_name=svhn",)):
        assert message_of(MODES[mode][0], *arguments, *more) == (
            "--num_label_classes: got 7, but the task svhn has 10 classes; leave the flag out, or give the --task_name that "
            "is meant"
        )


# --- predict --------------------------------------------------------------------------------------------------------


def test_a_released_prediction_reads_where_label_data_dir_says():
    config = build.predict_config(parsed(*PREDICT, "--task_name=svhn", "--label_data_dir=proc", "--file_prefix=extra"))
    assert (config.input_dir, config.file_prefix, config.num_shards) == ("proc", "extra", 128)
    assert config.input_flag == "label_data_dir"
    assert build.predict_config(parsed(*PREDICT, "--unlabel_data_dir=u")).input_flag == "unlabel_data_dir"
    assert (config.shard_ids, config.image_size, config.batch_size) == ((0,), 32, 8)


def test_which_shards_to_predict():
    ids = {text: parsed(*PREDICT, "--unlabel_data_dir=x", f"--shard_id={text}") for text in ("7", "0,127,5", "all")}
    assert [build.predict_config(values).shard_ids for values in ids.values()] == [(7,), (0, 127, 5), None]


def test_a_prepared_folder_says_how_many_shards_it_holds(tmp_path):
    (tmp_path / "unlabeled").mkdir()
    for shard in range(3):
        (tmp_path / f"unlabeled/train-{shard:05d}-of-00003").touch()
    arguments = (*PREDICT, f"--data_dir={tmp_path}", "--task_name=imagenet", "--shard_id=2")
    config = build.predict_config(parsed(*arguments))
    assert (config.num_shards, config.input_dir) == (3, f"{tmp_path}/unlabeled")
    assert build.predict_config(parsed(*arguments, "--num_shards=5")).num_shards == 5
    balance = build.balance_config(
        parsed(
            "--mode=balance", f"--data_dir={tmp_path}", "--task_name=imagenet", "--prediction_dir=p", "--output_dir=o"
        )
    )
    assert (balance.num_shards, balance.input_dir) == (3, f"{tmp_path}/unlabeled")
    (tmp_path / "unlabeled/train-00000-of-00007").touch()
    assert message_of(build.predict_config, *arguments) == (
        f"--num_shards is missing: {tmp_path}/unlabeled holds sets of 3 and 7 shards"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mode=predict",), "--predict_ckpt_path is missing: --mode=predict needs it, the teacher's checkpoint"),
        (
            PREDICT,
            "--unlabel_data_dir is missing: --mode=predict needs it, the images to predict on; or give --data_dir",
        ),
        (
            (*PREDICT, "--reassign_label", "--data_dir=.", "--task_name=imagenet"),
            "--unlabel_data_dir is missing: --reassign_label needs it, the balanced records",
        ),
        (
            (*PREDICT[:2], "--unlabel_data_dir=x"),
            "--output_dir is missing: --mode=predict needs it, the folder of the predictions",
        ),
        (
            (*PREDICT, "--unlabel_data_dir=x", "--shard_id=0,128"),
            "--shard_id: got '0,128', expected numbers from 0 to 127 (as --num_shards says), separated by commas, or all",
        ),
        (
            (*PREDICT, "--unlabel_data_dir=x", "--shard_id=-1"),
            "--shard_id: got '-1', expected numbers from 0 to 127 (as --num_shards says), separated by commas, or all",
        ),
        (
            (*PREDICT, "--unlabel_data_dir=x", "--worker_id=2", "--total_replicas=2"),
            "--worker_id: got 2, expected 0 to 1, as --total_replicas says",
        ),
    ],
)
def test_what_does_not_fit_together_in_a_prediction(arguments, message):
    assert message_of(build.predict_config, *arguments) == message


# --- balance, prepare, convert, export ------------------------------------------------------------------------------


def test_the_release_s_filter_knows_classes_without_a_task():
    assert build.balance_config(parsed(*BALANCE, "--num_label_classes=10")).num_classes == 10
    assert build.balance_config(parsed(*BALANCE, "--task_name=svhn")).num_classes == 10
    assert build.balance_config(parsed(*BALANCE, "--task_name=svhn", "--num_label_classes=9")).num_classes == 9
    assert build.balance_config(parsed(*BALANCE)).num_classes == 1000


def test_what_balance_gets():
    config = build.balance_config(
        parsed(*BALANCE, "--upsample=0", "--only_get_stats=1", "--seed=3", "--beam_args=--a=b", "--beam_args=--c")
    )
    assert (config.upsample, config.only_get_stats, config.seed) == (False, True, 3)
    assert config.beam_args == ("--a=b", "--c")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (*BALANCE, "--task_name=digits", "--num_label_classes=9"),
            "--num_label_classes: got 9, but the task digits has 10 classes; leave the flag out, or give the --task_name "
            "that is meant",
        ),
        (
            (*BALANCE, "--min_threshold=0.9", "--max_prob=0.5"),
            "--min_threshold: got 0.9, expected at most --max_prob, which is 0.5",
        ),
        (
            (*BALANCE, "--num_shards=4", "--only_use_num_shards=5"),
            "--only_use_num_shards: got 5, expected at most 4, as --num_shards says",
        ),
        (
            ("--mode=balance", "--prediction_dir=x", "--output_dir=y"),
            "--input_dir is missing: --mode=balance needs it, the images that were predicted on; or give --data_dir",
        ),
        (
            ("--mode=balance", "--input_dir=x", "--output_dir=y"),
            "--prediction_dir is missing: --mode=balance needs it, the folder of the predictions",
        ),
    ],
)
def test_what_does_not_fit_together_in_balance(arguments, message):
    assert message_of(build.balance_config, *arguments) == message


def test_prepare_takes_the_task_s_own_numbers_where_none_are_given():
    config = build.prepare_config(parsed("--mode=prepare", "--task_name=digits", "--data_dir=x"))
    assert (config.num_labeled, config.num_shards, config.seed) == (40, 4, 0)
    config = build.prepare_config(
        parsed("--mode=prepare", "--task_name=digits", "--data_dir=x", "--num_shards=9", "--num_test_images=7")
    )
    assert (config.num_shards, config.num_test_images) == (9, 7)
    assert message_of(build.prepare_config, "--mode=prepare", "--task_name=digits") == (
        "--data_dir is missing: --mode=prepare needs it, the folder to write to"
    )
    given = ("--mode=prepare", "--task_name=folder", "--data_dir=x", "--num_labeled=30")
    assert message_of(build.prepare_config, *given) == (
        "--num_labeled: digits alone draws its labeled images, --task_name=folder has them already; leave the flag out"
    )


def test_a_data_dir_that_is_not_there_is_named(tmp_path):
    for build_config, mode in (
        (build.train_config, "train"),
        (build.evaluate_config, "eval"),
        (build.predict_config, "predict"),
    ):
        arguments = (f"--mode={mode}", f"--data_dir={tmp_path}/typo", f"--model_dir={tmp_path}", "--output_dir=x")
        assert message_of(build_config, *arguments, f"--predict_ckpt_path={tmp_path}") == (
            f"--data_dir: there is no folder {tmp_path}/typo; give one that --mode=prepare wrote"
        )


def test_what_classify_gets(tmp_path):
    task = dataclasses.replace(TASKS["folder"], num_classes=2, class_names=("cat", "dog"))
    folder = describe(tmp_path / "model", ModelConfig("efficientnet-b0", 2), 96, task)
    arguments = ("--mode=classify", f"--predict_ckpt_path={folder}")
    config = build.classify_config(parsed(*arguments, "--input_files=a.jpg", "--input_files=b", "--output_csv=out.csv"))
    assert config.inputs == ("a.jpg", "b")
    assert (config.model.num_classes, config.image_size, config.class_names) == (2, 96, ("cat", "dog"))
    assert (config.output_csv, config.batch_size, config.use_averages) == ("out.csv", 8, True)
    assert "--input_files is missing: --mode=classify needs it" in message_of(build.classify_config, *arguments)
    released = build.classify_config(
        parsed(
            "--mode=classify", "--predict_ckpt_path=b1/model.ckpt", "--model_name=efficientnet-b1", "--input_files=a"
        )
    )
    assert (released.model.num_classes, released.image_size, released.class_names) == (1000, 240, ())
    assert (released.imagenet, config.imagenet) == (True, False)


def test_a_prepared_folder_of_extra_shards_needs_no_prefix(tmp_path):
    (tmp_path / "unlabeled").mkdir()
    (tmp_path / "unlabeled/extra-00000-of-00003").write_bytes(b"")
    arguments = (*PREDICT, "--task_name=svhn", f"--data_dir={tmp_path}")
    config = build.predict_config(parsed(*arguments))
    assert (config.file_prefix, config.num_shards) == ("extra", 3)
    assert build.predict_config(parsed(*arguments, "--file_prefix=train")).file_prefix == "train"
    (tmp_path / "unlabeled/train-00000-of-00003").write_bytes(b"")
    assert build.predict_config(parsed(*arguments)).file_prefix == "train"


def test_data_without_a_test_split_can_be_trained_on_but_not_evaluated(tmp_path):
    task = dataclasses.replace(TASKS["folder"], num_classes=2, eval_split="")
    (tmp_path / "task.json").write_text(json.dumps(task.to_json()))
    arguments = ("--task_name=folder", f"--data_dir={tmp_path}", "--model_dir=model")
    config = train("--mode=train", *arguments)
    assert config.evaluation is None
    for build_config, mode in ((build.train_config, "train_and_eval"), (build.evaluate_config, "eval")):
        assert message_of(build_config, f"--mode={mode}", *arguments) == (
            f"--mode={mode}: the data of --task_name=folder have no test split; prepare them with test images (a folder "
            "test/, or --num_test_images), or pass --mode=train"
        )
    assert train("--eval_split=train", *arguments).evaluation.split == "train"


def test_what_convert_and_export_get():
    config = build.convert_config(parsed("--mode=convert", "--init_model_path=a/model.ckpt", "--model_dir=b"))
    assert (config.checkpoint, config.model_dir, config.image_size) == ("a/model.ckpt", "b", 224)
    assert config.task == TASKS["imagenet"]
    assert "--init_model_path is missing" in message_of(build.convert_config, "--mode=convert", "--model_dir=b")
    arguments = ("--mode=export", "--predict_ckpt_path=a/model.ckpt", "--output_dir=b", "--export_tf1")
    exported = build.export_config(parsed(*arguments, "--use_averages=False"))
    assert (exported.checkpoint, exported.tf1_checkpoint, exported.use_averages) == ("a/model.ckpt", True, False)


def test_a_folder_may_say_that_mirrored_images_are_of_another_class():
    folder = ("--mode=prepare", "--task_name=folder", "--data_dir=data", "--source_dir=pictures")
    assert build.prepare_config(parsed(*folder)).flip is None  # as the pictures tell
    assert build.prepare_config(parsed(*folder, "--flip")).flip is True
    assert build.prepare_config(parsed(*folder, "--noflip")).flip is False
    with pytest.raises(
        UserError, match=r"^--flip is for --task_name=folder; of --task_name=svhn it is known, so leave it out$"
    ):
        build.prepare_config(parsed("--mode=prepare", "--task_name=svhn", "--data_dir=data", "--noflip"))
