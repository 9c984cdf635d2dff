"""Every flag: the release's names and defaults, help, the check of single values, and where it counts."""

from __future__ import annotations

import os
from typing import Any

import pytest
from absl import flags
from absl.flags import IllegalFlagValueError
from hypothesis import example, given

import main
from flags import command_line
from flags.definitions import GROUPS, SCOPES
from flags.kinds import Scope
from tests.flags.parsing import parsed
from tests.runtime.test_files import NAMES

# docs/release.md, section 11, in its order. augment_name: `v1` is the value that names RandAugment; the default names none, as
# section 10's `none` for b0 and b1 shows.
RELEASED = {
    "task_name": "imagenet",
    "label_data_dir": None,
    "model_dir": None,
    "init_model": False,
    "init_model_path": None,
    "model_name": "efficientnet-b0",
    "mode": "train_and_eval",
    "train_steps": 109474,
    "input_image_size": None,
    "train_ratio": 1.0,
    "train_batch_size": 4096,
    "eval_batch_size": 8,
    "use_tpu": True,
    "tpu": None,
    "gcp_project": None,
    "tpu_zone": None,
    "num_train_images": None,
    "num_eval_images": None,
    "num_test_images": None,
    "steps_per_eval": 3000,
    "iterations_per_loop": 1000,
    "num_label_classes": 1000,
    "use_bfloat16": True,
    "base_learning_rate": 0.016,
    "moving_average_decay": 0.9999,
    "weight_decay": 1e-5,
    "label_smoothing": 0.1,
    "dropout_rate": None,
    "stochastic_depth_rate": None,
    "log_step_count_steps": 64,
    "use_cache": True,
    "depth_coefficient": None,
    "width_coefficient": None,
    "unlabel_data_dir": "",
    "unlabel_ratio": 0.0,
    "teacher_softmax_temp": -1.0,
    "train_last_step_num": -1,
    "teacher_model_name": None,
    "teacher_model_path": None,
    "augment_name": None,
    "remove_aug": False,
    "save_checkpoints_steps": 1000,
    "fix_layer_num": -1,
    "randaug_mag": 27,
    "randaug_layer": 2,
    "num_shards_per_group": -1,
    "label_data_sample_prob": 1.0,
    "unl_aug": "default",
    "cutout_op": True,
    "small_image_model": False,
    "final_base_lr": None,
    "num_train_shards": None,
    "keep_checkpoint_max": 5,
    # prediction
    "predict_ckpt_path": None,
    "output_dir": None,
    "info_dir": None,
    "num_shards": 128,
    "shard_id": "0",
    "total_replicas": 1,
    "worker_id": 0,
    "reassign_label": False,
    "data_type": "tfrecord",
    "file_prefix": "train",
    # filter
    "input_dir": None,
    "prediction_dir": None,
    "prelim_stats_dir": "",
    "num_image": 1300,
    "min_threshold": 0.0,
    "max_prob": 2.0,
    "upsample": True,
    "use_all": False,
    "only_get_stats": False,
    "task": -1,
    "only_use_num_shards": -1,
    "total_label_replicas": -1,
    # without meaning in TensorFlow 2
    "master": None,
    "num_tpu_cores": None,
    "skip_host_call": False,
    "data_format": "channels_last",
    "transpose_input": True,
    "debug": 0,
}
OURS: dict[str, Any] = {
    "seed": 0,
    "data_dir": None,
    "work_dir": None,
    "reset_head": False,
    "rounds": [],
    "finetune": None,
    "student_start": "scratch",
    "unlabeled_only": False,
    "unl_dropout": True,
    "unl_stochastic_depth": True,
    "noise_teacher": False,
    "skip_corrupt_records": False,
    "source_dir": None,
    "download": False,
    "num_processes": 0,
    "input_files": [],
    "output_csv": None,
    "num_labeled": 40,
    "known_classes": 10,
    "unlabeled_classes": "all",
    "flip": None,
    "minutes": None,
    "even_classes": False,
    "fit": "crop",
    "eval_split": None,
    "use_averages": True,
    "samples_per_class": 30,
    "export_tf1": False,
    "beam_args": [],
    "remat": False,
    "profile_steps": None,
    "store_top_k": 0,
    "checkpoints": [],
    "robustness": None,
    "robustness_dir": None,
    "every": 1,
    "epsilons": "0,2,4,8,16",
    "pgd_steps": 10,
    "pgd_step_size": None,
    "pgd_random_start": True,
    "pgd_targeted": False,
    "study": [],
    "seeds": "0,1,2,3,4",
    "parallel": 1,
    "results_dir": None,
}


@pytest.mark.parametrize("name", RELEASED)
def test_the_release_s_names_and_defaults(name):
    default = parsed()[name].default
    assert default == RELEASED[name]
    assert type(default) is type(RELEASED[name])


