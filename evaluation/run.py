"""A network's accuracy on a split: of a checkpoint (`--mode=eval`), and of a network that is being trained."""

from __future__ import annotations

import glob
import json
import os
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from checkpoints.reading import load_weights, step_of
from data.config import SplitConfig
from data.fast import Fast
from data.records.shards import find_shards
from data.streams import faults
from data.streams.evaluation import evaluation_stream
from data.streams.reading import count_up_to, unreadable_records
from efficientnet.model import EfficientNet
from efficientnet.ops import Ops
from evaluation.accuracy import Evaluator
from evaluation.config import EvaluateConfig
from runtime import devices
from runtime.errors import UserError
from runtime.files import write_faults, write_text
from runtime.work_dir import EVALUATION_FILE

CHECKPOINT_FLAG = "model_dir"


def evaluate(config: EvaluateConfig, fast: Fast = Fast()) -> dict[str, Any]:
    """Reads a checkpoint's weights into a network, prints its accuracy and writes evaluation.json beside the checkpoint.

    Any checkpoint will do, a released one too: only the weights that are evaluated are read.

    Returns:
      as `SplitAccuracy`; the step is 0 if the checkpoint does not say it.

    Raises:
      UserError: no such checkpoint, or another network's; a split without images; a record that cannot be read.
    """
    strategy = devices.make_strategy(config.device)
    with strategy.scope():
        bfloat16 = devices.uses_bfloat16(config.device, strategy)
        model = EfficientNet(config.model, bfloat16=bfloat16, ops=split_ops(config.data, fast))
        prefix = load_weights(model, config.checkpoint, CHECKPOINT_FLAG, use_averages=config.use_averages)
        accuracy = SplitAccuracy(model, strategy, config.data, config.image_size)
    result = accuracy(step_of(prefix, CHECKPOINT_FLAG))
    print(in_words(result, config.title))
    if devices.is_chief(strategy):
        write_evaluation(os.path.dirname(prefix), result)
    return result


class SplitAccuracy:
    """One network's accuracy on a split, measured as often as it is called; the step is compiled once.

    Args:
      model: the network whose answers count.
      strategy: where it runs; to be made inside its scope.
      data: the images.
      image_size: pixels at which the network sees them.

    Raises:
      UserError: no shard of the split.
    """

    def __init__(self, model: EfficientNet, strategy: tf.distribute.Strategy, data: SplitConfig, image_size: int):
        self.model = model
        self._strategy = strategy
        self._data = data
        self._image_size = image_size
        self._files = split_files(data)
        self._skipped = unreadable_records(self._files, data.skip_corrupt_records)
        self._evaluator = Evaluator(model, strategy)

    def __call__(self, step: int) -> dict[str, Any]:
        """Measures the network as it is after `step` updates.

        Returns:
          split, step, num_images, correct, accuracy, top5_accuracy (see `Evaluator`).

        Raises:
          UserError: no image in the split, a record that cannot be read.
        """
        batches = self._strategy.distribute_datasets_from_function(self._stream)
        try:
            result = self._evaluator(batches)
        except tf.errors.OpError as error:
            raise faults.explain(error, self._files) from error
        if not result["num_images"]:
            raise UserError(
                f"--eval_split: the shards of {self._data.split!r} hold no image, from {self._files[0]} on; prepare the data "
                "again"
            )
        return {"split": self._data.split, "step": step, **result}

    def _stream(self, context: Optional[tf.distribute.InputContext]) -> tf.data.Dataset:
        data = self._data
        return evaluation_stream(
            self._files,
            data.task.num_classes,
            self._image_size,
            self.model.config.small_image_model,
            data.eval_batch_size,
            self._strategy.num_replicas_in_sync,
            devices.pipeline_of(context),
            data.num_images,
            self._skipped,
            data.task.fit,
        )


def split_files(data: SplitConfig) -> list[str]:
    """The split's shards; raises UserError if there is none."""
    return find_shards(data.label_data_dir, f"{glob.escape(data.split)}-?????-of-?????", "label_data_dir")


def split_ops(data: SplitConfig, fast: Fast) -> Ops:
    """The ops of a network that sees the split's images."""
    files = split_files(data)
    return fast.inference(lambda enough: min(count_up_to(enough, files), data.num_images or enough))


def in_words(result: dict[str, Any], title: str) -> str:
    """An evaluation in a line."""
    return (
        f"{title}: step {result['step']}: {100 * result['accuracy']:.2f} % of {result['num_images']} {result['split']} images "
        "right"
    )


def write_evaluation(model_dir: str, result: dict[str, Any]) -> None:
    """Writes evaluation.json.

    Raises:
      UserError: the folder cannot be written to.
    """
    path = os.path.join(model_dir, EVALUATION_FILE)
    with write_faults(path, CHECKPOINT_FLAG):
        write_text(path, json.dumps(result, indent=1, sort_keys=True) + "\n")


def right_answers(config: EvaluateConfig, fast: Fast = Fast()) -> tuple[np.ndarray, np.ndarray]:
    """Which pictures of the split the checkpoint has right, in the order of the records, on one device.

    Returns:
      bool [N], and the pictures' classes, int32 [N].

    Raises:
      UserError: as `evaluate`.
    """
    model = EfficientNet(config.model, ops=split_ops(config.data, fast))
    load_weights(model, config.checkpoint, CHECKPOINT_FLAG, use_averages=config.use_averages)
    data, files = config.data, split_files(config.data)
    skipped = unreadable_records(files, data.skip_corrupt_records)
    answer = tf.function(lambda images: tf.argmax(model(images), 1, tf.int32), autograph=False)
    right, classes = [], []
    try:
        for batch in evaluation_stream(
            files,
            data.task.num_classes,
            config.image_size,
            config.model.small_image_model,
            data.eval_batch_size,
            limit=data.num_images,
            skipped=skipped,
            fit=data.task.fit,
        ):
            real = batch["weight"] > 0
            labels = tf.boolean_mask(batch["label"], real).numpy()
            right.append(tf.boolean_mask(answer(batch["image"]), real).numpy() == labels)
            classes.append(labels)
    except tf.errors.OpError as error:
        raise faults.explain(error, files) from error
    return np.concatenate(right), np.concatenate(classes)
