"""`--mode=iterate`: the grammar of --rounds, and the config of every stage, all made before anything runs.

    --rounds=efficientnet-b0:4,efficientnet-b1:4:dropout_rate=0.3     MODEL:UNLABEL_RATIO[:FLAG=VALUE]*
    --finetune=input_image_size=300:train_last_step_num=500           FLAG=VALUE[:FLAG=VALUE]*

The teacher is what the command line's own flags describe, or the checkpoint of --teacher_model_path; a student has the same
flags but for its model, its ratio and its FLAG=VALUE; a finetuned network has its student's, but no unlabeled images, and the
FLAG=VALUE of --finetune. A round may end with a `:finetune=` of its own, which takes all that follows, or with `:finetune=none`.
Where the stages' folders lie is written at the head of `pseudo_label/rounds.py`.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

from absl import flags
from absl.flags import FlagValues

from checkpoints.config import ConvertConfig
from checkpoints.description import Description
from data.prepare.config import PrepareConfig
from efficientnet.variants import VARIANTS
from flags import build, definitions
from flags.folders import count_shards, in_data_dir, needed
from flags.network import teacher_of
from pseudo_label.config import IterateConfig, RoundConfig
from runtime.errors import UserError
from training.config import TrainConfig

# Tasks that `prepare` makes of nothing but what is installed.
BUILT_IN_TASKS = ("digits",)
DEFAULT = "default"
# What iterate decides itself, so that neither the command line nor a round may say it.
DECIDED_HERE = (
    "model_dir", "output_dir", "info_dir", "input_dir", "prediction_dir", "predict_ckpt_path", "unlabel_ratio",
    "shard_id", "worker_id", "total_replicas", "reassign_label",
    "only_get_stats",
)  # fmt: skip
NONE = "none"
# A finetuned network is the student's, from the student's weights.
OF_THE_STUDENT = (
    "init_model", "init_model_path", "reset_head", "width_coefficient", "depth_coefficient", "unlabeled_only", "student_start",
)  # fmt: skip
# What only students have: images without labels, and a teacher to start from.
OF_STUDENTS = {
    "unlabel_ratio": None, "unlabel_data_dir": None, "unlabeled_only": None, "student_start": None, "noise_teacher": None,
}  # fmt: skip
# What a round says of its labels, and of its student's augmentation, which holds for its teacher too, where that is noised.
OF_PREDICTION = (
    "noise_teacher", "augment_name", "randaug_mag", "randaug_layer", "cutout_op", "store_top_k", "samples_per_class",
)  # fmt: skip
# What holds for a whole run: a round may not say it either.
OF_THE_RUN = (
    "mode", "rounds", "finetune", "work_dir", "data_dir", "label_data_dir", "unlabel_data_dir", "task_name", "model_name",
    "num_label_classes", "small_image_model", "num_shards", "file_prefix", "teacher_model_name", "teacher_model_path",
)  # fmt: skip


Changes = dict[str, Optional[str]]


class Round(NamedTuple):
    """One student as --rounds describes it.

    Attributes:
      changes: flags and their texts, None for the flag's default.
      finetune: the round's own --finetune; None for the command line's.
    """

    model_name: str
    unlabel_ratio: float
    changes: Changes
    finetune: Optional[str] = None


def iterate_config(values: FlagValues, command: str = "") -> IterateConfig:
    """For `--mode=iterate`; `command` is the command line to show in the report.

    Raises:
      UserError: flags that are missing or do not fit together, in the command line or in a round.
    """
    work_dir = needed(values, "work_dir", "the folder of all stages").rstrip("/") or "/"
    for name in DECIDED_HERE:
        if values[name].present:
            raise UserError(f"--{name} is given, but --mode=iterate decides it for every stage itself; leave it out")
    rounds = parse_rounds(needed(values, "rounds", "the students, e.g. efficientnet-b0:4,efficientnet-b1:4"))
    if values.source_dir and values.task_name not in BUILT_IN_TASKS:
        values = _prepared(values, work_dir)
    prepare = _prepare_config(values, work_dir)
    if prepare:
        labeled, images = (os.path.join(prepare.data_dir, folder) for folder in ("labeled", "unlabeled"))
    else:
        labeled = values.label_data_dir or in_data_dir(values, "labeled", "label_data_dir", "the labeled shards")
        images = values.unlabel_data_dir or in_data_dir(values, "unlabeled", "unlabel_data_dir", "plain images")
    num_shards = prepare.num_shards if prepare else count_shards(values, images)
    # The task's description does not exist before prepare has run; not to read it later either keeps a continued run's
    # configs equal to the first one's.
    common = {"label_data_dir": labeled, "num_shards": str(num_shards)}
    of_teacher = {**common, **OF_STUDENTS, "model_dir": os.path.join(work_dir, "teacher")}
    ready = None
    if values.teacher_model_path or values.teacher_model_name:
        teacher, ready = _ready_teacher(values, of_teacher)
        values = override(values, {"teacher_model_path": None, "teacher_model_name": None})
    else:
        teacher = build.train_config(override(values, of_teacher), "teacher")
    stages = []
    network = teacher
    for number, this in enumerate(rounds, start=1):
        folder = os.path.join(work_dir, f"round{number}")
        try:
            stages.append(_round_config(override(values, common), this, number, folder, images, network))
        except UserError as error:
            raise UserError(f"--rounds: round {number}: {error}") from error
        network = stages[-1].outcome
    return IterateConfig(work_dir, teacher, tuple(stages), prepare, ready, command)


def parse_rounds(text: str) -> list[Round]:
    """Reads --rounds.

    Raises:
      UserError: not the grammar, an unknown model or flag, a ratio that is not positive; names the round.
    """
    found = []
    for number, item in enumerate(text.split(","), start=1):
        try:
            found.append(_round(item.strip()))
        except UserError as error:
            raise UserError(f"--rounds: round {number}: {error}") from error
    return found


def _round(text: str) -> Round:
    before, own, finetune = text.partition(":finetune=")
    name, *parts = before.split(":")
    if not parts:
        raise _wrong(text, "expected MODEL:UNLABEL_RATIO, e.g. efficientnet-b0:4")
    if name not in VARIANTS:
        raise _wrong(name, f"expected one of {', '.join(VARIANTS)}")
    try:
        ratio = float(parts[0])
    except ValueError:
        ratio = 0.0
    if not 0 < ratio < float("inf"):
        raise _wrong(parts[0], "expected an unlabeled ratio above 0")
    return Round(name, ratio, _changes(parts[1:]), finetune if own else None)


def parse_finetune(text: str) -> Optional[Changes]:
    """Reads --finetune; None where nothing is to be finetuned.

    Raises:
      UserError: not the grammar, or a flag that finetuning cannot change.
    """
    if text in ("", NONE):
        return None
    changes = _changes(text.split(":"))
    for name in OF_THE_STUDENT:
        if name in changes:
            raise _wrong(name, "which the student decides; leave it out")
    return changes


def _changes(parts: Sequence[str]) -> Changes:
    return dict(_change(part) for part in parts)


def _change(part: str) -> tuple[str, Optional[str]]:
    name, equals, value = part.partition("=")
    if not equals:
        raise _wrong(part, "expected FLAG=VALUE, e.g. dropout_rate=0.3")
    if name in DECIDED_HERE or name in OF_THE_RUN:
        raise _wrong(part, f"--{name} cannot differ between rounds")
    return name, None if value == DEFAULT else value


def _wrong(got: str, expected: str) -> UserError:
    return UserError(f"got {got!r}, {expected}")


def override(values: FlagValues, changes: Mapping[str, Optional[str]]) -> FlagValues:
    """A copy of our flags with some changed; None puts a flag back to its default.

    Raises:
      UserError: no such flag, or a value that it does not take.
    """
    copy = definitions.define(FlagValues())
    argv = ["main.py"]
    for name in copy:
        if values[name].present and name not in changes:
            argv += values[name].serialize().split("\n")
    argv += [f"--{name}={value}" for name, value in changes.items() if value is not None]
    try:
        copy(argv)
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error
    return copy


def _ready_teacher(values: FlagValues, of_teacher: Mapping[str, Optional[str]]) -> tuple[TrainConfig, ConvertConfig]:
    """The evaluation of the teacher that --teacher_model_path names, and how it comes into the work_dir."""
    path = needed(values, "teacher_model_path", "the checkpoint of --teacher_model_name")
    described = Description.beside(path)
    name = values.teacher_model_name or (described.model.name if described else "")
    if not name:
        raise UserError(
            f"--teacher_model_name is missing: there is no model.json beside {path} to say which network it is"
        )
    if values.init_model or values.init_model_path:
        raise UserError(
            "--init_model is given with --teacher_model_path, a teacher that is not trained; leave one of them out"
        )
    unnamed = {"teacher_model_path": None, "teacher_model_name": None}
    evaluation = build.train_config(override(values, {**of_teacher, **unnamed, "model_name": name}), "teacher")
    named = override(values, {"teacher_model_name": name})
    model, image_size = teacher_of(named, evaluation.model, evaluation.data.image_size)
    data = dataclasses.replace(evaluation.data, image_size=image_size, small_image_model=model.small_image_model)
    evaluation = dataclasses.replace(evaluation, model=model, data=data, train=False)
    return evaluation, ConvertConfig(
        "teacher", model, path, evaluation.model_dir, image_size, data.task, flag="teacher_model_path"
    )


def _prepared(values: FlagValues, work_dir: str) -> FlagValues:
    """Prepares the files in --source_dir, or finds them prepared, and returns the flags with the folder written as data_dir.

    This happens before the other stages' configs are made, because the files say which classes there are.
    """
    values = override(values, {"data_dir": values.data_dir or os.path.join(work_dir, "data")})
    importlib.import_module("data.prepare.run").prepare(build.prepare_config(values))
    return override(values, {"source_dir": None, "num_shards": None})


def _prepare_config(values: FlagValues, work_dir: str) -> Optional[PrepareConfig]:
    """How to prepare the data, where the task needs no files and none were named."""
    if values.task_name not in BUILT_IN_TASKS or values.data_dir or values.label_data_dir or values.unlabel_data_dir:
        return None
    return build.prepare_config(override(values, {"data_dir": os.path.join(work_dir, "data")}))


def _round_config(
    values: FlagValues, this: Round, number: int, folder: str, images: str, teacher: TrainConfig
) -> RoundConfig:
    predictions, balanced = os.path.join(folder, "predictions"), os.path.join(folder, "balanced")
    student = override(
        values,
        {
            # What the teacher started from is of the teacher's architecture.
            "init_model": None,
            "init_model_path": None,
            "reset_head": None,
            **this.changes,
            "noise_teacher": None,  # it predicts before the student trains
            "model_name": this.model_name,
            "unlabel_ratio": repr(this.unlabel_ratio),
            "unlabel_data_dir": os.path.join(balanced, "data"),
            "model_dir": os.path.join(folder, "student"),
        },
    )
    of_prediction = {name: value for name, value in this.changes.items() if name in OF_PREDICTION}
    predicting = override(
        values, {**of_prediction, "unlabel_data_dir": images, "output_dir": predictions, "shard_id": "all"}
    )
    balancing = override(student, {"input_dir": images, "prediction_dir": predictions, "output_dir": balanced})
    return RoundConfig(
        build.predict_with(
            predicting,
            teacher.model,
            teacher.data.image_size,
            teacher.data.task,
            checkpoint=teacher.model_dir,
            title=f"round {number} predict",
        ),
        build.balance_config(balancing, f"round {number} balance"),
        build.train_config(student, f"round {number} student", (teacher.model, teacher.model_dir)),
        _finetune_config(student, this, number, folder),
    )


def _finetune_config(student: FlagValues, this: Round, number: int, folder: str) -> Optional[TrainConfig]:
    try:
        changes = parse_finetune(student.finetune or "" if this.finetune is None else this.finetune)
        if changes is None:
            return None
        values = override(
            student,
            {
                **OF_STUDENTS,
                "reset_head": None,
                **changes,
                "init_model": "true",
                "init_model_path": student.model_dir,
                "model_dir": os.path.join(folder, "finetuned"),
            },
        )
        return build.train_config(values, f"round {number} finetune")
    except UserError as error:
        raise UserError(f"--finetune: {error}") from error


def notices(config: IterateConfig) -> list[str]:
    """One line where nothing can be measured, and for each student smaller than its teacher, which the method does not want."""
    lines = []
    teacher = config.teacher
    if not teacher.evaluate:
        lines.append(f"no accuracy will be measured: the data of {teacher.data.task.name} have no test split")
    for number, this in enumerate(config.rounds, start=1):
        student = this.student
        before, after = _size(teacher), _size(student)
        if after[0] < before[0] or after[1] < before[1]:
            lines.append(
                f"--rounds: round {number}'s student ({student.model.name}, {after[0]} blocks, {after[1]} head channels) is "
                f"smaller than its teacher ({teacher.model.name}, {before[0]} blocks, {before[1]} head channels); Noisy "
                "Student wants an equal or larger one"
            )
        if student.optimizer.unlabeled_only and this.finetune is None:
            lines.append(
                f"--unlabeled_only: round {number}'s student never trains on the labeled images; --finetune would do so after it"
            )
        teacher = this.outcome
    return lines


def _size(training: TrainConfig) -> tuple[int, int]:
    return len(training.model.blocks()), training.model.head_channels
