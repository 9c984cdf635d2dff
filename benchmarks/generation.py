"""Corruptions generated beside inference: what each costs of the rate at which b0 answers pictures of 224 pixels.

    python -m benchmarks.generation     # --json for machines, --check to exit 1 above the target

As `--mode=robustness` does it: other processes generate, this one answers. The same network answers pictures that are there
already, in turns with pictures that are made meanwhile, one severity (3) of one corruption. The target holds for the cheap ones.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import bench_machine
from evaluation.robustness.corruptions import CORRUPTIONS, corrupt, picture_generator
from runtime.workers import Workers

SIDE, SEVERITY, BATCH = 224, 3, 16
CHEAP = ("gaussian_noise", "impulse_noise", "brightness", "contrast", "pixelate", "jpeg_compression")
LARGEST_COST = 0.2  # of the rate

Task = tuple[np.ndarray, int]


def made(task: Task, name: str) -> np.ndarray:
    """One corrupted picture."""
    picture, number = task
    return corrupt(picture, name, SEVERITY, picture_generator(0, name, SEVERITY, number))


def main() -> None:
    arguments = _arguments()
    result = measure(arguments.rounds, arguments.batches)
    print(json.dumps(result, indent=1) if arguments.json else table(result))
    if arguments.check and not reached(result):
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each; the median counts")
    parser.add_argument("--batches", type=int, default=3, help=f"of {BATCH} pictures in a turn")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit 1 above the target")
    return parser.parse_args()


def measure(rounds: int, batches: int) -> dict[str, Any]:
    """{corruption: pictures a second alone and beside generation, and the median share that generation costs}.

    A first turn that does not count compiles the network and starts the processes.
    """
    answer, count = _network(), BATCH * batches
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(BATCH)]
    tasks = [(pictures[number % BATCH], number) for number in range(count)]
    rows = {}
    for name in CORRUPTIONS:
        with Workers(functools.partial(made, name=name), 0) as workers:
            ready = list(workers.map(tasks))
            alone, beside = list[float](), list[float]()
            for _ in range(rounds):
                alone.append(count / _seconds(answer, iter(ready)))
                beside.append(count / _seconds(answer, workers.map(tasks)))
        costs = [1 - with_it / without for with_it, without in zip(beside, alone)]
        rows[name] = {
            "alone": round(statistics.median(alone), 2),
            "beside": round(statistics.median(beside), 2),
            "spread": [round(min(beside), 2), round(max(beside), 2)],
            "cost": round(statistics.median(costs), 3),
        }
    return {**bench_machine.describe(), "target_cost": LARGEST_COST, "rows": rows}


def _network() -> Any:
    """Answers a batch, uint8 [BATCH, SIDE, SIDE, 3], as fast as prediction does; it has been called once."""
    import tensorflow as tf

    from efficientnet.model import EfficientNet
    from efficientnet.variants import ModelConfig
    from flags.build import fast

    model = EfficientNet(ModelConfig("efficientnet-b0", 1000), ops=fast.find().inference(lambda enough: enough))
    step = tf.function(lambda images: model(images), autograph=False)

    def answer(batch: np.ndarray) -> None:
        step(tf.constant(batch, tf.float32)).numpy()

    answer(np.zeros([BATCH, SIDE, SIDE, 3], np.uint8))
    return answer


def _seconds(answer: Any, pictures: Iterator[np.ndarray]) -> float:
    started, batch = time.monotonic(), list[np.ndarray]()
    for picture in pictures:
        batch.append(picture)
        if len(batch) == BATCH:
            answer(np.stack(batch))
            batch.clear()
    return time.monotonic() - started


def dearest(result: dict[str, Any]) -> str:
    """The cheap corruption that costs most."""
    return max(CHEAP, key=lambda name: result["rows"][name]["cost"])


def reached(result: dict[str, Any]) -> bool:
    """Whether each of the cheap ones costs no more than the target."""
    return all(result["rows"][name]["cost"] <= result["target_cost"] for name in CHEAP)


def table(result: dict[str, Any]) -> str:
    """The rows for people."""
    lines = [
        result["machine"],
        result["versions"],
        "",
        f"{'':20}{'alone':>10}{'beside':>10}{'cost':>8}   pictures a second",
    ]
    for name, row in result["rows"].items():
        cheap = " (cheap)" if name in CHEAP else ""
        lines.append(f"{name:20}{row['alone']:10.1f}{row['beside']:10.1f}{100 * row['cost']:7.0f}%{cheap}")
    return "\n".join([*lines, "", f"target: at most {100 * result['target_cost']:.0f} % for the cheap ones"])


if __name__ == "__main__":
    main()
