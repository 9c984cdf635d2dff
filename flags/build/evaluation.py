"""From flags to the configs of `eval` and `classify`, and to the split that a training is measured on. No TensorFlow here."""

from __future__ import annotations

from absl.flags import FlagValues

from checkpoints.description import Description
from data.config import SplitConfig
from data.tasks import TASKS, Task
from evaluation.config import ClassifyConfig, EvaluateConfig
from flags.build.parts import device_config, label_data_dir
from flags.folders import needed
from flags.network import network_of, task_of
from runtime.errors import UserError


def evaluate_config(values: FlagValues) -> EvaluateConfig:
    """For `--mode=eval`.

    Raises:
      UserError: flags that are missing or do not fit together, data without a test split.
    """
    checkpoint = needed(values, "model_dir", "the folder of checkpoints")
    described = Description.beside(checkpoint)
    task = task_of(values, described)
    model, image_size = network_of(values, task, described)
    return EvaluateConfig(
        title="eval",
        model=model,
        checkpoint=checkpoint,
        image_size=image_size,
        data=split_config(values, task, eval_split(values, task)),
        use_averages=values.use_averages,
        device=device_config(values),
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
        fit=task.fit,
        class_names=task.class_names,
        imagenet=task.name == "imagenet" and model.num_classes == TASKS["imagenet"].num_classes,
        output_csv=values.output_csv or "",
        batch_size=values.eval_batch_size,
        use_averages=values.use_averages,
        device=device_config(values),
    )


def split_config(values: FlagValues, task: Task, split: str) -> SplitConfig:
    """The images of a split, all of them or as many as its own flag says."""
    return SplitConfig(
        task=task,
        label_data_dir=label_data_dir(values),
        split=split,
        num_images=values.num_test_images if split == "test" else values.num_eval_images,
        eval_batch_size=values.eval_batch_size,
        skip_corrupt_records=values.skip_corrupt_records,
    )


def eval_split(values: FlagValues, task: Task) -> str:
    """The split to evaluate; "" if there is none, which `iterate` and `train` can do without."""
    split = values.eval_split or task.eval_split
    if not split and values.mode in ("eval", "train_and_eval"):
        raise UserError(
            f"--mode={values.mode}: the data of --task_name={task.name} have no test split; prepare them with test images "
            "(a folder test/, or --num_test_images), or pass --mode=train"
        )
    return split
