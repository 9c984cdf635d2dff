"""How a training stream is cut into segments, so that it can begin at any step.

Everything random in a segment (file order, shuffle, crops, augmentation) follows from (seed, segment, position), so that a run
that continues at any step sees exactly the batches that an uninterrupted one would have seen. Each segment reads its files from
their beginning, so it is long enough to read them through (`_steps_of_a_segment`).
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf

from data.streams import even_classes
from data.streams.reading import READ_CYCLE, always, read_records
from data.streams.unreadable import Unreadable
from runtime.workers import Pipeline

CACHE_LIMIT = 1 << 30  # bytes of encoded records that a stream keeps in memory
SHUFFLE_BYTES = 256 << 20  # bytes that a shuffle buffer may hold
MAX_SHUFFLE = 100_000


PASSES_OF_A_SEGMENT = 2  # a last pass that the segment's end cuts short shows the first records of its files once more
CYCLES_OF_A_SEGMENT = 4  # enough where there are more files, of which every segment takes others
SAMPLED_FILES, SAMPLED_RECORDS = 8, 32  # whose sizes tell how many records there are


@dataclasses.dataclass(frozen=True)
class Segments:
    """How a training stream is cut.

    Attributes:
      first_step: the step at which the stream starts.
      steps: steps of a segment (the distance between checkpoints), or as many times that as it takes to see all the data.
    """

    first_step: int
    steps: int


def mix_seed(*values: Any) -> tf.Tensor:
    """Folds integers into one non-negative int64 seed."""
    state = tf.zeros([2], tf.int64)
    for value in values:
        state = tf.random.stateless_uniform(
            [2], tf.stack([state[0], tf.cast(value, tf.int64)]), maxval=tf.int64.max, dtype=tf.int64
        )
    return state[0]


def _record_sizes(files: list[str]) -> list[int]:
    """Bytes of some records of a stream, at least one."""
    apart = -(-len(files) // SAMPLED_FILES)
    heads = [tf.data.TFRecordDataset(path).take(SAMPLED_RECORDS).ignore_errors() for path in files[::apart]]
    return [len(record) + 16 for head in heads for record in head.as_numpy_iterator()] or [16]


def _shuffle_buffer(sizes: list[int]) -> int:
    """How many records of about these sizes a shuffle holds."""
    return int(min(MAX_SHUFFLE, max(1024, SHUFFLE_BYTES // statistics.mean(sizes))))


def _steps_of_a_segment(
    steps: int, batch: int, lengths: list[int], sizes: list[int], buffer: int, shuffled: bool
) -> int:
    """The least multiple of `steps` in which every record of the files has its chance.

    A segment draws from its shuffle's buffer and from what it reads meanwhile, from the files' beginnings on. Where that is not
    all, as many records have to be read as `PASSES_OF_A_SEGMENT` passes have, or where segments take the files in different
    orders, `CYCLES_OF_A_SEGMENT` times `READ_CYCLE` files.

    Args:
      steps, batch: steps of a segment that are asked for, and records of a step.
      lengths: bytes of each file.
      sizes: bytes of some records.
      buffer: records that the shuffle holds.
      shuffled: whether every segment has an order of files of its own.
    """
    size = statistics.median(sizes)
    if sum(lengths) / size <= buffer / PASSES_OF_A_SEGMENT:
        return steps
    to_read = PASSES_OF_A_SEGMENT * sum(lengths)
    if shuffled:
        to_read = min(to_read, CYCLES_OF_A_SEGMENT * READ_CYCLE * math.ceil(statistics.mean(lengths)))
    return steps * math.ceil(to_read / size / (steps * batch))


@dataclasses.dataclass(frozen=True)
class Shards:
    """The files of one stream and how they are read; `class_counts`, labeled records of each class, has them drawn evenly."""

    files: list[str]
    stream_id: int
    seed: int
    cache: bool
    skipped: Sequence[Unreadable] = ()
    class_counts: Optional[Sequence[int]] = None


def positions(shards: Shards, batch: int, segments: Segments, pipeline: Pipeline) -> tf.data.Dataset:
    """Endless records of this pipeline's share of every batch, as (seed, (position, record)): seed and position int64 []."""
    counts = shards.class_counts  # of all files: a share of them has others
    by_file = pipeline.count > 1 and len(shards.files) % pipeline.count == 0 and counts is None
    files = shards.files[pipeline.index :: pipeline.count] if by_file else shards.files
    share = batch // pipeline.count
    sizes, lengths = _record_sizes(files), [tf.io.gfile.stat(path).length for path in files]
    buffer = _shuffle_buffer(sizes)
    drawn = share if by_file else batch
    paths = tf.data.Dataset.from_tensor_slices(files)
    cached = read_records(paths, shards.skipped).cache() if shards.cache and sum(lengths) <= CACHE_LIMIT else None
    read_for_one = 1.0 if counts is None else even_classes.read_for_one(counts)
    steps = _steps_of_a_segment(
        segments.steps,
        drawn,
        [round(length / read_for_one) for length in lengths],
        sizes,
        buffer,
        shuffled=cached is None,
    )
    first = segments.first_step // steps

    def segment_records(segment: tf.Tensor) -> tf.data.Dataset:
        seed = mix_seed(shards.seed, shards.stream_id, segment, pipeline.index if by_file else 0)
        if cached is None:
            read = read_records(paths.shuffle(len(files), seed=seed), shards.skipped)
        else:
            read = cached
        dataset = _shuffled(read, buffer, seed, counts).take(steps * drawn).enumerate()
        done = tf.where(segment == first, tf.constant(segments.first_step % steps, tf.int64), 0)
        dataset = dataset.skip(done * drawn)
        if pipeline.count > 1 and not by_file:
            dataset = dataset.filter(lambda position, _: (position % batch) // share == pipeline.index)
        return tf.data.Dataset.zip((always(seed), dataset))

    return tf.data.Dataset.range(first, tf.int64.max).flat_map(segment_records)


def _shuffled(read: tf.data.Dataset, buffer: int, seed: tf.Tensor, counts: Optional[Sequence[int]]) -> tf.data.Dataset:
    """Pass after pass of the records, shuffled; with `counts`, evenly by class."""
    if counts is None:
        return read.shuffle(buffer, seed=seed).repeat()

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        own = mix_seed(seed, number)
        return even_classes.evened(read, counts, own).shuffle(buffer, seed=own)

    return tf.data.Dataset.range(tf.int64.max).flat_map(one_pass)
