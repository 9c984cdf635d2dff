"""From flags to the rooms' frozen configs, and the rules between flags with their messages. No TensorFlow here.

Every function takes the FlagValues to read, so that two sets of flags can live in one process. Nothing is written, and only
small descriptions are read (task.json, model.json, the names of shards).
"""

from __future__ import annotations

import os
from typing import Optional

from absl.flags import FlagValues

from checkpoints.config import ConvertConfig, ExportConfig
from checkpoints.description import Description
from data.config import AugmentConfig, DataConfig, TeacherNoise
from data.prepare.config import PrepareConfig
from data.tasks import TASKS, Task, load_task
from efficientnet.variants import ModelConfig
from evaluation.config import ClassifyConfig
from flags.definitions import IGNORED
from flags.folders import count_shards, file_prefix, images_dir, in_data_dir, needed, parse_shard_ids
from flags.network import check_classes, check_same_architecture, check_teacher, network_of, task_of, teacher_of
from pseudo_label.config import BalanceConfig, PredictConfig
from runtime.config import DeviceConfig
from runtime.errors import UserError
from training.config import OptimizerConfig, TrainConfig

MAX_SPARSE_CLASSES = 1 << 16  # a sparse soft label has two bytes for a class (`data/records/soft_labels.py`)


# --- one config a mode ----------------------------------------------------------------------------------------------


def prepare_config(values: FlagValues) -> PrepareConfig:
    """For `--mode=prepare`.

    Raises:
      UserError: no data_dir.
    """
    task_name = load_task(values.task_name).name
    if values["num_labeled"].present and task_name != "digits":
        raise UserError(
            f"--num_labeled: digits alone draws its labeled images, --task_name={task_name} has them already; leave the flag out"
        )
    data_dir = needed(values, "data_dir", "the folder to write to")
    if ";" in data_dir:
        raise UserError(
            f"--data_dir: got {data_dir}; every other mode takes ; for a sign between folders, choose another name"
        )
    return PrepareConfig(
        task_name,
        data_dir,
        num_labeled=values.num_labeled,
        num_test_images=values.num_test_images,
        seed=values.seed,
        source_dir=values.source_dir or "",
        download=values.download,
        num_processes=values.num_processes,
        **({"num_shards": values.num_shards} if values["num_shards"].present else {}),
    )


def train_config(
    values: FlagValues, title: str = "", labeled_by: Optional[tuple[ModelConfig, str]] = None
) -> TrainConfig:
    """For `train`, `eval`, `train_and_eval`, and each network of `iterate`.

    Args:
      values: the flags.
      title: names it in what is printed; default: the mode.
      labeled_by: the teacher that made the labels on disk, and its checkpoint, where that is known.

    Raises:
      UserError: flags that are missing or do not fit together.
    """
    train = values.mode != "eval"
    model_dir = needed(values, "model_dir", "the folder of checkpoints")
    described = None if train else Description.beside(model_dir)
    task = task_of(values, described)
    model, image_size = network_of(values, task, described)
    online = train and check_teacher(values)
    teacher, teacher_size = teacher_of(values, model, image_size) if online else (None, None)
    if teacher:
        labeled_by = (teacher, values.teacher_model_path)
    if train and values.noise_teacher and not online:
        raise UserError(
            "--noise_teacher is given without an online teacher (--teacher_model_name, --teacher_model_path); where the labels "
            "are on disk, it belongs to the --mode=predict that makes them"
        )
    unlabeled = _unlabeled_dir(values, online) if train else ""
    split = _eval_split(values, task)
    return TrainConfig(
        title=title or values.mode,
        model=model,
        data=_data_config(values, task, model, image_size, unlabeled, teacher_size),
        optimizer=_optimizer_config(values, task),
        model_dir=model_dir,
        device=device_config(values),
        teacher=teacher,
        teacher_path=(values.teacher_model_path or "") if online else "",
        init_path=_init_path(values, model, labeled_by) if train else "",
        reset_head=values.reset_head,
        unlabeled_dropout=values.unl_dropout,
        unlabeled_stochastic_depth=values.unl_stochastic_depth,
        rematerialise=values.remat,
        train=train,
        evaluate=values.mode != "train" and bool(split),
        eval_batch_size=values.eval_batch_size,
        steps_per_eval=values.steps_per_eval,
        save_checkpoints_steps=values.save_checkpoints_steps,
        keep_checkpoint_max=values.keep_checkpoint_max,
        iterations_per_loop=values.iterations_per_loop,
        log_step_count_steps=values.log_step_count_steps,
        profile_steps=_profile_steps(values),
        num_eval_images=values.num_test_images if split == "test" else values.num_eval_images,
        eval_split=split,
        use_averages=values.use_averages,
    )


