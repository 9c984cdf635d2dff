"""Records are read from many files, in an order that depends on the files' order alone."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from data.records import shards as records_shards
from data.records.shards import offsets
from data.streams import unreadable
from data.streams.faults import Record
from data.streams.unreadable import Unreadable
from runtime import machine
from runtime.errors import UserError
from runtime.workers import Pipeline

READ_CYCLE = 16  # files that are read in turn


STARTED_OF_A_CORE = 4  # images that are started for each core: with fewer, cores wait for an image that takes longer


def _read_file(path: tf.Tensor, to_its_end: bool) -> tf.data.Dataset:
    dataset = tf.data.TFRecordDataset(path, buffer_size=8 << 20)
    if not to_its_end:
        dataset = dataset.ignore_errors()
    numbers = tf.data.Dataset.range(tf.int64.max)
    return tf.data.Dataset.zip({"example": dataset, "file": always(path), "number": numbers})


def always(value: tf.Tensor) -> tf.data.Dataset:
    """To be zipped with others: to map a function costs 15 microseconds an element more, which small images would notice."""
    return tf.data.Dataset.from_tensors(value).repeat()


def read_records(files: tf.data.Dataset, skipped: Sequence[Unreadable] = ()) -> tf.data.Dataset:
    """Records of all files, `READ_CYCLE` files in turn, in an order that depends on the files' order alone.

    Args:
      files: string paths.
      skipped: what `unreadable.scan` found, to be left out.
    """
    dataset = files.interleave(
        functools.partial(_read_file, to_its_end=not skipped),
        cycle_length=READ_CYCLE,
        num_parallel_calls=min(machine.cores(), READ_CYCLE),
        deterministic=True,
    )
    if not any(shard.images for shard in skipped):
        return dataset
    names = tf.constant([f"{shard.path}:{number}" for shard in skipped for number in shard.images])

    def is_readable(record: Record) -> tf.Tensor:
        name = tf.strings.join([record["file"], ":", tf.strings.as_string(record["number"])])
        return tf.logical_not(tf.reduce_any(tf.equal(names, name)))

    return dataset.filter(is_readable)


def unreadable_records(files: list[str], skip: bool) -> list[Unreadable]:
    """With --skip_corrupt_records: scans the files, prints what is left out, and returns it; nothing otherwise."""
    found = unreadable.scan(files) if skip else []
    if found:
        print(unreadable.describe(found))
    return found


def count_records(files: list[str], skipped: Sequence[Unreadable]) -> int:
    """Records of the files up to where they are cut; those whose image cannot be decoded are among them.

    Raises:
      UserError: a file that is cut short and not among `skipped`.
    """
    cuts = unreadable.cuts(skipped)
    return sum(cuts[path] if path in cuts else records_shards.count_records(path) for path in files)


def count_up_to(enough: int, files: Sequence[str]) -> int:
    """Records of the files, as far as they can be read, or `enough` where there are more."""
    count = 0
    for path in files:
        with contextlib.suppress(UserError, tf.errors.OpError):  # which says so when its turn comes
            for _ in offsets(path):
                count += 1
                if count == enough:
                    return count
    return count


def read_ahead(batches: tf.data.Dataset, replicas: int, pipeline: Pipeline) -> tf.data.Dataset:
    """Has the next step's batches ready, one for each of this pipeline's replicas.

    Not `AUTOTUNE`, which doubles its buffer each time that it has been full and then empty, and never makes it smaller.
    """
    return batches.prefetch(replicas // pipeline.count)


def parallel_options() -> tf.data.Options:
    """For streams that prepare images in parallel."""
    options = tf.data.Options()
    # To split the work on each image as well only costs time.
    options.threading.max_intra_op_parallelism = 1
    # A compiled function works in a thread of its own, and the one that called it waits.
    options.threading.private_threadpool_size = machine.cores() + finished_at_once()
    # To look for a better number than that of the cores takes time, and at a stream's end its thread may sleep on: 10 seconds,
    # 20, 41, before anything else happens.
    options.autotune.enabled = False
    # The first batches are made while the step is still traced.
    options.experimental_warm_start = True
    return options


def parallel_map(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    """Maps on all cores; the order stays."""
    return dataset.map(function, num_parallel_calls=STARTED_OF_A_CORE * machine.cores(), deterministic=True)


def finished_at_once() -> int:
    """Batches that are finished at a time, which takes two fifths of the work."""
    return 1 + machine.cores() // 2