def test_our_own_flags_are_listed_with_their_defaults():
    values = parsed()
    assert {name: values[name].default for name in set(values) - set(RELEASED)} == OURS


def test_every_flag_has_help_that_says_whose_it_is():
    values = parsed()
    for name in values:
        origin = "[release]" if name in RELEASED else "[ours]"
        assert origin in values[name].help, name
        assert len(values[name].help) > 30 or name == "mode"


def test_every_flag_stands_in_a_group_of_the_help():
    values = parsed()
    by_group = values.flags_by_module_dict()
    assert list(by_group) == list(GROUPS)
    assert {flag.name for group in by_group.values() for flag in group} == set(values)


def test_two_sets_of_flags_live_side_by_side():
    one, other = parsed("--train_steps=5"), parsed("--train_steps=6")
    assert (one.train_steps, other.train_steps) == (5, 6)


def test_defining_twice_changes_nothing():
    values = parsed("--train_steps=5")
    assert command_line.define(values).train_steps == 5


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--mode=bogus", "flag --mode=bogus: value should be one of <prepare|train|eval|"),
        ("--train_steps=0", "flag --train_steps=0: expected an integer of at least 1"),
        ("--train_steps=many", "flag --train_steps=many: expected an integer of at least 1"),
        ("--train_steps=2.5", "flag --train_steps=2.5: expected an integer of at least 1"),
        ("--base_learning_rate=fast", "flag --base_learning_rate=fast: expected a number > 0"),
        ("--remat=maybe", "flag --remat=maybe: expected true or false"),
        ("--train_batch_size=-8", "flag --train_batch_size=-8: expected an integer of at least 1"),
        ("--fix_layer_num=-2", "flag --fix_layer_num=-2: expected an integer of at least 0, or -1 for none"),
        ("--train_last_step_num=0", "expected an integer of at least 1, or -1 for none"),
        ("--worker_id=-1", "flag --worker_id=-1: expected an integer of at least 0"),
        ("--train_ratio=0", "flag --train_ratio=0.0: expected a number > 0"),
        ("--base_learning_rate=inf", "flag --base_learning_rate=inf: expected a finite number"),
        ("--weight_decay=inf", "flag --weight_decay=inf: expected a finite number"),
        ("--seed=4611686018427387904", "expected an integer below 4611686018427387904"),
        ("--base_learning_rate=nan", "flag --base_learning_rate=nan: expected a number > 0"),
        ("--dropout_rate=1", "flag --dropout_rate=1.0: expected a number from 0 to below 1"),
        ("--label_smoothing=-0.1", "flag --label_smoothing=-0.1: expected a number from 0 to below 1"),
        ("--label_data_sample_prob=0", "flag --label_data_sample_prob=0.0: expected a number above 0, at most 1"),
        (
            "--teacher_softmax_temp=0",
            "flag --teacher_softmax_temp=0.0: expected a number of at least 1e-30, or -1 for hard labels",
        ),
        ("--teacher_softmax_temp=1e-300", "flag --teacher_softmax_temp=1e-300: expected a number of at least 1e-30"),
        ("--unlabel_ratio=-1", "flag --unlabel_ratio=-1.0: expected a number >= 0"),
        ("--only_use_num_shards=0", "expected an integer of at least 1, or -1 for none"),
        ("--train_steps=", "flag --train_steps=: expected an integer of at least 1"),
        ("--weight_decay=", "flag --weight_decay=: expected a number >= 0"),
        ("--no_such_flag=1", "Unknown command line flag 'no_such_flag'"),
        ("--mod=train", "Did you mean: mode"),
    ],
)
def test_a_bad_value_says_what_was_expected(argument, message):
    with pytest.raises(flags.Error) as caught:
        parsed(argument)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "argument",
    ["--upsample=1", "--only_get_stats=0", "--only_get_stats=1", "--use_tpu=False", "--randaug_mag=0", "--debug=1"],
)
def test_values_as_the_release_s_scripts_write_them(argument):
    parsed(argument)


@pytest.mark.parametrize("name", ["final_base_lr", "width_coefficient", "input_image_size", "num_train_images"])
def test_an_empty_value_is_none_for_a_number_that_needs_none(name):
    values = parsed(f"--{name}=7", f"--{name}=")
    assert values[name].value is None


# --- where flags count ----------------------------------------------------------------------------------------------


class Watched(flags.FlagValues):
    """Flags that note which of them are read."""

    def __getattr__(self, name):
        self.__dict__.setdefault("read", set()).add(name)
        return super().__getattr__(name)

    def __getitem__(self, name):
        self.__dict__.setdefault("read", set()).add(name)
        return super().__getitem__(name)


