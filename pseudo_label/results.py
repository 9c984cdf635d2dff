"""Every number of an `iterate` run's report, computed from what its stages left in their folders.

No times, no paths: the same seed gives the same numbers. What a run does not have (a test split, true labels) is None.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any, Optional

import numpy as np

from checkpoints.description import MODEL_FILE
from data.tasks import TASK_FILE, TRUE_LABELS_FILE
from evaluation.accuracy import wilson_interval
from pseudo_label.quality import quality
from reporting.numbers import read_json, read_json_lines, rounded, training_log
from runtime.work_dir import (
    EVALUATION_FILE,
    EVALUATIONS_FILE,
    ROBUSTNESS_FILE,
    STATS_FILE,
    balanced_dir,
    model_dir,
    predictions_dir,
    robustness_dir,
    teacher_dir,
)

MAX_BINS = 20


def collect(
    work_dir: str,
    num_rounds: int,
    class_names: Sequence[str],
    data_dir: str,
    finetuned: Collection[int] = (),
    robustness: bool = False,
) -> dict[str, Any]:
    """Every number of the report, JSON-able and rounded.

    Args:
      work_dir: the run's folder, with teacher/, round1/, ...
      num_rounds: how many rounds to read.
      class_names: one a class, or empty.
      data_dir: holds task.json, and unlabeled/labels_for_report.json where true labels are known.
      finetuned: the rounds whose student was finetuned.
      robustness: whether the networks' robustness was measured.

    Raises:
      UserError: true labels that do not fit the predictions.
    """
    described = read_json(os.path.join(teacher_dir(work_dir), MODEL_FILE)) or {}
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
    truth = read_json(os.path.join(data_dir, "unlabeled", TRUE_LABELS_FILE))
    rounds = [pseudo_labels(work_dir, number, name, truth) for number, name in enumerate(labeled_by, start=1)]
    task_numbers = {"name": task.get("name"), "num_images": task.get("num_images", {})}
    return rounded(
        {
            "task": task_numbers,
            "class_names": list(class_names),
            "networks": networks,
            "rounds": rounds,
            "robustness": robustness_of(work_dir) if robustness else None,
        }
    )


def network(work_dir: str, number: int, finetuned: bool = False) -> dict[str, Any]:
    """What a round's model_dir says of its network (round 0: the teacher's): architecture, last logged training numbers,
    test accuracy and its history."""
    folder = model_dir(work_dir, number, finetuned)
    model = read_json(os.path.join(folder, MODEL_FILE)) or {}
    evaluation = read_json(os.path.join(folder, EVALUATION_FILE))
    logged = training_log(folder)
    keys = ("step", "learning_rate", "loss", "labeled_loss", "unlabeled_loss", "labeled_accuracy")
    return {
        "name": f"student {number}{' finetuned' if finetuned else ''}" if number else "teacher",
        "round": number,
        "finetuned": finetuned,
        "model": model.get("model", {}).get("name"),
        "image_size": model.get("image_size"),
        "gain": None,
        "test": evaluation and accuracy_of(evaluation),
        "history": [accuracy_of(line) for line in evaluations(folder, evaluation)],
        "last_logged": {key: logged[-1][key] for key in keys if key in logged[-1]} if logged else None,
    }


def accuracy_of(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The kept fields of an evaluation, with its Wilson interval."""
    kept = {key: evaluation.get(key) for key in ("split", "step", "num_images", "correct", "accuracy", "top5_accuracy")}
    return {**kept, "interval": list(wilson_interval(evaluation["correct"], evaluation["num_images"]))}


def evaluations(folder: str, final: Optional[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evaluations on the split of `final`, by step."""
    lines = read_json_lines(os.path.join(folder, EVALUATIONS_FILE))
    split = final and final.get("split")
    by_step = {line["step"]: line for line in lines if split is None or line.get("split") == split}
    return [by_step[step] for step in sorted(by_step)]


def robustness_of(work_dir: str) -> Optional[dict[str, Any]]:
    """The main measures of robustness; None if they are not there."""
    found = read_json(os.path.join(robustness_dir(work_dir), ROBUSTNESS_FILE))
    if found is None:
        return None
    sections = [
        {key: section[key] for key in ("key", "title", "num_pictures", "measures")} for section in found["sections"]
    ]
    kept = {key: found[key] for key in ("level", "resamples", "every")}
    return {**kept, "networks": [{"name": network["name"]} for network in found["networks"]], "sections": sections}


def pseudo_labels(work_dir: str, number: int, labeled_by: str, truth: Optional[dict[str, list[int]]]) -> dict[str, Any]:
    """One round's pseudo labels: counts before and after balancing, and their accuracy where `truth` is known."""
    result: dict[str, Any] = {"round": number, "labeled_by": labeled_by, "balance": None, "quality": None}
    stats = read_json(os.path.join(balanced_dir(work_dir, number), STATS_FILE))
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
        result["quality"] = quality(predictions_dir(work_dir, number), truth, result["balance"])
    return result


def merge_bins(edges: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merges neighbouring bins, the same number each, until at most MAX_BINS remain."""
    bins = len(counts)
    step = next((step for step in range(1, bins + 1) if bins % step == 0 and bins // step <= MAX_BINS), bins)
    return edges[::step], counts.reshape(-1, step).sum(axis=1)
