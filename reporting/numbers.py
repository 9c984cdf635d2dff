"""The numbers of an `iterate` run, read from the folders of its stages (layout: `pseudo_label/rounds.py`).

They contain no times and no paths: the same seed gives the same numbers. What a run does not have (a test split, true labels) is
None.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Collection, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from data.records import soft_labels
from data.records.examples import PROBABILITIES, TOP, prediction_name
from data.tasks import TASK_FILE
from runtime.errors import UserError

CONFIDENCE_LEVEL = 0.95
_NORMAL_QUANTILE = 1.959963984540054
MAX_BINS = 20
DECIMALS = 6


def collect(
    work_dir: str, num_rounds: int, class_names: Sequence[str], data_dir: str, finetuned: Collection[int] = ()
) -> dict[str, Any]:
    """Every number of the report, JSON-able and rounded.

    Args:
      work_dir: the run's folder, with teacher/, round1/, ...
      num_rounds: how many rounds to read.
      class_names: one a class, or empty.
      data_dir: holds task.json, and unlabeled/labels_for_report.json where true labels are known.
      finetuned: the rounds whose student was finetuned.

    Raises:
      UserError: true labels that do not fit the predictions.
    """
    described = read_json(os.path.join(work_dir, "teacher", "model.json")) or {}
    task = read_json(os.path.join(data_dir, TASK_FILE)) or described.get("task") or {}
    networks = [network(work_dir, 0)]
    labeled_by = []
    for number in range(1, num_rounds + 1):
        labeled_by.append(networks[-1]["name"])
        networks.append(network(work_dir, number))
        if number in finetuned:
            networks.append(network(work_dir, number, finetuned=True))
    baseline = networks[0]["test"]
    for each in networks[1:]:
        if baseline and each["test"]:
            each["gain"] = each["test"]["accuracy"] - baseline["accuracy"]
    truth = read_json(os.path.join(data_dir, "unlabeled", "labels_for_report.json"))
    rounds = [
        pseudo_labels(os.path.join(work_dir, f"round{number}"), number, name, truth)
        for number, name in enumerate(labeled_by, start=1)
    ]
    task_numbers = {"name": task.get("name"), "num_images": task.get("num_images", {})}
    return rounded({"task": task_numbers, "class_names": list(class_names), "networks": networks, "rounds": rounds})


def model_dir_of(work_dir: str, number: int, finetuned: bool = False) -> str:
    """Where a round's network lies; round 0 is the teacher."""
    if not number:
        return os.path.join(work_dir, "teacher")
    return os.path.join(work_dir, f"round{number}", "finetuned" if finetuned else "student")


def network(work_dir: str, number: int, finetuned: bool = False) -> dict[str, Any]:
    """What a round's model_dir says of its network (round 0: the teacher's): architecture, last logged training numbers,
    test accuracy and its history."""
    model_dir = model_dir_of(work_dir, number, finetuned)
    model = read_json(os.path.join(model_dir, "model.json")) or {}
    evaluation = read_json(os.path.join(model_dir, "evaluation.json"))
    logged = training_log(model_dir)
    keys = ("step", "learning_rate", "loss", "labeled_loss", "unlabeled_loss", "labeled_accuracy")
    return {
        "name": f"student {number}{' finetuned' if finetuned else ''}" if number else "teacher",
        "round": number,
        "finetuned": finetuned,
        "model": model.get("model", {}).get("name"),
        "image_size": model.get("image_size"),
        "gain": None,
        "test": evaluation and accuracy_of(evaluation),
        "history": [accuracy_of(line) for line in evaluations(model_dir, evaluation)],
        "last_logged": {key: logged[-1][key] for key in keys if key in logged[-1]} if logged else None,
    }