TRAINING = ("--mode=train_and_eval", "--model_dir=m")
ONLINE = ("--teacher_model_name=efficientnet-b0", "--teacher_model_path=t", "--unlabel_ratio=1")
ROBUST = ("--checkpoints=c", "--checkpoints=d", "--robustness=generated,pgd,a", "--robustness_dir=r", "--output_dir=o")
COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "prepare": [("--task_name=digits", "--data_dir=x", "--num_shards=2")],
    "train": [
        (*TRAINING, "--label_data_dir=l", "--use_bfloat16", "--small_image_model"),
        (*TRAINING, "--data_dir={}", "--task_name=svhn", *ONLINE, "--num_label_classes=7"),
        (*TRAINING, "--label_data_dir=l", "--eval_split=test"),
    ],
    "eval": [
        ("--model_dir=m", "--label_data_dir=l", "--use_bfloat16", "--small_image_model"),
        ("--model_dir=m", "--data_dir={}", "--task_name=svhn", "--num_label_classes=7"),
    ],
    "predict": [
        ("--predict_ckpt_path=c", "--output_dir=o", "--unlabel_data_dir=u", "--noise_teacher", "--use_bfloat16"),
        ("--predict_ckpt_path=c", "--output_dir=o", "--data_dir={}", "--task_name=svhn", "--small_image_model"),
        ("--predict_ckpt_path=c", "--output_dir=o", "--label_data_dir=l", "--num_label_classes=7"),
    ],
    "balance": [
        ("--input_dir=i", "--prediction_dir=p", "--output_dir=o", "--num_label_classes=7"),
        ("--data_dir={}", "--task_name=svhn", "--prediction_dir=p", "--output_dir=o"),
    ],
    "classify": [
        ("--predict_ckpt_path=c", "--input_files=f", "--use_bfloat16", "--small_image_model", "--num_label_classes=7")
    ],
    "robustness": [
        (*ROBUST, "--data_dir={}", "--task_name=svhn", "--num_label_classes=7"),
        (*ROBUST, "--label_data_dir=l", "--use_bfloat16", "--small_image_model", "--eval_split=validation"),
    ],
    "convert": [("--init_model_path=c", "--model_dir=m", "--small_image_model", "--num_label_classes=7")],
    "export": [("--predict_ckpt_path=c", "--output_dir=o", "--small_image_model", "--num_label_classes=7")],
}


@pytest.mark.parametrize("mode", COMMANDS)
def test_a_mode_reads_the_flags_whose_scope_names_it(mode, tmp_path):
    """And no others."""
    place = {"train": Scope.TEACHER | Scope.STUDENT | Scope.FINETUNE}.get(mode) or Scope[mode.upper()]
    read = set()
    for arguments in COMMANDS[mode]:
        values = command_line.define(Watched())
        values(["main.py", f"--mode={mode}", *(argument.format(tmp_path) for argument in arguments)])
        values.__dict__["read"] = set()
        main.MODES[mode][0](values)
        read |= values.__dict__["read"] & set(SCOPES)
    assert read | {"mode"} == {name for name, scope in SCOPES.items() if scope & place}


ONE_FOLDER = (
    "data_dir",
    "model_dir",
    "work_dir",
    "output_dir",
    "info_dir",
    "source_dir",
    "results_dir",
    "robustness_dir",
)
FOLDERS = ("label_data_dir", "unlabel_data_dir", "input_dir", "prediction_dir")
PATHS = ("init_model_path", "teacher_model_path", "predict_ckpt_path", "output_csv")


@given(NAMES)
@example("[1] * ? $x , ~ ü")
def test_a_path_is_taken_as_it_is_but_for_home_at_its_beginning(name):
    home = os.path.expanduser("~")
    for flag in (*ONE_FOLDER, *FOLDERS, *PATHS):
        if ";" in name and flag not in PATHS:
            continue
        assert parsed(f"--{flag}=~/{name}")[flag].value == f"{home}/{name}"
        assert parsed(f"--{flag}=./{name}")[flag].value == f"./{name}"
    assert parsed(f"--input_files=~/{name}", f"--input_files=x/{name}").input_files == [f"{home}/{name}", f"x/{name}"]


def test_home_is_known_in_each_of_several_folders_and_in_flag_files(tmp_path):
    home = os.path.expanduser("~")
    for flag in FOLDERS:
        assert parsed(f"--{flag}=~/a;b;~/c")[flag].value == f"{home}/a;b;{home}/c"
    (tmp_path / "x.flags").write_text("--data_dir=~/x\n")
    assert parsed(f"--flagfile={tmp_path}/x.flags").data_dir == f"{home}/x"


@pytest.mark.parametrize("flag", ONE_FOLDER)
def test_a_flag_that_takes_one_folder_refuses_several(flag):
    with pytest.raises(
        IllegalFlagValueError, match=r"expected one folder; `;` separates several where more can be given"
    ):
        parsed(f"--{flag}=a;b")
