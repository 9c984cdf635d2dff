"""`--mode=classify`: the most probable classes of image files.

Each file is read as `--mode=prepare --task_name=folder` reads it (any format, upright, transparency on white) and then gets
the evaluation's centre crop. A network with `small_image_model` takes images as they are stored; one of another size is
fitted and scaled to the network's.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from checkpoints.reading import load_weights
from data.fast import Fast
from data.images import decoding, files
from data.images.files import Item, Loaded, Rules
from data.prepare import listing
from data.prepare.image_shards import PATIENCE
from efficientnet.model import EfficientNet
from evaluation.classify import imagenet_names
from evaluation.classify.table import Answer, csv_faults, table, write_csv
from evaluation.config import ClassifyConfig
from runtime import devices as strategies
from runtime.errors import UserError, first_line
from runtime.progress import progress
from runtime.workers import Workers


def classify(config: ClassifyConfig, fast: Fast = Fast()) -> list[Answer]:
    """Prints the most probable classes of every image and writes them to `output_csv`; returns them in order.

    Raises:
      UserError: no such file, no file that is an image, no such checkpoint, class names of another number.
    """
    items = find_images(config.inputs)
    names = class_names(config)
    top = min(config.top, len(names))
    output_csv = config.output_csv
    if output_csv and "://" not in output_csv:
        output_csv = os.path.abspath(output_csv)
    if output_csv:
        if tf.io.gfile.isdir(output_csv):
            raise UserError(f"--output_csv: {output_csv} is a folder; name a file")
        with csv_faults(output_csv):
            tf.io.gfile.makedirs(os.path.dirname(output_csv) or ".")
            if "://" not in output_csv and not os.access(os.path.dirname(output_csv), os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), output_csv)
    strategy = strategies.make_strategy(config.device)
    with strategy.scope():
        ops = fast.inference(lambda enough: min(enough, len(items)))
        model = EfficientNet(config.model, bfloat16=strategies.uses_bfloat16(config.device, strategy), ops=ops)
        load_weights(model, config.checkpoint, "predict_ckpt_path", use_averages=config.use_averages)
    answers = []
    with progress(config.title, len(items), "images") as bar:
        for answer in _answers(config, strategy, model, items, top):
            answers.append(answer)
            bar.update(1)
    print(table(answers, names, output_csv))
    if output_csv:
        write_csv(output_csv, answers, names, top)
    if all(answer.problem for answer in answers):
        raise UserError(f"--input_files: none of the {len(answers)} files is an image that can be read")
    return answers


def find_images(inputs: Iterable[str]) -> list[Item]:
    """The files named, and all files in the folders named, in order.

    Raises:
      UserError: there is no such file or folder, or none was named, or a folder is empty.
    """
    found: list[Item] = []
    for path in inputs:
        if os.path.isdir(path):
            with listing.reading(path, "input_files"):
                inside = listing.list_files(path)
            if not inside:
                raise UserError(f"--input_files: the folder {path} is empty; give image files or a folder of them")
            found += inside
        elif os.path.isfile(path):
            found.append(Item(path, os.path.getsize(path)))
        else:
            remote = "; copy it to this machine first" if "://" in path else ""
            raise UserError(f"--input_files: no file or folder {listing.shown(path)}{remote}")
    if not found:
        raise UserError("--input_files is missing; give image files or folders of them")
    return found


def class_names(config: ClassifyConfig) -> tuple[str, ...]:
    """One name a class; raises UserError where there is another number of them."""
    count, names = config.model.num_classes, config.class_names
    if names and len(names) != count:
        raise UserError(
            f"--task_name: the task has {len(names)} class names, but the network has {count} classes; give the task that the "
            "checkpoint was trained on"
        )
    if config.imagenet:
        names = imagenet_names.readable(names)
    return names or tuple(f"class {label}" for label in range(count))


def _answers(
    config: ClassifyConfig, strategy: tf.distribute.Strategy, model: EfficientNet, items: list[Item], top: int
) -> Iterator[Answer]:
    predict = _predictor(config, strategy, model)
    size = config.batch_size * strategy.num_replicas_in_sync
    batch = np.zeros((size, config.image_size, config.image_size, 3), np.float32)
    waiting: list[Answer] = []  # the files of the batch being filled, and those between them that cannot be read
    filled = 0
    for answer, pixels in _pixels(config, items):
        waiting.append(answer)
        if pixels is not None:
            batch[filled] = pixels
            filled += 1
        if filled == size:
            yield from _with_classes(waiting, predict(batch), top)
            waiting, filled = [], 0
    yield from _with_classes(waiting, predict(batch) if filled else np.zeros((0, 1)), top)


def _with_classes(waiting: list[Answer], probabilities: np.ndarray, top: int) -> Iterator[Answer]:
    rows = iter(probabilities)
    for answer in waiting:
        if answer.problem:
            yield answer
            continue
        row = next(rows)
        best = np.argsort(-row, kind="stable")[:top]
        yield answer._replace(classes=tuple((int(label), float(row[label])) for label in best))


def _predictor(
    config: ClassifyConfig, strategy: tf.distribute.Strategy, model: EfficientNet
) -> Callable[[np.ndarray], np.ndarray]:
    """float32 [B x replicas, H, W, 3] -> probabilities float32 [B x replicas, C]; compiled once."""

    @tf.function(reduce_retracing=False)
    def step(pixels: tf.Tensor) -> tf.Tensor:
        return strategy.run(lambda local: tf.nn.softmax(model(local)), args=(pixels,))

    def predict(batch: np.ndarray) -> np.ndarray:
        def share(context: tf.distribute.ReplicaContext) -> tf.Tensor:
            first = context.replica_id_in_sync_group * config.batch_size
            return tf.constant(batch[first : first + config.batch_size])

        outputs = step(strategy.experimental_distribute_values_from_function(share))
        return np.concatenate([part.numpy() for part in strategy.experimental_local_results(outputs)])

    return predict


def _pixels(config: ClassifyConfig, items: list[Item]) -> Iterator[tuple[Answer, Any]]:
    """Every file with its float32 [H, W, 3], or with None and the problem."""
    small, side = config.model.small_image_model, config.image_size

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def prepare(encoded: tf.Tensor) -> tf.Tensor:
        return decoding.evaluation_image(encoded, side, small, config.fit)

    with Workers[Item, Loaded](load_image, 0, PATIENCE) as workers:
        for item, loaded in zip(items, workers.map(items)):
            name = listing.shown(item.path)
            if loaded.problem:
                yield Answer(name, problem=loaded.problem), None
                continue
            try:
                yield Answer(name), prepare(tf.constant(loaded.encoded)).numpy()
            except tf.errors.InvalidArgumentError as error:
                yield Answer(name, problem=first_line(error)), None


def load_image(item: Item) -> Loaded:
    """Reads one image as `folder` does."""
    return files.load(item, Rules())
