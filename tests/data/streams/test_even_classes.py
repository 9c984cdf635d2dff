"""Labeled records are drawn evenly by class, the same ones wherever a stream begins and however many read it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from data.config import AugmentConfig, DataConfig
from data.records.examples import labeled_example, shard_name
from data.records.shards import find_shards, write_shard
from data.streams import even_classes, segments
from data.streams.reading import parallel_options, read_records
from data.streams.segments import Segments, Shards
from data.streams.training import LABELED_PATTERN, training_stream
from data.tasks import Task
from runtime.workers import Pipeline

STEPS = 10
IMBALANCED = [200, 8, 4]


def write(folder, counts, files=1):
    """Shards with so many records of each class, mixed; every record has its own bytes."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(1, len(counts) + 1), counts))
    records = [labeled_example(b"%06d" % number, label) for number, label in enumerate(labels)]
    for index in range(files):
        write_shard(f"{folder}/{shard_name('train', index, files)}", records[index::files])
    return find_shards(str(folder), LABELED_PATTERN, "label_data_dir")


def label_of(example):
    return tf.train.Example.FromString(example).features.feature["image/class/label"].int64_list.value[0]


def one_pass(files, counts, seed):
    records = read_records(tf.data.Dataset.from_tensor_slices(files))
    evened = even_classes.evened(records, counts, tf.constant(seed, tf.int64))
    return [record["example"] for record in evened.as_numpy_iterator()]


@given(counts=st.lists(st.integers(0, 10**6), min_size=2, max_size=9).filter(any))
def test_each_class_is_expected_as_often(counts):
    copies, filled = even_classes.expected_copies(counts), np.asarray(counts) > 0
    totals = copies * counts
    assert totals[filled] == pytest.approx(totals.max())
    assert not copies[~filled].any()
    assert copies.max() <= even_classes.COPIES
    assert copies[np.argmax(counts)] <= 1
    assert copies.max() >= 1  # the rarest, in every pass
    assert even_classes.read_for_one(counts) == pytest.approx(sum(counts) / totals.sum())


@pytest.mark.parametrize("counts", [IMBALANCED, [20, 20], [7, 0, 60, 1], [30, 10]])
def test_in_a_pass_every_class_comes_equally_often(tmp_path, counts):
    drawn = one_pass(write(tmp_path, counts), counts, seed=1)
    numbers = np.bincount(list(map(label_of, drawn)), minlength=len(counts) + 1)[1:]
    filled = numbers[np.asarray(counts) > 0]
    assert filled.max() - filled.min() <= 1
    assert numbers.sum() == filled.sum()
    assert max(Counter(drawn).values()) <= even_classes.COPIES + 1
    if counts == [20, 20]:
        assert set(Counter(drawn).values()) == {1}


def test_every_picture_of_a_common_class_has_its_turn(tmp_path):
    files = write(tmp_path, IMBALANCED)
    drawn = Counter(examples(stream(files, 12), 60 * 96))  # 60 passes
    assert len(drawn) == sum(IMBALANCED)
    often = [times for example, times in drawn.items() if label_of(example) == 1]
    assert min(often) >= 2
    assert max(often) <= 25  # 60 x 0.16 is 9.6


def stream(files, batch, first_step=0, pipeline=Pipeline(), counts=IMBALANCED, cache=True):
    shards = Shards(files, 0, 3, cache, class_counts=counts)
    return segments.positions(shards, batch, Segments(first_step, STEPS), pipeline).with_options(parallel_options())


def examples(dataset, count):
    return [record["example"] for _, (_, record) in dataset.take(count).as_numpy_iterator()]


@pytest.mark.parametrize("cache", [True, False])
def test_every_stretch_of_a_stream_is_even(tmp_path, cache):
    labels = [label_of(example) for example in examples(stream(write(tmp_path, IMBALANCED, 2), 12, cache=cache), 1200)]
    shares = np.asarray([np.bincount(part, minlength=4)[1:] for part in np.split(np.asarray(labels), 4)]) / 300
    assert (np.abs(shares - 1 / 3) < 0.1).all()
    assert np.abs(shares.mean(axis=0) - 1 / 3).max() < 0.05
    plain = [label_of(example) for example in examples(stream(write(tmp_path, IMBALANCED, 2), 12, counts=None), 1200)]
    assert np.mean(np.asarray(plain) == 1) > 0.9


@pytest.mark.parametrize("first_step", [7, 25])
def test_it_continues_as_it_would_have_gone_on(tmp_path, first_step):
    files = write(tmp_path, IMBALANCED)
    assert examples(stream(files, 6), 300)[6 * first_step :] == examples(
        stream(files, 6, first_step), 300 - 6 * first_step
    )


@pytest.mark.parametrize("files", [1, 2])
def test_two_processes_draw_what_one_would(tmp_path, files):
    paths = write(tmp_path, IMBALANCED, files)  # each reads all and takes its half of every batch
    alone = examples(stream(paths, 6), 120)
    halves = [examples(stream(paths, 6, pipeline=Pipeline(index, 2)), 60) for index in range(2)]
    together = [part for step in range(20) for half in halves for part in half[3 * step : 3 * step + 3]]
    assert together == alone


def test_a_training_gets_even_batches(tmp_path):
    counts = [60, 6, 3]
    encoded = tf.io.encode_png(np.zeros([8, 8, 3], np.uint8)).numpy()
    labels = np.repeat([1, 2, 3], counts)
    write_shard(f"{tmp_path}/train-00000-of-00001", [labeled_example(encoded, label) for label in labels])
    data = DataConfig(Task("t", 3), str(tmp_path), image_size=8, augment=AugmentConfig(False), even_classes=True)
    batches = training_stream(data, 30, 0, 1, Segments(0, 10), class_counts=counts)
    found = np.concatenate([batch["labeled"]["label"] for batch in batches.take(20).as_numpy_iterator()])
    assert np.abs(np.bincount(found, minlength=3) / len(found) - 1 / 3).max() < 0.05
