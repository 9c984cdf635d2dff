"""A work_dir as `iterate` leaves it, with made-up but consistent numbers, for trying the report."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from data.records.examples import filtered_example, filtered_name, prediction_example, prediction_name, shard_name
from data.records.shards import write_shard

NUM_SHARDS = 2
NUM_WORKERS = 2


def png(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, format="PNG")
    return file.getvalue()


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


def write_json(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def write_lines(path: Path, lines: list[dict]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_network(
    folder: Path, model: str, correct: int, num_test: int, steps: int, unlabeled: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    write_json(folder / "model.json", {"model": {"name": model}, "image_size": 16, "task": {"name": "digits"}})
    lines = []
    for step in range(10, steps + 1, 10):
        noise = generator.normal(0, 0.15)
        labeled = 0.6 + 1.8 * np.exp(-3 * step / steps) + noise * 0.6
        line = {
            "step": step,
            "learning_rate": 0.02 * min(1, step / (0.1 * steps)) * 0.97 ** (step * 60 // steps),
            "loss": labeled + 0.1,
            "labeled_loss": labeled,
            "labeled_accuracy": float(np.clip(1 - 0.8 * np.exp(-4 * step / steps) + noise * 0.3, 0, 1)),
            "images_per_second": generator.uniform(100, 200),
        }
        if unlabeled:
            line["unlabeled_loss"] = 0.9 + 1.2 * np.exp(-2 * step / steps) + noise
            line["loss"] += 4 * line["unlabeled_loss"]
        lines.append(line)
    write_lines(folder / "metrics.jsonl", lines)

    def evaluation(step: int, right: int) -> dict:
        return {
            "split": "test",
            "step": step,
            "num_images": num_test,
            "correct": right,
            "accuracy": right / num_test,
            "top5_accuracy": 1.0,
        }

    history = [evaluation(steps * k // 5, round(correct * (1 - 0.6 * 0.4**k))) for k in range(1, 5)]
    write_lines(folder / "evaluations.jsonl", [*history, evaluation(steps, correct)])
    write_json(folder / "evaluation.json", evaluation(steps, correct))


def write_round(
    folder: Path, images: list[bytes], true: np.ndarray, num_classes: int, num_image: int, seed: int
) -> None:
    """Predictions that are mostly right, and their balanced records, over NUM_SHARDS shards and NUM_WORKERS workers."""
    generator = np.random.default_rng(seed)
    bias = generator.normal(0, 0.8, num_classes)
    logits = generator.normal(0, 1, [len(true), num_classes]) + bias
    logits[np.arange(len(true)), true] += generator.gamma(4, 1.1 + 0.2 * seed, len(true))
    probabilities = softmax(logits)
    for shard in range(NUM_SHARDS):
        of_shard = probabilities[shard::NUM_SHARDS]
        for worker in range(NUM_WORKERS):
            write_shard(
                str(folder / "predictions" / prediction_name("train", shard, NUM_SHARDS, worker)),
                [prediction_example(row) for row in of_shard[worker::NUM_WORKERS]],
            )
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    chosen, classes = [], []
    for label in range(num_classes):
        candidates = np.flatnonzero((predicted == label) & (confidence >= 0.3))
        kept = candidates[np.argsort(-confidence[candidates], kind="stable")][:num_image]
        copies = list(np.resize(kept, num_image)) if len(kept) else []
        chosen += copies
        classes.append(
            {
                "label": label,
                "candidates": len(candidates),
                "threshold": float(confidence[kept].min()) if len(kept) else None,
                "kept_unique": len(kept),
                "records": len(copies),
            }
        )
    for shard in range(NUM_SHARDS):
        write_shard(
            str(folder / "balanced" / "data" / filtered_name("train", 0, shard, NUM_SHARDS)),
            [filtered_example(images[index], probabilities[index]) for index in chosen[shard::NUM_SHARDS]],
        )
    edges = np.linspace(0, 1, 21)
    stats = {
        "num_image": num_image,
        "min_threshold": 0.3,
        "num_predictions": len(true),
        "classes": classes,
        "num_records": len(chosen),
        "num_unique": len(set(chosen)),
        "confidence_histogram": {
            "edges": edges.tolist(),
            "per_class": [np.histogram(confidence[predicted == c], edges)[0].tolist() for c in range(num_classes)],
        },
    }
    write_json(folder / "balanced" / "stats.json", stats)


def write_work_dir(
    folder: Path,
    images: list[bytes],
    true: np.ndarray,
    num_classes: int = 10,
    num_image: int = 20,
    rounds: int = 1,
    steps: int = 200,
    num_test: int = 500,
) -> Path:
    """Writes everything that the report reads; accuracy rises from 0.8 by 0.06 a round."""
    write_network(folder / "teacher", "efficientnet-b0", round(0.8 * num_test), num_test, steps, False, seed=0)
    for number in range(1, rounds + 1):
        round_dir = folder / f"round{number}"
        write_round(round_dir, images, true, num_classes, num_image, seed=number)
        correct = round((0.8 + 0.06 * number) * num_test)
        write_network(round_dir / "student", f"efficientnet-b{number - 1}", correct, num_test, steps, True, seed=number)
    truth = {shard_name("train", shard, NUM_SHARDS): true[shard::NUM_SHARDS].tolist() for shard in range(NUM_SHARDS)}
    write_json(folder / "data" / "unlabeled" / "labels_for_report.json", truth)
    return folder
