"""Sparse soft labels: what they keep, what they cost, and that every reader takes both kinds."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

from data.records import soft_labels
from data.records.encoding import filtered_examples
from data.records.examples import (
    IMAGE,
    LABEL,
    TOP,
    filtered_example,
    filtered_name,
    image_of,
    prediction_example,
    prediction_name,
    unlabeled_example,
)
from data.records.shards import read_shard, write_shard
from data.streams import faults, parsing
from flags import build
from pseudo_label.balance.run import balance
from pseudo_label.config import BalanceConfig
from pseudo_label.quality import read_predictions
from runtime.errors import UserError
from tests.flags.parsing import parsed

NAME = "train-00000-of-00001"


def probabilities(count: int, num_classes: int, sharpness: float = 3.0) -> np.ndarray:
    logits = np.random.default_rng(0).normal(scale=sharpness, size=[count, num_classes])
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def as_rows(dense: np.ndarray, kept: int) -> np.ndarray:
    return np.stack([np.frombuffer(soft_labels.keep_top(row, kept), np.uint8) for row in dense])


@pytest.mark.parametrize(("num_classes", "kept"), [(10, 1), (10, 9), (1000, 3), (40_000, 2)])
def test_there_and_back(num_classes, kept):
    dense = probabilities(20, num_classes)
    back = soft_labels.spread(as_rows(dense, kept), num_classes)
    np.testing.assert_allclose(back.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(back.argmax(axis=1), dense.argmax(axis=1))
    np.testing.assert_array_equal(back.max(axis=1), dense.max(axis=1))
    ordered = np.sort(dense, axis=1)[:, ::-1]
    # What is not kept differs by no more than the most probable class left out, and what is kept not at all.
    assert (np.abs(back - dense).max(axis=1) <= ordered[:, kept] + 1e-6).all()
    assert ((back == dense).sum(axis=1) >= kept).all()
    for row, expected in zip(as_rows(dense, kept), back):
        np.testing.assert_allclose(
            soft_labels.spread_tensor(row.tobytes(), num_classes), expected, rtol=1e-5, atol=1e-6
        )


def test_the_first_of_equal_classes_stays_the_label():
    even = np.full(10, 0.1, np.float32)
    assert soft_labels.best(as_rows(even[np.newaxis], 3))[0].tolist() == [0]


def test_a_record_left_out_stays_left_out():
    nothing = as_rows(np.zeros([1, 10], np.float32), 3)
    np.testing.assert_array_equal(soft_labels.spread(nothing, 10), np.zeros([1, 10]))


def test_a_thousand_classes_take_about_a_hundredth_of_the_space(tmp_path):
    dense = probabilities(100, 1000)
    sizes = []
    for kept in (0, 3):
        path = str(tmp_path / f"kept-{kept}")
        write_shard(path, [prediction_example(row, kept) for row in dense])
        sizes.append(os.path.getsize(path))
    assert sizes[1] == 100 * 49
    assert sizes[1] < sizes[0] / 80


@pytest.fixture
def parse():
    return tf.function(
        lambda example: parsing.parse_filtered(
            {"example": example, "file": tf.constant("f"), "number": tf.constant(7, tf.int64)}, 10
        ),
        autograph=False,
        input_signature=[tf.TensorSpec([], tf.string)],
    )


def test_one_stream_reads_both_kinds(parse):
    for row in probabilities(4, 10):
        dense, sparse = (parse(filtered_example(b"image", row, kept)) for kept in (0, 2))
        np.testing.assert_array_equal(dense["probabilities"], row)
        expected = soft_labels.spread(as_rows(row[np.newaxis], 2), 10)[0]
        np.testing.assert_allclose(sparse["probabilities"], expected, rtol=1e-6)
        assert int(sparse["label"]) == int(dense["label"]) == row.argmax()
        assert sparse["encoded"].numpy() == b"image"


def test_a_class_that_the_task_does_not_have_is_named_with_its_record(parse):
    row = np.eye(20, dtype=np.float32)[17]
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        parse(filtered_example(b"image", row, 2))
    message = str(faults.explain(error.value, []))
    assert message.startswith("f: record 7 has a sparse soft label of other classes, expected 10")


@pytest.mark.parametrize("num_classes", [10, 300])
def test_filtered_examples_equal_those_made_one_by_one(num_classes):
    dense = probabilities(30, num_classes, sharpness=1.0)
    images = [bytes(number) for number in range(len(dense))]
    expected = [filtered_example(image, row, 3) for image, row in zip(images, dense)]
    assert filtered_examples(images, as_rows(dense, 3)) == expected


def predicted(folder: str, workers: list[list[bytes]]) -> BalanceConfig:
    """Writes one shard of images and each worker's predictions; returns the config to balance it with."""
    count = sum(map(len, workers))
    images = [unlabeled_example(f"image {number}".encode()) for number in range(count)]
    write_shard(os.path.join(folder, "images", NAME), images)
    for worker, examples in enumerate(workers):
        name = prediction_name("train", 0, 1, worker)
        write_shard(os.path.join(folder, "predictions", name), examples)
    return BalanceConfig(
        "sparse",
        os.path.join(folder, "images"),
        os.path.join(folder, "predictions"),
        os.path.join(folder, "balanced"),
        num_classes=10,
        num_image=4,
        num_shards=1,
    )


