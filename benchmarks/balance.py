"""Filter and balance: records a second, how the time grows with the records, and the peak of memory.

    python -m benchmarks.balance                          # 10 classes, 500-byte images, 200,000 to 1,600,000 records
    python -m benchmarks.balance --records=10000000 --classes=20 --image_bytes=32 --shards=64 --repeat=1   # memory

Each run is a process of its own, and its time is all of `balance()`: starting Beam, reading, writing. The original release needed
one session call for a record and reached about 1,100 records/s.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from benchmarks import bench_machine
from data.records.examples import prediction_example, prediction_name, shard_name, unlabeled_example
from data.records.shards import write_shard
from pseudo_label.config import BalanceConfig

RELEASE_RECORDS_PER_SECOND = 1_075
TARGET_RECORDS_PER_SECOND = 100_000


def main() -> None:
    arguments = parser().parse_args()
    if arguments.one:
        print(json.dumps(_run_once(BalanceConfig(**json.loads(arguments.one)))))
        return
    rows = [measure(number, arguments) for number in arguments.records]
    result = {
        "machine": bench_machine.in_short(),
        "classes": arguments.classes,
        "image_bytes": arguments.image_bytes,
        "target": TARGET_RECORDS_PER_SECOND,
        "rows": rows,
    }
    if len(rows) > 1:
        slope, fixed = np.polyfit([row["records"] for row in rows], [row["seconds"] for row in rows], 1)
        result["fixed_seconds"], result["further_records_per_second"] = round(fixed, 2), round(1 / slope)
    print(json.dumps(result, indent=1) if arguments.json else _table(result))
    if arguments.check and max(row["records_per_second"] for row in rows) < TARGET_RECORDS_PER_SECOND:
        sys.exit(1)


def parser() -> argparse.ArgumentParser:
    """The settings of `measure`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--records", type=_numbers, default="200000,400000,800000,1600000", help="records of each run, by comma"
    )
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--store_top_k", type=int, default=0, help="sparse predictions; 0 for all classes")
    parser.add_argument("--image_bytes", type=int, default=500)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each size; the median counts")
    parser.add_argument("--beam_args", default="", help="passed on to Beam, by comma, e.g. --direct_num_workers=2")
    parser.add_argument("--dir", default=None, help="where the inputs are written; removed at the end")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--check", action="store_true", help=f"exit 1 below {TARGET_RECORDS_PER_SECOND:,} records/s at the best size"
    )
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    return parser


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def measure(number: int, arguments: argparse.Namespace) -> dict:
    """Writes inputs of so many records, balances them `arguments.repeat` times, and says how long and how much memory it took."""
    folder = tempfile.mkdtemp(prefix="balance-benchmark-", dir=arguments.dir)
    try:
        _write_inputs(folder, number, arguments)
        config = BalanceConfig(
            title="balance",
            input_dir=f"{folder}/images",
            prediction_dir=f"{folder}/predictions",
            output_dir=f"{folder}/balanced",
            num_classes=arguments.classes,
            num_image=number // arguments.classes,
            min_threshold=0.3,
            num_shards=arguments.shards,
            beam_args=tuple(filter(None, arguments.beam_args.split(","))),
        )
        runs = []
        for _ in range(arguments.repeat):
            shutil.rmtree(config.output_dir, ignore_errors=True)
            command = [sys.executable, "-m", "benchmarks.balance", "--one", json.dumps(dataclasses.asdict(config))]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            runs.append(json.loads(printed.splitlines()[-1]))  # balance says before it what it has done
    finally:
        shutil.rmtree(folder)
    seconds = [run["seconds"] for run in runs]
    return {
        "records": number,
        "written": runs[0]["written"],
        "seconds": round(statistics.median(seconds), 2),
        "spread": [round(min(seconds), 2), round(max(seconds), 2)],
        "cpu_seconds": round(statistics.median(run["cpu_seconds"] for run in runs), 2),
        "least_cpu_seconds": round(min(run["cpu_seconds"] for run in runs), 2),
        "records_per_second": round(number / statistics.median(seconds)),
        "times_the_release": round(number / statistics.median(seconds) / RELEASE_RECORDS_PER_SECOND, 1),
        "peak_mib": max(run["peak_mib"] for run in runs),
        "peak_mib_of_a_worker": max(run["peak_mib_of_a_worker"] for run in runs),
    }


def _run_once(config: BalanceConfig) -> dict:
    from pseudo_label.balance.run import balance

    config = dataclasses.replace(config, beam_args=tuple(config.beam_args))
    started, cpu = time.monotonic(), _cpu_seconds()
    stats = balance(config)
    return {
        "seconds": time.monotonic() - started,
        "cpu_seconds": _cpu_seconds() - cpu,
        "written": stats["num_records"],
        "peak_mib": _peak_mib(resource.RUSAGE_SELF),
        "peak_mib_of_a_worker": _peak_mib(resource.RUSAGE_CHILDREN),
    }


def _cpu_seconds() -> float:
    """Of this process and of the workers that it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_mib(who: int) -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit >> 20


def _write_inputs(folder: str, number: int, arguments: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(max(1, arguments.image_bytes * 4 // 5), arguments.image_bytes * 6 // 5 + 1, 64)
    images = [unlabeled_example(rng.bytes(int(size))) for size in sizes]
    for shard, part in enumerate(np.array_split(np.arange(number), arguments.shards)):
        name = shard_name("train", shard, arguments.shards)
        write_shard(f"{folder}/images/{name}", (images[row % len(images)] for row in range(len(part))))
        name = prediction_name("train", shard, arguments.shards, 0)
        write_shard(f"{folder}/predictions/{name}", _predictions(len(part), arguments, rng))


def _predictions(number: int, arguments: argparse.Namespace, rng: np.random.Generator) -> Iterator[bytes]:
    """Softmaxes whose classes are unevenly frequent, so that some are cut and others filled with copies."""
    classes, top_k = arguments.classes, arguments.store_top_k
    eye = np.eye(classes, dtype=np.float32)
    heads = [prediction_example(row)[: -row.nbytes] for row in eye]
    frequency = 0.8 ** np.arange(classes)
    for start in range(0, number, 10_000):
        size = min(10_000, number - start)
        label = rng.choice(classes, size, p=frequency / frequency.sum())
        logits = rng.normal(size=(size, classes)) + 5 * eye[label]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for row in probabilities.astype(np.float32):
            if top_k:
                yield prediction_example(row, top_k)
            else:
                yield heads[int(row.argmax())] + row.tobytes()


def _table(result: dict) -> str:
    lines = [
        f"{result['machine']}; {result['classes']} classes, images of about {result['image_bytes']} bytes",
        f"{'records':>12} {'seconds':>9} {'spread':>17} {'CPU s':>7} {'records/s':>12} {'x release':>10} "
        f"{'peak MiB':>9} {'of a worker':>12}",
    ]
    for row in result["rows"]:
        spread = f"{row['spread'][0]:.2f}..{row['spread'][1]:.2f}"
        lines.append(
            f"{row['records']:12,} {row['seconds']:9.2f} {spread:>17} {row['cpu_seconds']:7.2f} {row['records_per_second']:12,} "
            f"{row['times_the_release']:10.1f} {row['peak_mib']:9,} {row['peak_mib_of_a_worker']:12,}"
        )
    if "fixed_seconds" in result:
        lines.append(f"{result['fixed_seconds']} s and {result['further_records_per_second']:,} records/s beyond them")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
