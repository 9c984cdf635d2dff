"""The schemas of all records, and the names of their files (docs/release.md, section 7)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from data.records import soft_labels

IMAGE = "image/encoded"
FILENAME = "image/filename"
CLASS_LABEL = "image/class/label"
PROBABILITIES = "probabilities"
CLASSES = "classes"
LABEL = "label"
CONFIDENCE = "prob"
TOP = "top"

SHARD_PATTERN = "{prefix}-{shard:05d}-of-{num_shards:05d}"


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))


def _floats(values: np.ndarray) -> tf.train.Feature:
    # Its constructor would take each value for itself: 160 microseconds for 1,000 of them instead of 3. Serialised, the floats
    # of a FloatList are what a string of a BytesList is: field 1, its length, and so many bytes.
    packed = tf.train.BytesList(value=[np.asarray(values, "<f4").tobytes()])
    return tf.train.Feature(float_list=tf.train.FloatList.FromString(packed.SerializeToString()))


def _serialize(features: dict[str, tf.train.Feature]) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def labeled_example(encoded: bytes, label: int, name: bytes = b"") -> bytes:
    """A labeled image; `label` is 1-based, as in the release; `name` is its file's, if that is kept."""
    return _serialize({IMAGE: _bytes(encoded), CLASS_LABEL: _int(label), **_named(name)})


def unlabeled_example(encoded: bytes, name: bytes = b"") -> bytes:
    """An image without a label; `name` is its file's, if that is kept."""
    return _serialize({IMAGE: _bytes(encoded), **_named(name)})


def _named(name: bytes) -> dict[str, tf.train.Feature]:
    return {FILENAME: _bytes(name)} if name else {}


def prediction_example(probabilities: np.ndarray, top_k: int = 0) -> bytes:
    """Soft label of one image, float32 [C], with its argmax beside it; or, with `top_k`, its sparse form alone."""
    if top_k:
        return _serialize({TOP: _bytes(soft_labels.keep_top(probabilities, top_k))})
    return _serialize({PROBABILITIES: _floats(probabilities), CLASSES: _int(int(np.argmax(probabilities)))})


def filtered_example(encoded: bytes, probabilities: np.ndarray, top_k: int = 0, name: bytes = b"") -> bytes:
    """An image with its soft label (with `top_k` in its sparse form), the argmax (0-based) and its confidence."""
    label = int(np.argmax(probabilities))
    features = {IMAGE: _bytes(encoded), LABEL: _int(label), CONFIDENCE: _floats(probabilities[label : label + 1])}
    features.update(_named(name))
    if top_k:
        features[TOP] = _bytes(soft_labels.keep_top(probabilities, top_k))
    else:
        features[PROBABILITIES] = _floats(probabilities)
    return _serialize(features)


def shard_name(prefix: str, shard: int, num_shards: int) -> str:
    """`train-00000-of-01024`: labeled and unlabeled input."""
    return SHARD_PATTERN.format(prefix=prefix, shard=shard, num_shards=num_shards)


def prediction_name(prefix: str, shard: int, num_shards: int, worker: int) -> str:
    """`train-info-00000-of-00128-00000`: predictions that worker `worker` made for one shard."""
    return f"{shard_name(prefix + '-info', shard, num_shards)}-{worker:05d}"


def prediction_count_name(shard: int, num_shards: int, worker: int) -> str:
    """`info-00000-of-00128-00000.txt`: JSON {"image_num": n} beside a prediction shard."""
    return f"{shard_name('info', shard, num_shards)}-{worker:05d}.txt"


def filtered_name(prefix: str, task: int, shard: int, num_shards: int) -> str:
    """`train-0-00000-of-00128`: filtered and balanced records."""
    return shard_name(f"{prefix}-{task}", shard, num_shards)


def image_of(example: bytes) -> bytes:
    """The encoded image of any record of ours."""
    return tf.train.Example.FromString(example).features.feature[IMAGE].bytes_list.value[0]


def name_of(example: bytes) -> bytes:
    """The name of the file that an image came from; empty where it was not kept."""
    features = tf.train.Example.FromString(example).features.feature
    return features[FILENAME].bytes_list.value[0] if FILENAME in features else b""
