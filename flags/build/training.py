"""From flags to a training's config, and the rules between these flags with their messages. No TensorFlow here."""

from __future__ import annotations

import os
from typing import Optional

from absl.flags import FlagValues

from data.config import DataConfig
from data.tasks import Task
from efficientnet.variants import ModelConfig
from flags.build.evaluation import eval_split, split_config
from flags.build.parts import augmentation, device_config, label_data_dir
from flags.folders import needed
from flags.network import check_same_architecture, check_teacher, network_of, task_of, teacher_of
from runtime.errors import UserError
from training.config import OptimizerConfig, TrainConfig


def train_config(
    values: FlagValues, title: str = "", labeled_by: Optional[tuple[ModelConfig, str]] = None
) -> TrainConfig:
    """For `train`, `train_and_eval`, and each network of `iterate`.

    Args:
      values: the flags.
      title: names it in what is printed; default: the mode.
      labeled_by: the teacher that made the labels on disk, and its checkpoint, where that is known.

    Raises:
      UserError: flags that are missing or do not fit together.
    """
    model_dir = needed(values, "model_dir", "the folder of checkpoints")
    task = task_of(values)
    model, image_size = network_of(values, task)
    online = check_teacher(values)
    teacher, teacher_size = teacher_of(values, model, image_size) if online else (None, None)
    if teacher:
        labeled_by = (teacher, values.teacher_model_path)
    if values.noise_teacher and not online:
        raise UserError(
            "--noise_teacher is given without an online teacher (--teacher_model_name, --teacher_model_path); where the labels "
            "are on disk, it belongs to the --mode=predict that makes them"
        )
    unlabeled = _unlabeled_dir(values, online)
    split = eval_split(values, task)
    return TrainConfig(
        title=title or values.mode,
        model=model,
        data=_data_config(values, task, model, image_size, unlabeled, teacher_size),
        optimizer=_optimizer_config(values, task),
        model_dir=model_dir,
        device=device_config(values),
        teacher=teacher,
        teacher_path=(values.teacher_model_path or "") if online else "",
        init_path=_init_path(values, model, labeled_by),
        reset_head=values.reset_head,
        unlabeled_dropout=values.unl_dropout,
        unlabeled_stochastic_depth=values.unl_stochastic_depth,
        rematerialise=values.remat,
        evaluation=split_config(values, task, split) if split and values.mode != "train" else None,
        steps_per_eval=values.steps_per_eval,
        save_checkpoints_steps=values.save_checkpoints_steps,
        keep_checkpoint_max=values.keep_checkpoint_max,
        iterations_per_loop=values.iterations_per_loop,
        log_step_count_steps=values.log_step_count_steps,
        profile_steps=_profile_steps(values),
        use_averages=values.use_averages,
    )


def _optimizer_config(values: FlagValues, task: Task) -> OptimizerConfig:
    if values.train_last_step_num > values.train_steps:
        raise UserError(
            f"--train_last_step_num: got {values.train_last_step_num}, expected at most {values.train_steps}, as --train_steps "
            "says (--train_ratio multiplies both)"
        )
    last_steps = _multiplied(values, "train_last_step_num") if values.train_last_step_num > 0 else -1
    if values.unlabeled_only and not values.unlabel_ratio:
        raise UserError(
            "--unlabeled_only is given with --unlabel_ratio=0, which leaves nothing to train on; give the ratio, or leave it out"
        )
    if values.final_base_lr is not None and values.final_base_lr >= values.base_learning_rate:
        raise UserError(
            f"--final_base_lr: got {values.final_base_lr:g}, expected less than --base_learning_rate, which is "
            f"{values.base_learning_rate:g}"
        )
    return OptimizerConfig(
        train_steps=_multiplied(values, "train_steps"),
        train_batch_size=values.train_batch_size,
        num_train_images=values.num_train_images or task.num_images.get("train", 0),
        train_ratio=values.train_ratio,
        base_learning_rate=values.base_learning_rate,
        final_base_lr=values.final_base_lr,
        train_last_step_num=last_steps,
        weight_decay=values.weight_decay,
        label_smoothing=values.label_smoothing,
        moving_average_decay=values.moving_average_decay,
        unlabel_ratio=values.unlabel_ratio,
        teacher_softmax_temp=values.teacher_softmax_temp,
        label_data_sample_prob=values.label_data_sample_prob,
        unlabeled_only=values.unlabeled_only,
    )


