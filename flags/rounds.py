"""`--mode=iterate`: the students of --rounds, and the config of every stage, all made before anything runs.

    --rounds=efficientnet-b0:4,efficientnet-b1:4     MODEL:RATIO
    --rounds=@student.flags                          @FILE, a flag file of the student's own flags
    --finetune=finetune.flags                        a flag file

The teacher is what the command line's own flags describe, or the checkpoint of --teacher_model_path. A round (its labels, their
balancing, its student) has the command line's flags but for what --rounds says of it. A finetuned network has its student's flags
but for what the file of --finetune says, and sees no unlabeled images. A flag's scope (`flags/kinds.py`) says who may give it.
Where the stages' folders lie is written at the head of `runtime/work_dir.py`.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Sequence
from typing import Optional

from absl.flags import FlagValues

from checkpoints.config import ConvertConfig
from checkpoints.description import Description
from data.prepare.config import PrepareConfig
from flags import build, own_pictures
from flags.changed import NOT_OF_TEACHERS, Changes, override
from flags.definitions import SCOPES
from flags.folders import count_shards, in_data_dir, needed
from flags.kinds import Scope
from flags.network import teacher_of
from flags.students import Round, read_rounds, said_of
from pseudo_label.config import IterateConfig, RoundConfig
from runtime.errors import UserError
from runtime.work_dir import (
    balanced_dir,
    data_dir,
    finetuned_dir,
    predictions_dir,
    robustness_dir,
    student_dir,
    teacher_dir,
)
from training.config import TrainConfig

# Tasks that `prepare` makes of nothing but what is installed.
BUILT_IN_TASKS = ("digits",)


def iterate_config(values: FlagValues, command: str = "", students: Optional[Sequence[Round]] = None) -> IterateConfig:
    """For `--mode=iterate`.

    Args:
      values: the flags.
      command: the command line to show in the report.
      students: instead of those of --rounds.

    Raises:
      UserError: flags that are missing or do not fit together, in the command line or in a round.
    """
    work_dir = needed(values, "work_dir", "the folder of all stages").rstrip("/") or "/"
    values = own_pictures.continued(values, work_dir)
    _check_given(values)
    if students is None and (values.rounds or not own_pictures.may_apply(values)):
        read_rounds(values)  # what is wrong with them is said before anything is prepared
    typed = values
    if values.source_dir and values.task_name not in BUILT_IN_TASKS:
        values = _prepared(values, work_dir)
    values = own_pictures.with_recipe(values, work_dir, typed)
    rounds = read_rounds(values) if students is None else students
    prepare = _prepare_config(values, work_dir)
    if prepare:
        labeled, images = (os.path.join(prepare.data_dir, folder) for folder in ("labeled", "unlabeled"))
    else:
        labeled = values.label_data_dir or in_data_dir(values, "labeled", "label_data_dir", "the labeled shards")
        images = values.unlabel_data_dir or in_data_dir(values, "unlabeled", "unlabel_data_dir", "plain images")
    num_shards = prepare.num_shards if prepare else count_shards(values, images)
    # The task's description does not exist before prepare has run; not to read it later either keeps a continued run's
    # configs equal to the first one's.
    common = {"label_data_dir": labeled, "num_shards": num_shards}
    of_teacher = {**NOT_OF_TEACHERS, **common, "model_dir": teacher_dir(work_dir)}
    ready = None
    if values.teacher_model_path or values.teacher_model_name:
        teacher, ready = _ready_teacher(values, of_teacher)
        values = override(values, {"teacher_model_path": None, "teacher_model_name": None})
    else:
        teacher = build.train_config(override(values, of_teacher), "teacher")
    stages = []
    network = teacher
    for number, this in enumerate(rounds, start=1):
        with said_of(this.title):
            stages.append(_round_config(override(values, common), this, number, work_dir, images, network))
        network = stages[-1].outcome
    robustness = build.rounds_robustness(values, teacher, stages, robustness_dir(work_dir))
    return IterateConfig(work_dir, teacher, tuple(stages), prepare, ready, robustness, command)


def training_config(values: FlagValues) -> TrainConfig:
    """For `--mode=train` and `train_and_eval`: of one's own pictures with the recipe's numbers for what is not given.

    Raises:
      UserError: flags that are missing or do not fit together.
    """
    if values.model_dir:
        values = own_pictures.with_recipe(own_pictures.continued(values, values.model_dir), values.model_dir)
    return build.train_config(values)


def _check_given(values: FlagValues) -> None:
    for name, scope in SCOPES.items():
        if Scope.DECIDED in scope and values[name].present:
            raise UserError(f"--{name} is given, but --mode=iterate decides it for every stage itself; leave it out")
    if values["unlabel_ratio"].present:
        raise UserError(
            "--unlabel_ratio is given, but in --mode=iterate every student has its own; write it in --rounds, as MODEL:RATIO or "
            "in the student's flag file"
        )


# --- the stages -----------------------------------------------------------------------------------------------------


def _ready_teacher(values: FlagValues, of_teacher: Changes) -> tuple[TrainConfig, ConvertConfig]:
    """What is known of the teacher that --teacher_model_path names, and how it comes into the work_dir."""
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
    training = build.train_config(override(values, {**of_teacher, "model_name": name}), "teacher")
    named = override(values, {"teacher_model_name": name})
    model, image_size = teacher_of(named, training.model, training.data.image_size)
    data = dataclasses.replace(training.data, image_size=image_size, small_image_model=model.small_image_model)
    training = dataclasses.replace(training, model=model, data=data)
    return training, ConvertConfig(
        "teacher", model, path, training.model_dir, image_size, data.task, flag="teacher_model_path"
    )


def _prepared(values: FlagValues, work_dir: str) -> FlagValues:
    """Prepares the files in --source_dir, or finds them prepared, and returns the flags with the folder written as data_dir.

    This happens before the other stages' configs are made, because the files say which classes there are.
    """
    values = override(values, {"data_dir": values.data_dir or data_dir(work_dir)})
    print(f"looking at the pictures in {values.source_dir}", flush=True)
    importlib.import_module("data.prepare.run").prepare(build.prepare_config(values))
    return override(values, {"source_dir": None, "num_shards": None})


def _prepare_config(values: FlagValues, work_dir: str) -> Optional[PrepareConfig]:
    """How to prepare the data, if the task needs no files and none were named."""
    if values.task_name not in BUILT_IN_TASKS or values.data_dir or values.label_data_dir or values.unlabel_data_dir:
        return None
    return build.prepare_config(override(values, {"data_dir": data_dir(work_dir)}))


def _round_config(
    values: FlagValues, this: Round, number: int, work_dir: str, images: str, teacher: TrainConfig
) -> RoundConfig:
    predictions, balanced = predictions_dir(work_dir, number), balanced_dir(work_dir, number)
    predicting = override(
        values, {**this.said, "unlabel_data_dir": images, "output_dir": predictions, "shard_id": "all"}
    )
    student = override(
        values,
        {
            # What the teacher started from is of the teacher's architecture.
            "init_model": None,
            "init_model_path": None,
            "reset_head": None,
            **this.said,
            "noise_teacher": None,  # it predicts before the student trains
            "unlabel_data_dir": os.path.join(balanced, "data"),
            "model_dir": student_dir(work_dir, number),
        },
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
        _finetune_config(student, this, number, work_dir),
    )


def _finetune_config(student: FlagValues, this: Round, number: int, work_dir: str) -> Optional[TrainConfig]:
    if this.finetune is None:
        return None
    values = override(
        student,
        {
            **NOT_OF_TEACHERS,
            **this.finetune,
            "init_model": True,
            "init_model_path": student.model_dir,
            "reset_head": None,
            "model_dir": finetuned_dir(work_dir, number),
        },
    )
    with said_of("--finetune"):
        return build.train_config(values, f"round {number} finetune")
