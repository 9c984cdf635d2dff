"""What is printed before a run begins: flags without effect, and what a person may not have meant. No TensorFlow here."""

from __future__ import annotations

from typing import Any

from absl.flags import FlagValues

from checkpoints.description import Description
from flags.definitions import IGNORED
from flags.network import named_task
from pseudo_label.config import IterateConfig
from training.config import TrainConfig

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
    return lines + _of_rounds(config) if values.mode == "iterate" else lines


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


def _size(training: TrainConfig) -> tuple[int, int]:
    return len(training.model.blocks()), training.model.head_channels
