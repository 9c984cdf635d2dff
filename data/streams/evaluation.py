"""The evaluation stream: every labeled image once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from data.images import decoding
from data.streams.faults import Record, explain
from data.streams.parsing import parse_labeled
from data.streams.reading import count_records, parallel_map, parallel_options, read_ahead, read_records
from data.streams.unreadable import Unreadable
from runtime.workers import Pipeline


@tf.autograph.experimental.do_not_convert
def evaluation_stream(
    files: list[str],
    num_classes: int,
    image_size: int,
    small_image_model: bool,
    batch: int,
    replicas: int = 1,
    pipeline: Pipeline = Pipeline(),
    limit: Optional[int] = None,
    skipped: Sequence[Unreadable] = (),
    fit: str = "crop",
) -> tf.data.Dataset:
    """Every labeled image once; batches have one static size and are filled up with images of weight 0.

    Args:
      files, num_classes, image_size, small_image_model: what is read, and how it is prepared.
      batch: images of one replica's batch.
      replicas: replicas over all pipelines; every pipeline gives the same number of batches.
      pipeline: this process's share.
      limit: the first so many images alone, over all pipelines; None for all.
      skipped: records to leave out (see `unreadable_records`).
      fit: how an image that is no square becomes one (`data.tasks.FITS`).

    Returns:
      {"image" float32 [batch, H, W, 3] in 0..255, "label" int32 [batch], "weight" float32 [batch] (0 for filling)}.
    """

    def prepare(record: Record) -> dict[str, tf.Tensor]:
        features = parse_labeled(record, num_classes)
        image = decoding.evaluation_image(features["encoded"], image_size, small_image_model, fit)
        return {"image": image, "label": features["label"], "weight": tf.constant(1.0)}

    dataset = read_records(tf.data.Dataset.from_tensor_slices(files), skipped).take(-1 if limit is None else limit)
    dataset = dataset.shard(pipeline.count, pipeline.index)
    dataset = parallel_map(dataset, prepare)
    total = None
    if replicas > 1:
        total = count_records(files, skipped) - sum(len(shard.images) for shard in skipped)
    if total is not None and limit is not None:
        total = min(total, limit)
    steps = None if total is None else -(-total // (batch * replicas))
    local = replicas // pipeline.count
    batches = pad_batches(dataset, batch, None if steps is None else steps * local)
    return read_ahead(batches, replicas, pipeline).with_options(parallel_options())


def pad_batches(dataset: tf.data.Dataset, batch: int, count: Optional[int] = None) -> tf.data.Dataset:
    """Batches of one static size, filled up with zeros (so "weight" is 0 there); `count` of them where given."""
    zeros = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), dataset.element_spec)
    filling = tf.data.Dataset.from_tensors(zeros)
    if count is not None:
        padded = dataset.concatenate(filling.repeat()).take(count * batch)
    else:
        # One batch less one of filling completes the last batch; drop_remainder then removes what is left of it.
        padded = dataset.concatenate(filling.repeat(batch - 1))
    return padded.batch(batch, drop_remainder=True)


@tf.autograph.experimental.do_not_convert
def count_labels(files: list[str], num_classes: int, skipped: Sequence[Unreadable] = ()) -> list[int]:
    """Labeled images of each class.

    Raises:
      UserError: a label outside the classes, or a file that cannot be read.
    """
    dataset = read_records(tf.data.Dataset.from_tensor_slices(files), skipped)
    dataset = parallel_map(dataset, lambda record: parse_labeled(record, num_classes)["label"])
    counts = [0] * num_classes
    try:
        for labels in dataset.batch(4096).with_options(parallel_options()).as_numpy_iterator():
            for label in labels:
                counts[label] += 1
    except tf.errors.OpError as error:
        raise explain(error, files) from error
    return counts
