"""--rounds and the stages of iterate, all derived before anything runs."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest
from PIL import Image

from data.config import SplitConfig
from data.tasks import TASKS
from efficientnet.variants import ModelConfig
from flags import rounds
from flags.definitions import SCOPES
from flags.kinds import Scope
from flags.notices import notices
from runtime.errors import UserError
from tests.flags.parsing import describe, parsed

ITERATE = ("--mode=iterate", "--task_name=digits", "--work_dir=work")
B0 = ("--model_name=efficientnet-b0", "--unlabel_ratio=4")
B1 = ("--model_name=efficientnet-b1", "--unlabel_ratio=2.5")
TWO = ("--rounds=efficientnet-b0:4", "--rounds=@two.flags")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("two.flags", *B1, "--width_coefficient=0.75", "--train_steps=90", "--num_image=7")


def write(name, *lines):
    """Writes a flag file into the current folder; returns its name."""
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    with open(name, "w") as file:
        file.write("\n".join(lines) + "\n")
    return name


def iterate(*arguments):
    return rounds.iterate_config(parsed(*ITERATE, *arguments), "the command")


def students(*arguments):
    return rounds.read_rounds(parsed(*arguments))


def test_a_model_and_its_ratio():
    first, second, third = students("--rounds=efficientnet-b0:4, efficientnet-b1:2.5", "--rounds=efficientnet-b2:1")
    assert first == ("--rounds: round 1", {"model_name": "efficientnet-b0", "unlabel_ratio": 4.0}, None)
    assert second == ("--rounds: round 2", {"model_name": "efficientnet-b1", "unlabel_ratio": 2.5}, None)
    assert (third.title, third.said["unlabel_ratio"]) == ("--rounds: round 3", 1.0)


def test_a_student_s_flag_file_and_those_of_finetunings():
    write(
        "a,b:4.flags", "# a comment", "", "// another", *B0, "  --noupsample  ", "--beam_args=--x", "--beam_args=--y=z"
    )
    write("own.flags", *B0, "--finetune=seed.flags")
    write("none.flags", *B0, "--finetune=")
    write("seed.flags", "--seed=1", "--remat")
    write("all.flags", "--seed=2")
    given = (
        "--finetune=all.flags",
        "--rounds=efficientnet-b1:1,@a,b:4.flags",
        "--rounds=@own.flags",
        "--rounds=@none.flags",
    )
    first, second, own, none = students(*given)
    assert first.finetune == {"seed": 2}
    assert second == (
        "--rounds: round 2 (@a,b:4.flags)",
        {"model_name": "efficientnet-b0", "unlabel_ratio": 4.0, "upsample": False, "beam_args": ["--x", "--y=z"]},
        {"seed": 2},
    )
    assert own.finetune == {"seed": 1, "remat": True}
    assert none.finetune is None


def test_a_file_counts_from_the_one_that_names_it_else_from_the_current_folder(tmp_path):
    write("lab/preset.flags", "--rounds=efficientnet-b2:1,@parts/student.flags", "--finetune=finetune.flags")
    write("lab/parts/student.flags", *B0, "--flagfile=shared.flags", "--finetune=../other.flags")
    write("lab/finetune.flags", "--seed=1")
    write("lab/other.flags", "--seed=2")
    write("shared.flags", "--dropout_rate=0.3")  # absl counts the path of a --flagfile from the current folder
    for given in (
        ("--flagfile=lab/preset.flags",),
        ("--flagfile", "lab/preset.flags"),
        (f"--flagfile={tmp_path}/lab/preset.flags",),
    ):
        first, second = students(*given)
        assert (first.finetune, second.finetune, second.said["dropout_rate"]) == ({"seed": 1}, {"seed": 2}, 0.3)
    (alone,) = students("--rounds", f"@{tmp_path}/lab/parts/student.flags", "--finetune", "lab/finetune.flags")
    assert alone.finetune == {"seed": 2}
    write("absolute.flags", f"--rounds=@{tmp_path}/lab/parts/student.flags")
    assert students("--flagfile=absolute.flags")[0].finetune == {"seed": 2}


def test_every_stage_has_its_folder():
    config = iterate(*TWO)
    assert config.command == "the command"
    assert config.prepare is not None
    assert (config.prepare.data_dir, config.prepare.num_shards, config.prepare.num_labeled) == ("work/data", 4, 40)
    assert (config.teacher.model_dir, config.teacher.data.label_data_dir) == ("work/teacher", "work/data/labeled")
    teacher = config.teacher
    for number, this in enumerate(config.rounds, start=1):
        folder = f"work/round{number}"
        assert (this.predict.checkpoint, this.predict.model) == (teacher.model_dir, teacher.model)
        assert (this.predict.input_dir, this.predict.output_dir) == ("work/data/unlabeled", f"{folder}/predictions")
        assert (this.predict.num_shards, this.predict.shard_ids) == (4, None)
        assert (this.balance.input_dir, this.balance.num_shards) == ("work/data/unlabeled", 4)
        assert (this.balance.prediction_dir, this.balance.output_dir) == (f"{folder}/predictions", f"{folder}/balanced")
        assert this.student.data.unlabel_data_dir == f"{folder}/balanced/data"
        assert this.student.data.label_data_dir == "work/data/labeled"
        assert this.student.model_dir == f"{folder}/student"
        assert (this.student.teacher, this.student.evaluation) == (
            None,
            SplitConfig(TASKS["digits"], "work/data/labeled"),
        )
        teacher = this.student


def test_teacher_and_students_differ_in_what_the_rounds_say():
    config = iterate(*TWO, "--width_coefficient=0.5", "--train_steps=30", "--num_image=5", "--augment_name=v1")
    networks = [config.teacher, *(this.student for this in config.rounds)]
    assert [each.model.name for each in networks] == ["efficientnet-b0", "efficientnet-b0", "efficientnet-b1"]
    assert [each.model.width_coefficient for each in networks] == [0.5, 0.5, 0.75]
    assert [each.optimizer.train_steps for each in networks] == [30, 30, 90]
    assert [each.optimizer.unlabel_ratio for each in networks] == [0, 4, 2.5]
    assert [this.balance.num_image for this in config.rounds] == [5, 7]
    assert all(each.data.augment.enabled for each in networks)


def test_a_round_says_how_its_labels_are_made():
    write("a.flags", *B0, "--store_top_k=2", "--samples_per_class=0", "--eval_batch_size=3")
    config = iterate("--rounds=@a.flags", "--rounds=efficientnet-b0:4", "--store_top_k=5")
    assert [each.predict.batch_size for each in config.rounds] == [3, 8]
    assert [(each.predict.store_top_k, each.predict.samples_per_class) for each in config.rounds] == [(2, 0), (5, 30)]


def test_each_student_is_finetuned_on_labeled_images_and_then_teaches():
    write("all.flags", "--train_steps=100", "--train_last_step_num=50", "--fix_layer_num=5", "--remove_aug=true")
    write("short.flags", "--train_steps=7")
    write("first.flags", *B0, "--dropout_rate=0.3")
    write("third.flags", *B1, "--finetune=short.flags")
    write("last.flags", *B1, "--finetune=")
    config = iterate(
        "--task_name=svhn", "--label_data_dir=a", "--unlabel_data_dir=b", "--augment_name=v1", "--init_model",
        "--init_model_path=x", "--reset_head", "--width_coefficient=0.5", "--finetune=all.flags",
        "--rounds=@first.flags", "--rounds=efficientnet-b1:2", "--rounds=@third.flags", "--rounds=@last.flags",
    )  # fmt: skip
    first, second, third, last = config.rounds
    student, finetuned = first.student, first.finetune
    assert (finetuned.title, finetuned.model_dir) == ("round 1 finetune", "work/round1/finetuned")
    assert (finetuned.init_path, finetuned.reset_head) == (student.model_dir, False)
    assert dataclasses.replace(finetuned.model, fix_layer_num=-1) == student.model
    assert (finetuned.model.fix_layer_num, finetuned.model.dropout_rate) == (5, 0.3)
    assert (finetuned.data.unlabel_data_dir, finetuned.optimizer.unlabel_ratio) == ("", 0)
    assert (finetuned.data.label_data_dir, finetuned.data.remove_aug) == ("a", True)
    assert (finetuned.optimizer.train_steps, finetuned.optimizer.first_schedule_step) == (100, 50)
    assert (first.outcome, last.outcome) == (finetuned, last.student)
    assert (second.predict.checkpoint, second.predict.model) == (finetuned.model_dir, finetuned.model)
    assert (third.finetune.optimizer.train_steps, third.finetune.model.fix_layer_num) == (7, -1)
    assert (last.finetune, last.predict.checkpoint) == (None, third.finetune.model_dir)


def test_students_start_from_their_teachers_and_pretrain_on_unlabeled_images():
    write("last.flags", *B1, "--student_start=scratch", "--unlabeled_only=false")
    config = iterate(
        "--student_start=teacher", "--unlabeled_only", f"--finetune={write('finetune.flags', '--train_steps=10')}",
        "--rounds=efficientnet-b0:4,efficientnet-b0:4,@last.flags",
    )  # fmt: skip
    assert (config.teacher.init_path, config.teacher.optimizer.unlabeled_only) == ("", False)
    starts = [this.student.init_path for this in config.rounds]
    assert starts == ["work/teacher", "work/round1/finetuned", ""]
    assert [this.student.optimizer.unlabeled_only for this in config.rounds] == [True, True, False]
    assert {this.finetune.optimizer.unlabeled_only for this in config.rounds} == {False}
    assert [this.finetune.init_path for this in config.rounds] == [this.student.model_dir for this in config.rounds]


def test_teachers_are_noised_as_their_round_says():
    write("first.flags", *B0, "--augment_name=v1", "--randaug_mag=9")
    write("second.flags", *B0, "--noise_teacher=false")
    config = iterate(
        "--noise_teacher", "--nounl_dropout", "--randaug_mag=3", f"--finetune={write('finetune.flags', '--train_steps=10')}",
        "--rounds=@first.flags", "--rounds=@second.flags",
    )  # fmt: skip
    first, second = config.rounds
    assert (first.predict.noise.augment.enabled, first.predict.noise.augment.magnitude) == (True, 9)
    assert second.predict.noise is None
    assert [this.student.unlabeled_dropout for this in config.rounds] == [False, False]
    assert not any(each.data.noise_teacher for each in (config.teacher, first.student, first.finetune))


def test_a_finetuned_network_predicts_at_its_own_size(tmp_path):
    more = ("--task_name=imagenet", "--label_data_dir=a", "--unlabel_data_dir=b", "--input_image_size=64")
    write("larger.flags", "--input_image_size=96")
    config = iterate(*more, "--finetune=larger.flags", "--rounds=efficientnet-b0:1,efficientnet-b0:1")
    assert [this.student.data.image_size for this in config.rounds] == [64, 64]
    assert [this.finetune.data.image_size for this in config.rounds] == [96, 96]
    assert [this.predict.image_size for this in config.rounds] == [64, 96]


def test_an_empty_value_undoes_the_command_line():
    write("plain.flags", *B0, "--width_coefficient=", "--final_base_lr=")
    config = iterate("--width_coefficient=0.5", "--final_base_lr=0.001", "--rounds=@plain.flags")
    assert (config.teacher.model.width_coefficient, config.teacher.optimizer.final_base_lr) == (0.5, 0.001)
    student = config.rounds[0].student
    assert (student.model.width_coefficient, student.optimizer.final_base_lr) == (None, None)


def test_a_student_has_the_command_line_s_network_unless_it_says_another():
    write("same.flags", "--unlabel_ratio=3")
    (first,) = iterate("--model_name=efficientnet-b2", "--rounds=@same.flags").rounds
    assert (first.student.model.name, first.student.optimizer.unlabel_ratio) == ("efficientnet-b2", 3.0)


def test_a_student_may_start_from_a_checkpoint_of_its_own():
    write("own.flags", *B0, "--init_model", "--init_model_path=y")
    config = iterate("--init_model", "--init_model_path=x", "--rounds=@own.flags")
    assert (config.teacher.init_path, config.rounds[0].student.init_path) == ("x", "y")


def test_only_the_teacher_starts_from_a_checkpoint():
    config = iterate("--init_model", "--init_model_path=x", *TWO)
    assert config.teacher.init_path == "x"
    assert [this.student.init_path for this in config.rounds] == ["", ""]


def test_a_ready_made_teacher_is_taken_instead_of_trained(tmp_path):
    write("like.flags", "--model_name=efficientnet-b1", "--unlabel_ratio=2", "--student_start=teacher")
    released = (
        "--task_name=imagenet", "--label_data_dir=a", "--unlabel_data_dir=b", "--input_image_size=64",
        "--rounds=@like.flags", "--rounds=efficientnet-b2:2", "--teacher_model_path=released/model.ckpt",
        "--teacher_model_name=efficientnet-b1",
    )  # fmt: skip
    config = iterate(*released)
    teacher, ready, first = config.teacher, config.ready_teacher, config.rounds[0]
    assert (ready.checkpoint, ready.model_dir) == ("released/model.ckpt", "work/teacher")
    assert (ready.model, ready.image_size) == (teacher.model, 240)  # the variant's own, as of an online teacher
    assert (teacher.evaluation.split, teacher.model_dir) == ("validation", "work/teacher")
    assert (first.predict.checkpoint, first.predict.model, first.predict.image_size) == (
        "work/teacher",
        teacher.model,
        240,
    )
    assert (first.student.teacher, first.student.init_path, first.student.data.image_size) == (None, "work/teacher", 64)

    narrow = ModelConfig("efficientnet-b0", 10, small_image_model=True, width_coefficient=0.5)
    folder = describe(tmp_path / "ours", narrow, 16, TASKS["digits"])
    config = iterate("--rounds=efficientnet-b0:4", f"--teacher_model_path={folder}")
    assert (config.teacher.model, config.teacher.data.image_size) == (narrow, 16)
    assert config.rounds[0].student.model.width_coefficient is None
    assert iterate("--rounds=efficientnet-b0:4").ready_teacher is None


def test_data_prepared_before_are_taken_as_they_are(tmp_path):
    (tmp_path / "unlabeled").mkdir()
    (tmp_path / "unlabeled/train-00000-of-00001").touch()
    task = TASKS["digits"]
    (tmp_path / "task.json").write_text(json.dumps({**task.to_json(), "num_images": {"train": 30}}))
    config = iterate(*TWO, f"--data_dir={tmp_path}")
    assert config.prepare is None
    assert config.teacher.data.label_data_dir == f"{tmp_path}/labeled"
    assert config.teacher.optimizer.num_train_images == 30
    assert [this.predict.num_shards for this in config.rounds] == [1, 1]
    assert [this.balance.num_shards for this in config.rounds] == [1, 1]


def test_the_folders_of_any_task():
    config = iterate(
        *TWO, "--task_name=svhn", "--label_data_dir=a", "--unlabel_data_dir=b", "--num_shards=3", "--file_prefix=extra"
    )
    assert config.prepare is None
    first = config.rounds[0]
    assert (config.teacher.data.label_data_dir, config.teacher.data.unlabel_data_dir) == ("a", "")
    assert (first.predict.input_dir, first.predict.num_shards, first.predict.file_prefix) == ("b", 3, "extra")
    assert (first.balance.input_dir, first.student.data.image_size) == ("b", 32)


def test_ones_own_images_are_prepared_before_the_configs_are_made(tmp_path):
    for number, name in enumerate(("labeled/cat", "labeled/dog", "unlabeled")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for copy in range(3):
            Image.new("RGB", (8, 8), (number * 90, copy * 9, 0)).save(tmp_path / f"pictures/{name}/{copy}.png")
    arguments = (
        *TWO, f"--work_dir={tmp_path}/work", "--task_name=folder", f"--source_dir={tmp_path}/pictures", "--num_shards=2"
    )  # fmt: skip
    config = iterate(*arguments)
    assert config.prepare is None
    assert config.teacher.data.label_data_dir == f"{tmp_path}/work/data/labeled"
    assert config.teacher.data.task.class_names == ("cat", "dog")
    assert config.teacher.model.num_classes == config.rounds[0].balance.num_classes == 2
    assert config.rounds[0].predict.input_dir == f"{tmp_path}/work/data/unlabeled"
    assert config.rounds[0].predict.num_shards == 2
    assert config.teacher.evaluation is None
    assert notices(parsed(*ITERATE, *arguments), config)[0] == (
        "no accuracy will be measured: the data of folder have no test split"
    )
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    assert iterate(*arguments) == config


def test_the_configs_do_not_change_once_the_stages_have_left_their_files(tmp_path):
    """A continued run is recognised by its settings."""
    arguments = (*TWO, f"--work_dir={tmp_path}")
    before = iterate(*arguments)
    os.makedirs(tmp_path / "data/unlabeled")
    (tmp_path / "data/unlabeled/train-00000-of-00004").touch()
    (tmp_path / "data/task.json").write_text(json.dumps({**TASKS["digits"].to_json(), "num_images": {"train": 40}}))
    os.makedirs(tmp_path / "teacher")
    (tmp_path / "teacher/model.json").write_text("{}")
    assert iterate(*arguments) == before


def test_a_slash_after_the_work_dir_changes_nothing():
    assert iterate(*TWO, "--work_dir=work/") == iterate(*TWO)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--rounds is missing: --mode=iterate needs it, the students, e.g. efficientnet-b0:4,efficientnet-b1:4"),
        ((*TWO, "--work_dir="), "--work_dir is missing: --mode=iterate needs it, the folder of all stages"),
        (
            ("--rounds=efficientnet-b0",),
            "--rounds: round 1: got 'efficientnet-b0', expected MODEL:RATIO, e.g. efficientnet-b0:4, or @FILE, a student's flag "
            "file",
        ),
        (
            ("--rounds=efficientnet-b0:4,",),
            "--rounds: round 2: got '', expected MODEL:RATIO, e.g. efficientnet-b0:4, or @FILE, a student's flag file",
        ),
        (
            ("--rounds=efficientnet-b0:4,b1:4",),
            "--rounds: round 2: got 'b1', expected one of efficientnet-b0, efficientnet-b1, efficientnet-b2, "
            "efficientnet-b3, efficientnet-b4, efficientnet-b5, efficientnet-b6, efficientnet-b7, efficientnet-l2",
        ),
        (("--rounds=efficientnet-b0:0",), "--rounds: round 1: got '0', expected an unlabeled ratio above 0"),
        (("--rounds=efficientnet-b0:much",), "--rounds: round 1: got 'much', expected an unlabeled ratio above 0"),
        (("--rounds=efficientnet-b0:inf",), "--rounds: round 1: got 'inf', expected an unlabeled ratio above 0"),
        (
            ("--rounds=efficientnet-b0:4:dropout_rate=0.3:seed=1",),
            "--rounds: round 1: got 'efficientnet-b0:4:dropout_rate=0.3:seed=1', expected MODEL:RATIO; write the student's flags "
            "into a file, one a line (--model_name=efficientnet-b0, --unlabel_ratio=4, --dropout_rate=0.3, --seed=1), and give "
            "--rounds=@FILE",
        ),
        (
            (*TWO, "--finetune=train_steps=5:remove_aug=true"),
            "--rounds: round 1: --finetune: got 'train_steps=5:remove_aug=true', expected a flag file; write the flags into one, "
            "a flag a line (--train_steps=5, --remove_aug=true)",
        ),
        (("--rounds=@no.flags",), "--rounds: round 1 (@no.flags): there is no flag file no.flags; check the path"),
        (
            ("--rounds=@two.flags,efficientnet-b0:4",),
            "--rounds: round 1 (@two.flags,efficientnet-b0:4): there is no flag file two.flags,efficientnet-b0:4; commas are "
            "part of a path: repeat --rounds for the next student",
        ),
        (
            (*TWO, "--finetune=no.flags"),
            "--rounds: round 1: --finetune: there is no flag file no.flags; check the path",
        ),
        (
            (*TWO, "--student_start=teacher"),
            "--rounds: round 2 (@two.flags): --student_start=teacher: the student (efficientnet-b1, 23 blocks, 960 head "
            "channels) is of another architecture than its teacher (efficientnet-b0, 16 blocks, 1280 head channels); give both "
            "the same model and coefficients, or pass --student_start=scratch",
        ),
        (
            (*TWO, "--unlabel_ratio=3"),
            "--unlabel_ratio is given, but in --mode=iterate every student has its own; write it in --rounds, as MODEL:RATIO or "
            "in the student's flag file",
        ),
        (
            (*TWO, "--output_dir=x"),
            "--output_dir is given, but --mode=iterate decides it for every stage itself; leave it out",
        ),
        (
            (*TWO, "--teacher_model_path=x"),
            "--teacher_model_name is missing: there is no model.json beside x to say which network it is",
        ),
        (
            (*TWO, "--teacher_model_name=efficientnet-b0"),
            "--teacher_model_path is missing: --mode=iterate needs it, the checkpoint of --teacher_model_name",
        ),
        (
            (
                *TWO,
                "--teacher_model_name=efficientnet-b0",
                "--teacher_model_path=x",
                "--init_model",
                "--init_model_path=y",
            ),
            "--init_model is given with --teacher_model_path, a teacher that is not trained; leave one of them out",
        ),
        (
            (*TWO, "--task_name=svhn", "--unlabel_data_dir=b"),
            "--label_data_dir is missing: --mode=iterate needs it, the labeled shards; or give --data_dir",
        ),
        (
            (*TWO, "--task_name=svhn", "--label_data_dir=b"),
            "--unlabel_data_dir is missing: --mode=iterate needs it, plain images; or give --data_dir",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(arguments, message):
    with pytest.raises(UserError) as caught:
        iterate(*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--seeed=3", "Unknown command line flag 'seeed'. Did you mean: seed ?"),
        ("--train_steps=0", "flag --train_steps=0: expected an integer of at least 1"),
        ("train_steps=5", "got 'train_steps=5', expected a flag, as --name=value"),
        ("--", "got '--', expected a flag, as --name=value"),
        ("--train_steps", "Missing value for flag --train_steps"),
        ("--task_name=svhn", "got --task_name, which holds for the whole run; give it on the command line"),
        ("--rounds=efficientnet-b0:1", "got --rounds, which holds for the whole run; give it on the command line"),
        ("--model_dir=x", "got --model_dir, which --mode=iterate decides itself; leave it out"),
        ("--input_files=x", "got --input_files, which no stage of a round reads; leave it out"),
    ],
)
def test_a_line_that_a_student_s_flag_file_cannot_have(line, message):
    write("sub/bad.flags", "# a comment", *B0, line)
    with pytest.raises(UserError) as caught:
        iterate("--rounds=efficientnet-b0:4", "--rounds=@sub/bad.flags")
    assert str(caught.value) == f"--rounds: round 2 (@sub/bad.flags): sub/bad.flags, line 4: {message}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--train_steps=-3", "flag --train_steps=-3: expected an integer of at least 1"),
        ("--width_coefficient=2", "got --width_coefficient, which the student decides; leave it out"),
        ("--model_name=efficientnet-b1", "got --model_name, which the student decides; leave it out"),
        ("--unlabel_ratio=2", "got --unlabel_ratio, which the student decides; leave it out"),
        ("--finetune=", "got --finetune, which the student decides; leave it out"),
        ("--num_image=2", "got --num_image, which finetuning does not read; leave it out"),
        ("--data_dir=x", "got --data_dir, which holds for the whole run; give it on the command line"),
    ],
)
def test_a_line_that_the_flag_file_of_a_finetuning_cannot_have(line, message):
    write("bad.flags", line)
    write("student.flags", *B0, "--finetune=bad.flags")
    with pytest.raises(UserError) as caught:
        iterate("--rounds=@student.flags")
    assert str(caught.value) == f"--rounds: round 1 (@student.flags): --finetune: bad.flags, line 1: {message}"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((*B0, "--final_base_lr=1"), "--final_base_lr: got 1, expected less than --base_learning_rate, which is 0.016"),
        (
            B0[:1],
            "--unlabel_ratio is missing: a student needs unlabeled images; say how many for a labeled one, above 0",
        ),
        (
            (*B0, "--unlabel_ratio=0"),
            "--unlabel_ratio is missing: a student needs unlabeled images; say how many for a labeled one, above 0",
        ),
        (
            ("--model_name=b0", B0[1]),
            "bad.flags, line 1: --model_name: got 'b0', expected one of efficientnet-b0, efficientnet-b1, efficientnet-b2, "
            "efficientnet-b3, efficientnet-b4, efficientnet-b5, efficientnet-b6, efficientnet-b7, efficientnet-l2",
        ),
    ],
)
def test_a_student_s_flags_that_do_not_fit_together(lines, message):
    write("bad.flags", *lines)
    with pytest.raises(UserError) as caught:
        iterate("--rounds=@bad.flags")
    assert str(caught.value) == f"--rounds: round 1 (@bad.flags): {message}"


def test_a_flag_counts_where_its_scope_says():
    """The teacher and a finetuning read no flag that is the students' alone."""
    assert {name for name, scope in SCOPES.items() if Scope.STUDENT in scope and Scope.TEACHER not in scope} == {
        "unlabel_ratio", "unlabel_data_dir", "unlabeled_only", "student_start", "noise_teacher", "teacher_model_name",
        "teacher_model_path",
    }  # fmt: skip
    assert {name for name, scope in SCOPES.items() if Scope.DECIDED in scope} == {
        "model_dir", "output_dir", "info_dir", "input_dir", "prediction_dir", "predict_ckpt_path", "shard_id", "worker_id",
        "total_replicas", "reassign_label", "only_get_stats",
    }  # fmt: skip
    assert {name for name, scope in SCOPES.items() if Scope.RUN in scope} == {
        "mode", "rounds", "work_dir", "data_dir", "label_data_dir", "unlabel_data_dir", "task_name", "num_label_classes",
        "small_image_model", "num_shards", "file_prefix", "teacher_model_name", "teacher_model_path",
        "robustness", "robustness_dir", "every", "epsilons", "pgd_steps", "pgd_step_size", "pgd_random_start", "pgd_targeted",
        "minutes",
    }  # fmt: skip


def test_overriding_leaves_the_original_alone_and_keeps_the_rest():
    values = parsed(
        "--train_steps=5", "--nouse_tpu", "--beam_args=--a", "--beam_args=--b=c", "--upsample", "--tpu=a\n--seed=2"
    )
    copy = rounds.override(values, {"train_steps": 6, "seed": 1})
    assert (values.train_steps, copy.train_steps, copy.seed) == (5, 6, 1)
    assert (copy.use_tpu, copy.beam_args, copy.upsample) == (False, ["--a", "--b=c"], True)
    assert copy.tpu == "a\n--seed=2"
    assert not rounds.override(values, {"upsample": None})["upsample"].present
    assert copy["use_tpu"].present
    assert not copy["train_batch_size"].present