def predict_config(values: FlagValues) -> PredictConfig:
    """For `--mode=predict`.

    Raises:
      UserError: flags that are missing or do not fit together, a shard or worker that does not exist.
    """
    checkpoint = needed(values, "predict_ckpt_path", "the teacher's checkpoint")
    described = Description.beside(checkpoint)
    task = task_of(values, described)
    model, image_size = network_of(values, task, described)
    return predict_with(values, model, image_size, task, checkpoint, "predict")


def predict_with(
    values: FlagValues,
    model: ModelConfig,
    image_size: int,
    task: Task,
    checkpoint: str,
    title: str,
) -> PredictConfig:
    """Prediction with a known network; `title` names it in what is printed.

    Raises:
      UserError: flags that are missing or do not fit together, a shard or worker that does not exist.
    """
    if values.worker_id >= values.total_replicas:
        raise UserError(
            f"--worker_id: got {values.worker_id}, expected 0 to {values.total_replicas - 1}, as --total_replicas says"
        )
    input_dir, input_flag = images_dir(values)
    num_shards = count_shards(values, input_dir)
    return PredictConfig(
        title=title,
        model=model,
        checkpoint=checkpoint,
        input_dir=input_dir,
        input_flag=input_flag,
        output_dir=needed(values, "output_dir", "the folder of the predictions"),
        image_size=image_size,
        info_dir=values.info_dir or "",
        file_prefix=file_prefix(values, input_dir),
        num_shards=num_shards,
        shard_ids=parse_shard_ids(values.shard_id, num_shards),
        total_replicas=values.total_replicas,
        worker_id=values.worker_id,
        batch_size=values.eval_batch_size,
        reassign_label=values.reassign_label,
        skip_corrupt_records=values.skip_corrupt_records,
        samples_per_class=values.samples_per_class,
        store_top_k=_store_top_k(values, model),
        noise=TeacherNoise(_augmentation(values, "augment_name"), task.flip, values.seed)
        if values.noise_teacher
        else None,
        class_names=task.class_names,
        use_averages=values.use_averages,
        device=device_config(values),
    )


def _store_top_k(values: FlagValues, model: ModelConfig) -> int:
    if values.store_top_k >= model.num_classes or (values.store_top_k and model.num_classes > MAX_SPARSE_CLASSES):
        raise UserError(
            f"--store_top_k: got {values.store_top_k}, expected less than the {model.num_classes} classes (of which there can "
            f"be {MAX_SPARSE_CLASSES}); 0 keeps them all"
        )
    return values.store_top_k


def balance_config(values: FlagValues, title: str = "balance") -> BalanceConfig:
    """For `--mode=balance`.

    Raises:
      UserError: flags that are missing or do not fit together.
    """
    if values.min_threshold > values.max_prob:
        raise UserError(
            f"--min_threshold: got {values.min_threshold:g}, expected at most --max_prob, which is {values.max_prob:g}"
        )
    # The release's filter script knows no tasks, only a number of classes.
    alone = values["num_label_classes"].present and not values["task_name"].present
    num_classes = values.num_label_classes if alone else check_classes(values, task_of(values))
    input_dir = values.input_dir or in_data_dir(values, "unlabeled", "input_dir", "the images that were predicted on")
    num_shards = count_shards(values, input_dir)
    if values.only_use_num_shards > num_shards:
        raise UserError(
            f"--only_use_num_shards: got {values.only_use_num_shards}, expected at most {num_shards}, as --num_shards says"
        )
    return BalanceConfig(
        title=title,
        input_dir=input_dir,
        prediction_dir=needed(values, "prediction_dir", "the folder of the predictions"),
        output_dir=needed(values, "output_dir", "the folder of the balanced records"),
        num_classes=num_classes,
        num_image=values.num_image,
        min_threshold=values.min_threshold,
        max_prob=values.max_prob,
        upsample=values.upsample,
        use_all=values.use_all,
        only_get_stats=values.only_get_stats,
        file_prefix=file_prefix(values, input_dir),
        num_shards=num_shards,
        only_use_num_shards=values.only_use_num_shards,
        seed=values.seed,
        beam_args=tuple(values.beam_args),
    )


def classify_config(values: FlagValues) -> ClassifyConfig:
    """For `--mode=classify`.

    Raises:
      UserError: flags that are missing or do not fit together.
    """
    checkpoint = needed(values, "predict_ckpt_path", "the network's checkpoint")
    described = Description.beside(checkpoint)
    task = task_of(values, described)
    model, image_size = network_of(values, task, described)
    return ClassifyConfig(
        title="classify",
        model=model,
        checkpoint=checkpoint,
        inputs=tuple(needed(values, "input_files", "the images, files or folders")),
        image_size=image_size,
        class_names=task.class_names,
        imagenet=task.name == "imagenet" and model.num_classes == TASKS["imagenet"].num_classes,
        output_csv=values.output_csv or "",
        batch_size=values.eval_batch_size,
        use_averages=values.use_averages,
        device=device_config(values),
    )


