"""From serialised records to features, checked."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from data.records import soft_labels
from data.records.examples import CLASS_LABEL, IMAGE, LABEL, PROBABILITIES, TOP
from data.streams.faults import Record, check, sentence, where

Parse = Callable[[Record], dict[str, tf.Tensor]]


def parse_labeled(record: Record, num_classes: int) -> dict[str, tf.Tensor]:
    """{"encoded" string, "label" int32 0-based}; the stored label is 1-based."""
    features = tf.io.parse_single_example(
        record["example"],
        {
            IMAGE: tf.io.FixedLenFeature([], tf.string),
            CLASS_LABEL: tf.io.FixedLenFeature([], tf.int64, default_value=-1),
        },
    )
    label = features[CLASS_LABEL]
    in_range = check(
        (label >= 1) & (label <= num_classes),
        lambda: sentence(
            *where(record),
            f" has {CLASS_LABEL} ",
            label,
            f", expected 1 to {num_classes}; write the file again",
            tf.where(label > num_classes, ", or give the task whose classes they are (--data_dir, --task_name)", ""),
        ),
    )
    with tf.control_dependencies([in_range]):
        return {"encoded": features[IMAGE], "label": tf.cast(label - 1, tf.int32)}


def parse_filtered(record: Record, num_classes: int) -> dict[str, tf.Tensor]:
    """{"encoded" string, "probabilities" float32 [C], "label" int32 0-based}; a sparse soft label is spread out."""
    features = tf.io.parse_single_example(
        record["example"],
        {
            IMAGE: tf.io.FixedLenFeature([], tf.string),
            PROBABILITIES: tf.io.VarLenFeature(tf.float32),
            TOP: tf.io.FixedLenFeature([], tf.string, default_value=""),
            LABEL: tf.io.FixedLenFeature([], tf.int64, default_value=-1),
        },
    )
    sparse = features[TOP]
    known = check(
        soft_labels.in_range(sparse, num_classes),
        lambda: sentence(
            *where(record),
            f" has a sparse soft label of other classes, expected {num_classes} (the classes of the task); predict and "
            "balance again with the same task",
        ),
    )
    with tf.control_dependencies([known]):
        probabilities = tf.cond(
            tf.equal(sparse, ""),
            lambda: tf.sparse.to_dense(features[PROBABILITIES]),
            lambda: soft_labels.spread_tensor(sparse, num_classes),
        )
    label = features[LABEL]
    right_length = check(
        tf.size(probabilities) == num_classes,
        lambda: sentence(
            *where(record),
            " has ",
            tf.size(probabilities),
            f" probabilities, expected {num_classes} (the classes of the task); predict and balance again with the same task",
        ),
    )
    in_range = check(
        (label >= 0) & (label < num_classes),
        lambda: sentence(
            *where(record), " has label ", label, f", expected 0 to {num_classes - 1}; predict and balance again"
        ),
    )
    with tf.control_dependencies([right_length, in_range]):
        return {
            "encoded": features[IMAGE],
            "probabilities": tf.ensure_shape(probabilities, [num_classes]),
            "label": tf.cast(label, tf.int32),
        }


def parse_unlabeled(record: Record) -> dict[str, tf.Tensor]:
    """{"encoded" string}."""
    features = tf.io.parse_single_example(record["example"], {IMAGE: tf.io.FixedLenFeature([], tf.string)})
    return {"encoded": features[IMAGE]}