def accuracy_of(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The kept fields of an evaluation, with its Wilson interval."""
    low, high = wilson_interval(evaluation["correct"], evaluation["num_images"])
    kept = {key: evaluation.get(key) for key in ("split", "step", "num_images", "correct", "accuracy", "top5_accuracy")}
    return {**kept, "interval": [low, high]}


def training_log(model_dir: str) -> list[dict[str, Any]]:
    """Logged steps in order; of a step that was logged twice (before and after a restart) the later line."""
    lines = read_json_lines(os.path.join(model_dir, "metrics.jsonl"))
    by_step = {line["step"]: line for line in lines}
    return [by_step[step] for step in sorted(by_step)]


def evaluations(model_dir: str, final: Optional[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evaluations on the split of `final`, by step."""
    lines = read_json_lines(os.path.join(model_dir, "evaluations.jsonl"))
    split = final and final.get("split")
    by_step = {line["step"]: line for line in lines if split is None or line.get("split") == split}
    return [by_step[step] for step in sorted(by_step)]


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927), which stays within 0..1 also near its ends.

    Returns:
      (low, high); (0, 1) where there is nothing to go by.
    """
    if total == 0:
        return 0.0, 1.0
    z2 = _NORMAL_QUANTILE**2
    share = correct / total
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _NORMAL_QUANTILE / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def pseudo_labels(
    round_dir: str, number: int, labeled_by: str, truth: Optional[dict[str, list[int]]]
) -> dict[str, Any]:
    """One round's pseudo labels: counts before and after balancing, and their accuracy where `truth` is known."""
    result: dict[str, Any] = {"round": number, "labeled_by": labeled_by, "balance": None, "quality": None}
    stats = read_json(os.path.join(round_dir, "balanced", "stats.json"))
    if stats is None:
        return result
    edges = np.asarray(stats["confidence_histogram"]["edges"], np.float64)
    per_class = np.asarray(stats["confidence_histogram"]["per_class"], np.int64)
    edges, counts = merge_bins(edges, per_class.sum(axis=0))
    classes = {entry["label"]: entry for entry in stats["classes"]}
    empty = {"candidates": 0, "threshold": None, "kept_unique": 0, "records": 0}
    result["balance"] = {
        "num_image": stats["num_image"],
        "min_threshold": stats["min_threshold"],
        "predictions": int(stats["num_predictions"]),
        "records": stats["num_records"],
        "unique": stats["num_unique"],
        "confidence_histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        "classes": [
            {
                "label": label,
                "predictions": int(per_class[label].sum()),
                **{key: classes.get(label, empty)[key] for key in empty},
            }
            for label in range(len(per_class))
        ],
    }
    if truth is not None:
        result["quality"] = quality(os.path.join(round_dir, "predictions"), truth, result["balance"])
    return result


def merge_bins(edges: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merges neighbouring bins, the same number each, until at most MAX_BINS remain."""
    bins = len(counts)
    step = next((step for step in range(1, bins + 1) if bins % step == 0 and bins // step <= MAX_BINS), bins)
    return edges[::step], counts.reshape(-1, step).sum(axis=1)


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
                f"{prediction_dir}: got {len(probabilities)} predictions for {shard}, but labels_for_report.json lists "
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
        "by_confidence": {
            "edges": edges.tolist(),
            "images": np.histogram(inside, edges)[0].tolist(),
            "correct": np.histogram(inside[correct], edges)[0].tolist(),
        },
    }


def read_predictions(prediction_dir: str, shard: str, num_classes: int) -> Optional[np.ndarray]:
    """Soft labels float32 [N, C] in the order of the input shard, whose records its workers took in turns; None if none."""
    match = re.fullmatch(r"(.+)-(\d+)-of-(\d+)", shard)
    if match is None:
        raise UserError(f"labels_for_report.json: got the shard name {shard!r}, expected one like train-00000-of-00004")
    first = prediction_name(match[1], int(match[2]), int(match[3]), worker=0)
    found = tf.io.gfile.glob(os.path.join(prediction_dir, first[:-5] + "[0-9]" * 5))
    if not found:
        return None
    workers = [_read_worker(path, num_classes) for path in sorted(found)]
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


def _share(correct: np.ndarray) -> dict[str, Any]:
    low, high = wilson_interval(int(correct.sum()), len(correct))
    accuracy = float(correct.mean()) if len(correct) else None
    return {"images": len(correct), "correct": int(correct.sum()), "accuracy": accuracy, "interval": [low, high]}


def rounded(value: Any) -> Any:
    """Rounds every float inside to DECIMALS, so that files compare equal."""
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return value


def read_json(path: str) -> Any:
    """A JSON file's content, None where there is none."""
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)


def read_json_lines(path: str) -> list[dict[str, Any]]:
    """A JSON-lines file's objects, empty where there is none; a last line cut short by a crash is left out."""
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        lines = file.read().split("\n")
    # Only what ends in a newline was written to its end.
    return [json.loads(line) for line in lines[:-1] if line.strip()]
