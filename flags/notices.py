"""What is printed before a run begins: flags without effect, and what a person may not have meant. No TensorFlow here."""

from __future__ import annotations

import dataclasses
from typing import Any

from absl.flags import FlagValues

from checkpoints.description import Description
from flags.definitions import IGNORED
from flags.network import RELEASED_TASKS, named_task
from pseudo_label.config import IterateConfig
from training.config import TrainConfig
from training.decay import steps_above

LITTLE = 0.01  # of the base rate

# The flag that names the checkpoint, in the modes that take the network from one.
CHECKPOINT_FLAGS = {
    "eval": "model_dir",
    "predict": "predict_ckpt_path",
    "classify": "predict_ckpt_path",
    "export": "predict_ckpt_path",
}


def notices(values: FlagValues, config: Any) -> list[str]:
    """One line for each; `config` is what `flags.build` or `flags.rounds` made of the flags."""
    lines = _without_effect(values) + _other_classes(values)
    if isinstance(config, IterateConfig):
        lines += _of_rounds(config)
    for training in _trainings(config):
        lines += [f"{training.title}: {line}" for line in learns_nothing(training)]
    return lines


def _without_effect(values: FlagValues) -> list[str]:
    lines = [f"--{name} is ignored: {reason}" for name, reason in IGNORED.items() if values[name].present]
    if values["gcp_project"].present and not values.use_tpu:
        lines.append("--gcp_project is ignored: only a TPU has use for it")
    if values.mode == "balance":
        for name in ("shard_id", "total_replicas", "info_dir"):
            if values[name].present:
                lines.append(f"--{name} is ignored: --mode=balance works on all shards and workers in one run")
    return lines


def _other_classes(values: FlagValues) -> list[str]:
    """One line if --num_label_classes sets another number of classes than the task has."""
    no_task = values.mode == "prepare" or (values.mode == "balance" and not values["task_name"].present)
    if no_task or not values["num_label_classes"].present:
        return []
    flag = CHECKPOINT_FLAGS.get(values.mode)
    task = named_task(values, Description.beside(str(values[flag].value)) if flag else None)
    if task.num_classes in (0, values.num_label_classes):
        return []
    return [
        f"--num_label_classes: the network has {values.num_label_classes} classes, although {task.name} has "
        f"{task.num_classes}{'; the names of its classes are not used' if task.class_names else ''}"
    ]


def _of_rounds(config: IterateConfig) -> list[str]:
    """One line if nothing can be measured, and one for each student smaller than its teacher, which the method does not want."""
    lines = []
    teacher = config.teacher
    if teacher.evaluation is None:
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


def _trainings(config: Any) -> list[TrainConfig]:
    """What a mode trains, in order."""
    if isinstance(config, TrainConfig):
        return [config]
    if not isinstance(config, IterateConfig):
        return []
    found = [] if config.ready_teacher else [config.teacher]
    for this in config.rounds:
        found += [this.student, *([this.finetune] if this.finetune else [])]
    return found


def learns_nothing(training: TrainConfig) -> list[str]:
    """The shares of a training that teach the network little or nothing: one line each."""
    optimizer, lines = training.optimizer, []
    steps, labeled = optimizer.train_steps, optimizer.num_train_images or training.data.task.num_images.get("train", 0)
    if labeled and optimizer.train_batch_size > labeled and not optimizer.unlabeled_only:
        lines.append(
            f"--train_batch_size={optimizer.train_batch_size} is more than the {labeled:,} labeled pictures, so each step sees "
            "some of them twice; give a smaller one"
        )
    counted = dataclasses.replace(optimizer, num_train_images=labeled)
    still = steps_above(LITTLE, counted) if labeled else steps
    if still < steps:
        lines.append(
            f"the learning rate is below {100 * LITTLE:.0f} % of its base from step {still:,} of {steps:,} on, so the rest "
            "teaches next to nothing; give --final_base_lr, the rate of the last step"
        )
    if training.data.task.name in RELEASED_TASKS or training.data.task.name == "digits":
        return lines  # their presets are the paper's
    if not training.data.augment.enabled and not training.init_path:
        lines.append("the pictures are not augmented, so a step sees little that is new; give --augment_name=v1")
    if optimizer.unlabel_ratio and optimizer.teacher_softmax_temp == -1:
        lines.append(
            "the teacher's labels are hard: how sure it is of each counts for nothing; give --teacher_softmax_temp=1"
        )
    return lines


def _size(training: TrainConfig) -> tuple[int, int]:
    return len(training.model.blocks()), training.model.head_channels
