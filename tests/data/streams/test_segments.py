"""Which records a training stream draws, and in which order, over several segments."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

from data.records.examples import shard_name
from data.records.shards import find_shards, write_shard
from data.streams import segments
from data.streams.reading import parallel_options
from data.streams.segments import Segments, Shards
from data.streams.training import LABELED_PATTERN
from runtime.workers import Pipeline

BATCH, STEPS = 8, 10
ALONE = Pipeline()


@pytest.fixture
def small_buffer(monkeypatch):
    """1,024 records, as if they were photos."""
    monkeypatch.setattr(segments, "SHUFFLE_BYTES", 1)


def _files(folder, counts: list[int]) -> list[str]:
    """Shards of records that hold their own number, the numbers running through all of them."""
    first = 0
    for index, count in enumerate(counts):
        path = os.path.join(folder, shard_name("train", index, len(counts)))
        write_shard(path, [b"%06d" % number for number in range(first, first + count)])
        first += count
    return find_shards(str(folder), LABELED_PATTERN, "label_data_dir")


def _drawn(files: list[str], count: int, first_step: int = 0, cache: bool = True, pipeline: Pipeline = ALONE) -> list:
    shards = Shards(files, 0, seed=3, cache=cache)
    stream = segments.positions(shards, BATCH, Segments(first_step, STEPS), pipeline)
    return [
        int(record["example"])
        for _, (_, record) in stream.take(count).with_options(parallel_options()).as_numpy_iterator()
    ]


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("counts", [[3000], [1500, 1500, 100]])
def test_short_segments_leave_no_record_out(tmp_path, small_buffer, counts, cache):
    """80 records a segment were drawn from the first 1,104 alone."""
    total = sum(counts)
    drawn = np.bincount(_drawn(_files(tmp_path, counts), 2 * total, cache=cache), minlength=total)
    assert drawn.min() == drawn.max() == 2


def test_a_process_of_several_leaves_out_none_of_its_files(tmp_path, small_buffer):
    files = _files(tmp_path, [2000, 2000])
    drawn = _drawn(files, 4000, pipeline=Pipeline(1, 2))
    assert sorted(set(drawn)) == list(range(2000, 4000))


@pytest.mark.parametrize("first_step", [7, 755])
def test_it_continues_as_it_would_have_gone_on(tmp_path, small_buffer, first_step):
    """In a segment of 760 steps and in the one after it."""
    files = _files(tmp_path, [3000])
    whole = _drawn(files, 770 * BATCH)
    assert _drawn(files, 10 * BATCH, first_step) == whole[first_step * BATCH :][: 10 * BATCH]


def test_where_the_buffer_holds_all_a_segment_is_as_long_as_asked(tmp_path):
    files = _files(tmp_path, [1000])
    length = os.path.getsize(files[0])
    sizes = segments._record_sizes(files)
    buffer = segments._shuffle_buffer(sizes)
    assert segments._steps_of_a_segment(STEPS, BATCH, [length], sizes, buffer, shuffled=False) == STEPS


def test_of_many_files_a_segment_reads_some_through():
    """1,024 files of 1,250 records of 100 kB: 64 of them are 2,500 steps of 32; one checkpoint of a pod is enough."""
    lengths = [125_000_000] * 1024
    assert segments._steps_of_a_segment(100, 32, lengths, [100_000], 2684, shuffled=True) == 2500
    assert segments._steps_of_a_segment(1000, 2048, lengths, [100_000], 2684, shuffled=True) == 1000


def test_of_many_small_files_in_memory_a_segment_reads_all(tmp_path, small_buffer):
    """In memory they stand in one order for all segments."""
    files = _files(tmp_path, [20] * 150)
    assert len(set(_drawn(files, 3000))) == 3000


def test_a_damaged_file_is_left_to_who_reads_it(tmp_path):
    files = _files(tmp_path, [10])
    with open(files[0], "r+b") as file:
        file.truncate(60)
    assert segments._record_sizes(files) == [22, 22]
    with pytest.raises(tf.errors.DataLossError):
        _drawn(files, 10)