def test_balance_chooses_the_same_records_and_passes_the_labels_through(tmp_path):
    dense = probabilities(41, 10)
    made = []
    for kept in (0, 3):
        examples = [prediction_example(row, kept) for row in dense]
        config = predicted(str(tmp_path / str(kept)), [examples[worker::2] for worker in range(2)])
        stats = balance(config)
        path = os.path.join(config.output_dir, "data", filtered_name("train", 0, 0, 1))
        made.append(([image_of(record) for record in read_shard(path)], stats["classes"]))
        written = [tf.train.Example.FromString(record).features.feature for record in read_shard(path)]
        read = read_predictions(config.prediction_dir, NAME, 10)
        assert read is not None
        np.testing.assert_array_equal(read, soft_labels.spread(as_rows(dense, 3), 10) if kept else dense)
    assert made[0] == made[1]
    for features in written:
        number = int(features[IMAGE].bytes_list.value[0].split()[1])
        assert features[TOP].bytes_list.value == [soft_labels.keep_top(dense[number], 3)]
        assert features[LABEL].int64_list.value == [dense[number].argmax()]


def test_balance_names_what_does_not_fit_together(tmp_path):
    dense = probabilities(8, 10)
    sparse = [prediction_example(row, 3) for row in dense]
    mixed = [*sparse[:3], prediction_example(dense[3], 2)]
    with pytest.raises(
        UserError, match=r"record 3: got 12 bytes of 'top', expected 18; predict this shard again with one"
    ):
        balance(predicted(str(tmp_path / "mixed"), [mixed]))
    workers = [sparse[:4], [prediction_example(row) for row in dense[4:]]]
    with pytest.raises(
        UserError, match=r"-00001: got soft labels of another kind than in .*-00000, .*one --store_top_k"
    ):
        balance(predicted(str(tmp_path / "workers"), workers))
    outside = [prediction_example(np.eye(20, dtype=np.float32)[17], 1)]
    with pytest.raises(UserError, match=r"record 0: got class 17, expected 0 to 9; is --num_label_classes that of"):
        balance(predicted(str(tmp_path / "outside"), [outside]))


def test_more_than_the_classes_cannot_be_kept(tmp_path):
    flags = ["--mode=predict", "--predict_ckpt_path=model", "--unlabel_data_dir=images", "--output_dir=out"]
    assert build.predict_config(parsed(*flags, "--store_top_k=3")).store_top_k == 3
    with pytest.raises(UserError, match=r"--store_top_k: got 1000, expected less than the 1000 classes"):
        build.predict_config(parsed(*flags, "--store_top_k=1000"))
