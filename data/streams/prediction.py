"""The prediction stream: every unlabeled image once, in order, in batches of one static size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from data.config import TeacherNoise
from data.images import decoding, randaugment
from data.images.training import Augmenter, TrainingOptions, training_image
from data.streams import parsing, segments, unreadable
from data.streams.reading import parallel_map, parallel_options, read_ahead
from data.streams.unreadable import Unreadable
from runtime.workers import Pipeline

ALONE = Pipeline()
FILLING = -1  # number of a record that is none


@tf.autograph.experimental.do_not_convert
def prediction_stream(
    files: list[str],
    image_size: int,
    small_image_model: bool,
    batch: int,
    share: tuple[int, int],
    skipped: Sequence[Unreadable] = (),
    replicas: int = 1,
    pipeline: Pipeline = ALONE,
    noise: Optional[TeacherNoise] = None,
    num_draws: int = 0,
    finished_before: Sequence[int] = (),
    augmenter: Augmenter = randaugment.randaugment,
    fit: str = "crop",
) -> tf.data.Dataset:
    """Batches of one static size over all files in order, one a replica and step.

    Where an image stands in its batch shows in the last bits of what is computed of it (a vector's remainder is computed
    otherwise), so in a continuation each image stands where it would have stood.

    Args:
      files: shards.
      image_size, small_image_model: evaluation preprocessing.
      batch: images of one replica's batch.
      share: (worker, workers): every `workers`-th record of each file from `worker` on.
      skipped: records whose image is left out (weight -1, an image of zeros), so that numbers stay those of the file; and
        where files are cut short.
      replicas: replicas over all pipelines.
      pipeline: this host's share: its replicas' batches of every step.
      noise: the training's preprocessing instead of the evaluation's; None for the latter.
      num_draws: D, how many numbers the network's noise needs for an image; only with `noise`.
      finished_before: for each file how many images of finished files come between it and the file before it; none where
        it is empty.
      augmenter: computes RandAugment.
      fit: how an image that is no square becomes one (`data.tasks.FITS`); `noise` has its own.

    Returns:
      {"image" float32 [batch, H, W, 3], "file" int64 [batch] (position in `files`), "number" int64 [batch] (record in the
      file), "weight" float32 [batch] (0 for filling, -1 for a record left out), and with `noise` "draws" float32 [batch, D]}.
    """
    worker, workers = share
    pairs = [[files.index(shard.path), number] for shard in skipped for number in shard.images]
    undecodable = tf.constant(pairs or np.zeros([0, 2]), tf.int64)
    cuts = unreadable.cuts(skipped)
    lengths = tf.constant([cuts.get(path, -1) for path in files], tf.int64)
    empty = tf.constant([count % (batch * replicas) for count in finished_before or [0] * len(files)], tf.int64)

    def read(position: tf.Tensor, path: tf.Tensor) -> tf.data.Dataset:
        examples = tf.data.TFRecordDataset(path, buffer_size=8 << 20).take(lengths[position])
        numbered = examples.enumerate().shard(workers, worker)
        images = numbered.map(lambda number, example: {"file": position, "number": number, "example": example})
        return _filling().repeat(empty[position]).concatenate(images)

    def prepare(record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        def inputs() -> dict[str, tf.Tensor]:
            encoded = parsing.parse_unlabeled(record)["encoded"]
            if noise is None:
                return {"image": decoding.evaluation_image(encoded, image_size, small_image_model, fit)}
            return noised_inputs(encoded, noise, image_size, small_image_model, num_draws, augmenter)

        def zeros() -> dict[str, tf.Tensor]:
            own = {} if noise is None else {"draws": tf.zeros([num_draws])}
            return {**own, "image": tf.zeros([image_size, image_size, 3])}

        here = tf.stack([record["file"], record["number"]])
        left_out = tf.reduce_any(tf.reduce_all(tf.equal(undecodable, here), -1))
        filling = record["number"] == FILLING
        return {
            **tf.cond(left_out | filling, zeros, inputs),
            "file": record["file"],
            "number": record["number"],
            "weight": tf.where(filling, 0.0, tf.where(left_out, -1.0, 1.0)),
        }

    dataset = tf.data.Dataset.from_tensor_slices(files).enumerate().flat_map(read)
    dataset = _whole_steps(dataset, batch, replicas, pipeline)
    dataset = parallel_map(dataset, prepare)
    batches = read_ahead(dataset.batch(batch, drop_remainder=True), replicas, pipeline)
    return batches.with_options(parallel_options())


def noised_inputs(
    encoded: tf.Tensor,
    noise: TeacherNoise,
    image_size: int,
    small_image_model: bool,
    num_draws: int,
    augmenter: Augmenter = randaugment.randaugment,
) -> dict[str, tf.Tensor]:
    """An image as a noised teacher sees it, and its draws for the network: a function of the arguments alone, so that it does
    not matter in which shard, worker or batch the image comes.

    Returns:
      {"image" float32 [image_size, image_size, 3], "draws" float32 [num_draws]}.
    """
    of_image = tf.strings.to_hash_bucket_strong(encoded, tf.int64.max, key=[noise.seed, 0])
    seed = tf.stack([segments.mix_seed(noise.seed), of_image])
    options = TrainingOptions(image_size, small_image_model, noise.flip, noise.augment, fit=noise.fit)
    image = training_image(encoded, seed, options, augmenter)
    # Not the very seed that the crop is drawn from.
    return {"image": image, "draws": tf.random.stateless_uniform([num_draws], seed + 1, alg="philox")}


def _filling() -> tf.data.Dataset:
    """One record that is none."""
    record = {"file": tf.constant(0, tf.int64), "number": tf.constant(FILLING, tf.int64), "example": tf.constant("")}
    return tf.data.Dataset.from_tensors(record)


def _whole_steps(dataset: tf.data.Dataset, batch: int, replicas: int, pipeline: Pipeline) -> tf.data.Dataset:
    """Fills the records up to whole steps of all replicas and leaves this pipeline its replicas' records, still encoded."""
    step = batch * replicas
    # One step less one of filling completes the last step; drop_remainder then removes what is left of it.
    dataset = dataset.concatenate(_filling().repeat(step - 1))
    dataset = dataset.batch(step, drop_remainder=True).unbatch()
    if pipeline.count == 1:
        return dataset
    own = step // pipeline.count
    numbered = dataset.enumerate().filter(lambda position, _: position % step // own == pipeline.index)
    return numbered.map(lambda _, record: record)
