"""Which task and which network the flags mean, and what a checkpoint's model.json says of both. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Optional

from absl.flags import FlagValues

from checkpoints.description import Description
from data.tasks import TASK_FILE, TASKS, Task, load_task
from efficientnet.variants import VARIANTS, ModelConfig
from runtime.errors import UserError
from runtime.files import read_text

# Tasks of the release: --num_label_classes may set another number of classes for them.
RELEASED_TASKS = ("imagenet", "svhn")
# What a flag must agree with if a checkpoint describes its network.
DESCRIBED_BY: dict[str, Callable[[ModelConfig], Any]] = {
    "model_name": lambda model: model.name,
    "num_label_classes": lambda model: model.num_classes,
    "small_image_model": lambda model: model.small_image_model,
    "width_coefficient": lambda model: model.variant.width,
    "depth_coefficient": lambda model: model.variant.depth,
}


def task_of(values: FlagValues, described: Optional[Description] = None) -> Task:
    """The task, with the number of classes that --num_label_classes says, if it may say one.

    As in the release, the flag sets the number for imagenet and svhn, unless a task.json or model.json says another one.

    Raises:
      UserError: an unknown task, one without classes, another number of classes than flagged, or no folder --data_dir.
    """
    task = named_task(values, described)
    if not task.num_classes:
        raise UserError(
            f"--task_name: {task.name} has no classes of its own; give --data_dir, a folder that --mode=prepare wrote"
        )
    if not values["num_label_classes"].present or values.num_label_classes == task.num_classes:
        return task
    if _takes_any_classes(task):
        return dataclasses.replace(task, num_classes=values.num_label_classes, class_names=())
    if described:  # `network_of` names the file that the flag contradicts
        return task
    raise UserError(
        f"--num_label_classes: got {values.num_label_classes}, but the task {task.name} has {task.num_classes} classes; "
        "leave the flag out, or give the --task_name that is meant"
    )


def _takes_any_classes(task: Task) -> bool:
    """Whether no task.json describes the task's classes, and the release knows the task."""
    return task.name in RELEASED_TASKS and task is TASKS[task.name]


def named_task(values: FlagValues, described: Optional[Description] = None) -> Task:
    """The task that --task_name names, as the data_dir describes it; without --task_name the data_dir's, else the one that the
    checkpoint was trained on, else the default.

    Raises:
      UserError: an unknown task, or no folder --data_dir.
    """
    if described and not values["task_name"].present and not values.data_dir:
        return described.task
    folder = values.data_dir or ""
    if folder and "://" not in folder and values.mode != "iterate" and not os.path.isdir(folder):
        raise UserError(f"--data_dir: there is no folder {folder}; give one that --mode=prepare wrote")
    if folder and not values["task_name"].present and values.mode != "iterate":
        path = os.path.join(folder, TASK_FILE)
        if read_text(path) is None:
            raise UserError(
                f"--data_dir: there is no {path}; give a folder that --mode=prepare wrote, or name the task (--task_name)"
            )
    return load_task(values.task_name, folder, any_task=not values["task_name"].present)


def network_of(values: FlagValues, task: Task, described: Optional[Description] = None) -> tuple[ModelConfig, int]:
    """The network and its input size in pixels: what the checkpoint's description says, else the flags.

    Raises:
      UserError: an unknown variant, flags that contradict the description, more frozen blocks than there are.
    """
    if described:
        _check_agrees(values, described)
        classes = described.model.num_classes
        if classes != task.num_classes:
            same = described.task.name == task.name and _takes_any_classes(task)
            raise UserError(
                f"--task_name: {task.name} has {task.num_classes} classes, but {described.path} says {classes}; "
                + (f"add --num_label_classes={classes}" if same else "give the task that the checkpoint was trained on")
            )
        if described.task.has_other_classes(task):
            raise UserError(
                f"--data_dir: its classes are {task.classes()}, but {described.path} says {described.task.classes()}; give data "
                "of the classes that the checkpoint was trained on"
            )
        return described.model, values.input_image_size or described.image_size
    model = _flagged_network(values, task)
    num_blocks = len(model.blocks())
    if values.fix_layer_num > num_blocks:
        raise UserError(
            f"--fix_layer_num: got {values.fix_layer_num}, expected at most {num_blocks}, the blocks there are"
        )
    if model.small_image_model and task.image_size and values.input_image_size not in (None, task.image_size):
        raise UserError(
            f"--input_image_size: got {values.input_image_size}, but images of {task.name} enter as they are stored, "
            f"{task.image_size} pixels wide; leave the flag out"
        )
    return model, values.input_image_size or task.image_size or VARIANTS[model.name].pixels


