"""From flags to the configs of `predict` and `balance`, and the rules between these flags. No TensorFlow here."""

from __future__ import annotations

from absl.flags import FlagValues

from checkpoints.description import Description
from data.config import TeacherNoise
from data.tasks import Task
from efficientnet.variants import ModelConfig
from flags.build.parts import augmentation, device_config
from flags.folders import count_shards, file_prefix, images_dir, in_data_dir, needed, parse_shard_ids
from flags.network import network_of, task_of
from pseudo_label.config import BalanceConfig, PredictConfig
from runtime.errors import UserError

MAX_SPARSE_CLASSES = 1 << 16  # a sparse soft label has two bytes for a class (`data/records/soft_labels.py`)


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
        noise=TeacherNoise(augmentation(values, "augment_name"), task.flip, values.seed, task.fit)
        if values.noise_teacher
        else None,
        fit=task.fit,
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
    alone = values["num_label_classes"].present and not (values["task_name"].present or values.data_dir)
    task = None if alone else task_of(values)
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
        num_classes=task.num_classes if task else values.num_label_classes,
        label_names=task.class_names if task else (),
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
