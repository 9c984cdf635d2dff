"""How often pseudo labels are right, for data whose true labels are known."""

from __future__ import annotations

import math
import re
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from data.records import soft_labels
from data.records.examples import PROBABILITIES, TOP, prediction_name
from data.tasks import TRUE_LABELS_FILE
from evaluation.accuracy import wilson_interval
from runtime.errors import UserError
from runtime.files import matching


def quality(prediction_dir: str, truth: dict[str, list[int]], balance: dict[str, Any]) -> Optional[dict[str, Any]]:
    """How often the pseudo labels are right: over all, by class, by confidence.

    Args:
      prediction_dir: prediction shards.
      truth: {input shard: 0-based true label of every record}.
      balance: the round's `balance` numbers, for thresholds and bins.

    Returns:
      None where no shard of `truth` was predicted on.
    """
    num_classes = len(balance["classes"])
    parts = []
    for shard, labels in sorted(truth.items()):
        probabilities = read_predictions(prediction_dir, shard, num_classes)
        if probabilities is None:
            continue
        if len(probabilities) != len(labels):
            raise UserError(
                f"{prediction_dir}: got {len(probabilities)} predictions for {shard}, but {TRUE_LABELS_FILE} lists "
                f"{len(labels)} images; prepare and predict again into an empty --work_dir"
            )
        parts.append((probabilities.argmax(axis=1), probabilities.max(axis=1), np.asarray(labels, np.int64)))
    if not parts:
        return None
    predicted, confidence, true = (np.concatenate(column) for column in zip(*parts))
    correct = predicted == true
    above = confidence >= balance["min_threshold"]
    # A class's threshold is the confidence of its last image kept; infinity keeps nothing of a class without candidates.
    thresholds = [math.inf if entry["threshold"] is None else entry["threshold"] for entry in balance["classes"]]
    kept = above & (confidence >= np.asarray(thresholds)[predicted])
    edges = np.asarray(balance["confidence_histogram"]["edges"])
    # A float32 softmax may end a hair above 1.
    inside = np.clip(confidence, edges[0], edges[-1])
    return {
        "all": _share(correct),
        "above_threshold": _share(correct[above]),
        "kept": _share(correct[kept]),
        "by_class": [
            {
                "label": label,
                "true_images": int((true == label).sum()),
                "all": _share(correct[predicted == label]),
                "above_threshold": _share(correct[above & (predicted == label)]),
            }
            for label in range(num_classes)
        ],
        "by_confidence": _by_bin(edges, inside, correct),
    }


def _share(correct: np.ndarray) -> dict[str, Any]:
    accuracy = float(correct.mean()) if len(correct) else None
    interval = wilson_interval(int(correct.sum()), len(correct))
    return {"images": len(correct), "correct": int(correct.sum()), "accuracy": accuracy, "interval": list(interval)}


def _by_bin(edges: np.ndarray, confidence: np.ndarray, correct: np.ndarray) -> dict[str, list[Any]]:
    """The same for each bin of confidence, as lists."""
    images = np.histogram(confidence, edges)[0].tolist()
    right = np.histogram(confidence[correct], edges)[0].tolist()
    return {
        "edges": edges.tolist(),
        "images": images,
        "correct": right,
        "accuracy": [few / all_ if all_ else None for few, all_ in zip(right, images)],
        "interval": [list(wilson_interval(few, all_)) for few, all_ in zip(right, images)],
    }


def read_predictions(prediction_dir: str, shard: str, num_classes: int) -> Optional[np.ndarray]:
    """Soft labels float32 [N, C] in the order of the input shard, whose records its workers took in turns; None if none."""
    match = re.fullmatch(r"(.+)-(\d+)-of-(\d+)", shard)
    if match is None:
        raise UserError(f"{TRUE_LABELS_FILE}: got the shard name {shard!r}, expected one like train-00000-of-00004")
    first = prediction_name(match[1], int(match[2]), int(match[3]), worker=0)
    found = matching(prediction_dir, re.escape(first[:-5]) + r"\d{5}")
    if not found:
        return None
    workers = [_read_worker(path, num_classes) for path in found]
    joined = np.zeros([sum(map(len, workers)), num_classes], np.float32)
    for worker, probabilities in enumerate(workers):
        turns = joined[worker :: len(workers)]
        if len(turns) != len(probabilities):
            raise UserError(
                f"{prediction_dir}: got {len(probabilities)} predictions of {shard} from worker {worker}, expected "
                f"{len(turns)} of {len(workers)} workers; predict again with the same --total_replicas"
            )
        turns[:] = probabilities
    return joined


def _read_worker(path: str, num_classes: int) -> np.ndarray:
    """Soft labels float32 [n, C] of one worker's file, which are all dense or all sparse."""
    features = {
        PROBABILITIES: tf.io.VarLenFeature(tf.float32),
        TOP: tf.io.FixedLenFeature([], tf.string, default_value=""),
    }
    arrays = [np.zeros([0, num_classes], np.float32)]
    for batch in tf.data.TFRecordDataset(path).batch(1024).map(lambda batch: tf.io.parse_example(batch, features)):
        sparse = batch[TOP].numpy().tolist()
        if sparse[0]:
            rows = np.frombuffer(b"".join(sparse), np.uint8).reshape(len(sparse), -1)
            arrays.append(soft_labels.spread(rows, num_classes))
        else:
            arrays.append(tf.sparse.to_dense(batch[PROBABILITIES]).numpy())
    return np.concatenate(arrays)