def _flagged_network(values: FlagValues, task: Task) -> ModelConfig:
    model = ModelConfig(
        name=values.model_name,
        num_classes=task.num_classes,
        mean=task.mean,
        std=task.std,
        small_image_model=values.small_image_model if values["small_image_model"].present else task.small_image_model,
        width_coefficient=values.width_coefficient,
        depth_coefficient=values.depth_coefficient,
        dropout_rate=values.dropout_rate,
        stochastic_depth_rate=values.stochastic_depth_rate,
        fix_layer_num=values.fix_layer_num,
    )
    model.blocks()  # raises for an unknown variant
    return model


def _check_agrees(values: FlagValues, described: Description) -> None:
    for flag, described_by in DESCRIBED_BY.items():
        expected = described_by(described.model)
        if values[flag].present and values[flag].value not in (None, expected):
            raise UserError(
                f"--{flag}: got {values[flag].value}, but {described.path} says {expected}; leave the flag out"
            )


def check_teacher(values: FlagValues) -> bool:
    """Whether there is an online teacher; raises UserError if only half of it is given or it has nothing to do."""
    name, path = values.teacher_model_name, values.teacher_model_path
    if bool(name) != bool(path):
        given, missing = ("name", "path") if name else ("path", "name")
        raise UserError(
            f"--teacher_model_{given} is given without --teacher_model_{missing}; an online teacher needs both"
        )
    if name and name not in VARIANTS:
        raise UserError(f"--teacher_model_name: got {name!r}, expected one of {', '.join(VARIANTS)}")
    if name and not values.unlabel_ratio:
        raise UserError(
            "--teacher_model_name is given with --unlabel_ratio=0; give the ratio, or leave the teacher out"
        )
    return bool(name)


def teacher_of(values: FlagValues, model: ModelConfig, image_size: int) -> tuple[ModelConfig, int]:
    """The online teacher's network and input size: as its model.json says; for a released checkpoint, as in the release,
    with the student's coefficients and the teacher's own native size."""
    described = Description.beside(values.teacher_model_path)
    name = values.teacher_model_name
    if described is None:
        teacher = dataclasses.replace(model, name=name, fix_layer_num=-1)
        return teacher, image_size if model.small_image_model else VARIANTS[name].pixels
    if described.model.name != name:
        raise UserError(f"--teacher_model_name: got {name}, but {described.path} says {described.model.name}")
    if described.model.num_classes != model.num_classes:
        raise UserError(
            f"--teacher_model_path: {described.path} says {described.model.num_classes} classes, expected the student's "
            f"{model.num_classes}"
        )
    return described.model, described.image_size


def check_same_architecture(student: ModelConfig, teacher: ModelConfig) -> None:
    """Raises UserError if the student cannot take the teacher's weights."""
    if _architecture(student) != _architecture(teacher):
        raise UserError(
            f"--student_start=teacher: the student ({_described(student)}) is of another architecture than its teacher "
            f"({_described(teacher)}); give both the same model and coefficients, or pass --student_start=scratch"
        )


def _architecture(model: ModelConfig) -> tuple[Any, ...]:
    blocks = [block._replace(stride=0) for block in model.blocks()]
    return model.name, model.num_classes, model.stem_channels, blocks, model.head_channels


def _described(model: ModelConfig) -> str:
    return f"{model.name}, {len(model.blocks())} blocks, {model.head_channels} head channels"
