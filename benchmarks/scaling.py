"""How the time of balance and of predict grows with the records: 1, 2, 4 and 8 times as many.

    python -m benchmarks.scaling

All of `balance()` or `predict()` counts, with what it takes to start Beam or to build the network: so the first rows cost more a
record, and linear means that further records cost no more in the last row than in those before it. That is judged by processor
time, which other programs on the machine change less than the time on the clock; of some runs of each size the best counts,
because others can only add. Predict runs b0 on images of 32 pixels, which cost little, so that what grows with the records, if
anything does, would show.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import balance, bench_machine
from checkpoints import writing
from data.records.examples import prediction_name, shard_name, unlabeled_example
from data.records.shards import count_records, write_shard
from efficientnet.model import EfficientNet
from efficientnet.variants import ModelConfig
from pseudo_label.config import PredictConfig
from pseudo_label.predict.run import predict
from runtime.config import DeviceConfig

TIMES = (1, 2, 4, 8)
# What a further record may cost in the last row against the rows before: 1 where the time is linear, 2.4 where it is quadratic.
TARGET_GROWTH = 1.5
SIZE, CLASSES, BATCH, SHARDS = 32, 10, 64, 8


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        print(
            json.dumps(
                _predict_rounds(arguments.child, [arguments.predict_records * n for n in TIMES], arguments.repeat)
            )
        )
        return
    works = {
        "balance": [_balance(arguments.balance_records * times, arguments) for times in TIMES],
        "predict": _predict(arguments),
    }
    result: dict[str, Any] = {"machine": bench_machine.in_short(), "target": TARGET_GROWTH, "repeat": arguments.repeat}
    result["rows"] = {name: {"growth": growth(rows), "runs": rows} for name, rows in works.items()}
    print(json.dumps(result, indent=1) if arguments.json else table(result))
    if arguments.check and max(row["growth"] for row in result["rows"].values()) > TARGET_GROWTH:
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--balance_records", type=int, default=200_000, help="records of the first row")
    parser.add_argument("--predict_records", type=int, default=2_000)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each size; the best counts")
    parser.add_argument("--dir", default=None, help="where the inputs are written; removed at the end")
    parser.add_argument("--json", action="store_true")
    help_text = f"exit 1 where a further record costs more than {TARGET_GROWTH} times as much in the last row"
    parser.add_argument("--check", action="store_true", help=help_text)
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def growth(rows: list[dict[str, Any]]) -> float:
    """Processor time of a further record between the last two rows, against that between the first and the last but one."""

    def further(start: dict[str, Any], end: dict[str, Any]) -> float:
        return (end["cpu_seconds"] - start["cpu_seconds"]) / (end["records"] - start["records"])

    return round(further(rows[-2], rows[-1]) / further(rows[0], rows[-2]), 2)


def table(result: dict[str, Any]) -> str:
    """One Markdown table for each kind of work."""
    lines = [result["machine"]]
    for name, row in result["rows"].items():
        lines += [
            "",
            f"| {name}: records | seconds | CPU seconds | CPU microseconds a record |",
            "|---:|---:|---:|---:|",
        ]
        for run in row["runs"]:
            each = 1e6 * run["cpu_seconds"] / run["records"]
            lines.append(f"| {run['records']:,} | {run['seconds']:.2f} | {run['cpu_seconds']:.2f} | {each:.1f} |")
        lines += [
            "",
            f"a further record at the end costs {row['growth']:.2f} times one before (target: {result['target']})",
        ]
    return "\n".join(lines)


def _balance(number: int, arguments: argparse.Namespace) -> dict[str, Any]:
    settings = [f"--repeat={arguments.repeat}", *([f"--dir={arguments.dir}"] if arguments.dir else [])]
    row = balance.measure(number, balance.parser().parse_args(settings))
    return {"records": number, "seconds": row["spread"][0], "cpu_seconds": row["least_cpu_seconds"]}


def _predict(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        command = [sys.executable, "-m", "benchmarks.scaling", f"--child={folder}", f"--repeat={arguments.repeat}"]
        command.append(f"--predict_records={arguments.predict_records}")
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _predict_rounds(folder: str, numbers: list[int], repeat: int) -> list[dict[str, Any]]:
    """The best of some `predict()`s of each size, in turns: each builds and loads the network, reads records, and writes."""
    configs = [_write_inputs(f"{folder}/{number}", number) for number in numbers]
    seconds: list[list[float]] = [[] for _ in numbers]
    cpu_seconds: list[list[float]] = [[] for _ in numbers]
    for turn in range(repeat):
        for size, (config, number) in enumerate(zip(configs, numbers)):
            output = f"{config.output_dir}{turn}"
            started, cpu = time.monotonic(), time.process_time()
            predict(dataclasses.replace(config, output_dir=output))
            seconds[size].append(time.monotonic() - started)
            cpu_seconds[size].append(time.process_time() - cpu)
            _check_written(output, number)
    return [
        {"records": number, "seconds": round(min(wall), 2), "cpu_seconds": round(min(cpu), 2)}
        for number, wall, cpu in zip(numbers, seconds, cpu_seconds)
    ]


def _check_written(folder: str, number: int) -> None:
    names = [prediction_name("train", shard, SHARDS, 0) for shard in range(SHARDS)]
    written = sum(count_records(f"{folder}/{name}") for name in names)
    if written != number:
        raise SystemExit(f"{written} predictions were written for {number} images")


def _write_inputs(folder: str, number: int) -> PredictConfig:
    """A checkpoint of b0 and shards of small images."""
    model = ModelConfig("efficientnet-b0", CLASSES)
    writing.write(f"{folder}/weights", dict(EfficientNet(model).named_variables()))
    examples = [unlabeled_example(image) for image in _images()]
    for shard, part in enumerate(np.array_split(np.arange(number), SHARDS)):
        name = shard_name("train", shard, SHARDS)
        write_shard(f"{folder}/images/{name}", (examples[row % len(examples)] for row in part))
    return PredictConfig(
        title="predict",
        model=model,
        checkpoint=f"{folder}/weights",
        input_dir=f"{folder}/images",
        output_dir=f"{folder}/predictions",
        image_size=SIZE,
        num_shards=SHARDS,
        shard_ids=None,
        batch_size=BATCH,
        samples_per_class=0,
        use_averages=False,
        device=DeviceConfig(use_tpu=False),
    )


def _images() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, [64, SIZE, SIZE, 3], np.uint8)
    return [tf.io.encode_jpeg(image).numpy() for image in pixels]


if __name__ == "__main__":
    main()