def convert_config(values: FlagValues) -> ConvertConfig:
    """For `--mode=convert`.

    Raises:
      UserError: flags that are missing or do not fit together.
    """
    task = task_of(values)
    model, image_size = network_of(values, task)
    return ConvertConfig(
        title="convert",
        model=model,
        checkpoint=needed(values, "init_model_path", "the checkpoint to convert"),
        model_dir=needed(values, "model_dir", "the folder to write to"),
        image_size=image_size,
        task=task,
    )


def export_config(values: FlagValues) -> ExportConfig:
    """For `--mode=export`.

    Raises:
      UserError: flags that are missing or do not fit together.
    """
    checkpoint = needed(values, "predict_ckpt_path", "the checkpoint to export")
    described = Description.beside(checkpoint)
    task = task_of(values, described)
    model, image_size = network_of(values, task, described)
    return ExportConfig(
        title="export",
        model=model,
        checkpoint=checkpoint,
        output_dir=needed(values, "output_dir", "the folder to write to"),
        image_size=image_size,
        task=task,
        use_averages=values.use_averages,
        tf1_checkpoint=values.export_tf1,
    )


def device_config(values: FlagValues) -> DeviceConfig:
    """Which devices to run on."""
    return DeviceConfig(
        use_tpu=values.use_tpu,
        tpu=values.tpu or "",
        tpu_zone=values.tpu_zone or "",
        gcp_project=values.gcp_project or "",
        use_bfloat16=values.use_bfloat16 if values["use_bfloat16"].present else None,
        num_shards_per_group=values.num_shards_per_group,
    )


def notices(values: FlagValues) -> list[str]:
    """One line for each flag that was given and has no effect."""
    lines = [f"--{name} is ignored: {reason}" for name, reason in IGNORED.items() if values[name].present]
    if values["gcp_project"].present and not values.use_tpu:
        lines.append("--gcp_project is ignored: only a TPU has use for it")
    if values.mode == "balance":
        for name in ("shard_id", "total_replicas", "info_dir"):
            if values[name].present:
                lines.append(f"--{name} is ignored: --mode=balance works on all shards and workers in one run")
    return lines


# --- parts of a training --------------------------------------------------------------------------------------------


def _optimizer_config(values: FlagValues, task: Task) -> OptimizerConfig:
    steps = int(values.train_steps * values.train_ratio)
    if steps < 1:
        raise UserError(
            f"--train_ratio: got {values.train_ratio:g}, which leaves none of --train_steps={values.train_steps}"
        )
    if values.train_last_step_num > steps:
        raise UserError(
            f"--train_last_step_num: got {values.train_last_step_num}, expected at most {steps}, --train_steps x --train_ratio"
        )
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
        train_steps=steps,
        train_batch_size=values.train_batch_size,
        num_train_images=values.num_train_images or task.num_images.get("train", 0),
        train_ratio=values.train_ratio,
        base_learning_rate=values.base_learning_rate,
        final_base_lr=values.final_base_lr,
        train_last_step_num=values.train_last_step_num,
        weight_decay=values.weight_decay,
        label_smoothing=values.label_smoothing,
        moving_average_decay=values.moving_average_decay,
        unlabel_ratio=values.unlabel_ratio,
        teacher_softmax_temp=values.teacher_softmax_temp,
        label_data_sample_prob=values.label_data_sample_prob,
        unlabeled_only=values.unlabeled_only,
    )


def _data_config(
    values: FlagValues, task: Task, model: ModelConfig, image_size: int, unlabeled: str, teacher_size: Optional[int]
) -> DataConfig:
    named = _augmentation(values, "augment_name")
    unlabeled_named = named if values.unl_aug == "default" else _augmentation(values, "unl_aug")
    return DataConfig(
        task=task,
        label_data_dir=values.label_data_dir or in_data_dir(values, "labeled", "label_data_dir", "the labeled shards"),
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


def _eval_split(values: FlagValues, task: Task) -> str:
    """The split to evaluate; "" where there is none, which `iterate` and `train` can do without."""
    split = values.eval_split or task.eval_split
    if not split and values.mode in ("eval", "train_and_eval"):
        raise UserError(
            f"--mode={values.mode}: the data of --task_name={task.name} have no test split; prepare them with test images "
            "(a folder test/, or --num_test_images), or pass --mode=train"
        )
    return split


def _augmentation(values: FlagValues, flag: str) -> AugmentConfig:
    name = values[flag].value or "none"
    if name not in ("v1", "none"):
        also = " or default" if flag == "unl_aug" else ""
        raise UserError(f"--{flag}: got {name!r}, expected v1 (RandAugment), none{also}")
    return AugmentConfig(name == "v1", values.randaug_layer, float(values.randaug_mag), values.cutout_op)


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