def _multiplied(values: FlagValues, flag: str) -> int:
    """A number of steps times --train_ratio, rounded down; raises UserError if nothing is left."""
    steps = int(values[flag].value * values.train_ratio)
    if steps < 1:
        raise UserError(
            f"--train_ratio: got {values.train_ratio:g}, which leaves none of --{flag}={values[flag].value}; give a larger one"
        )
    return steps


def _data_config(
    values: FlagValues, task: Task, model: ModelConfig, image_size: int, unlabeled: str, teacher_size: Optional[int]
) -> DataConfig:
    named = augmentation(values, "augment_name")
    unlabeled_named = named if values.unl_aug == "default" else augmentation(values, "unl_aug")
    return DataConfig(
        task=task,
        label_data_dir=label_data_dir(values),
        unlabel_data_dir=unlabeled,
        image_size=image_size,
        small_image_model=model.small_image_model,
        augment=named,
        unlabeled_augment=unlabeled_named,
        remove_aug=values.remove_aug,
        teacher_image_size=teacher_size,
        noise_teacher=values.noise_teacher and teacher_size is not None,
        num_train_shards=values.num_train_shards,
        use_cache=values.use_cache,
        skip_corrupt_records=values.skip_corrupt_records,
        even_classes=values.even_classes,
        seed=values.seed,
    )


def _profile_steps(values: FlagValues) -> Optional[tuple[int, int]]:
    text = values.profile_steps
    if not text:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts) or int(parts[0]) >= int(parts[1]):
        raise UserError(f"--profile_steps: got {text!r}, expected FIRST,LAST with FIRST below LAST, e.g. 100,110")
    return int(parts[0]), int(parts[1])


def _unlabeled_dir(values: FlagValues, online: bool) -> str:
    """Where the unlabeled images of a training come from; "" for a supervised one."""
    if not values.unlabel_ratio:
        if values.unlabel_data_dir:
            raise UserError(
                "--unlabel_data_dir is given with --unlabel_ratio=0; give the ratio, or leave the folder out"
            )
        return ""
    if values.unlabel_data_dir:
        return values.unlabel_data_dir
    if online and values.data_dir:
        return os.path.join(values.data_dir, "unlabeled")
    raise UserError(
        f"--unlabel_ratio: got {values.unlabel_ratio:g} without unlabeled images; give --unlabel_data_dir (balanced records, "
        "or plain images with --teacher_model_name and --teacher_model_path)"
    )


def _init_path(values: FlagValues, model: ModelConfig, labeled_by: Optional[tuple[ModelConfig, str]]) -> str:
    """The checkpoint to start from; "" for none. `labeled_by`: the teacher's network and checkpoint."""
    if values.init_model and not values.init_model_path:
        raise UserError("--init_model is given without --init_model_path; give the checkpoint to start from")
    if values.init_model_path and not values.init_model:
        raise UserError("--init_model_path is given without --init_model; give both, or leave both out")
    if values.reset_head and not values.init_model:
        raise UserError("--reset_head is given without --init_model; there is no classifier to leave out")
    if values.student_start == "scratch":
        return values.init_model_path or ""
    if values.init_model:
        raise UserError("--student_start=teacher is given with --init_model; only one of them can be the start")
    if labeled_by is None:
        raise UserError(
            "--student_start=teacher is given without an online teacher (--teacher_model_name, --teacher_model_path); where the "
            "teacher's labels are on disk, pass --init_model --init_model_path=TEACHER"
        )
    teacher, path = labeled_by
    check_same_architecture(model, teacher)
    return path
