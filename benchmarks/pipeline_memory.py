"""Memory of the input pipeline: the resident set of a process that draws training batches and does nothing else.

    python -m benchmarks.pipeline_memory                     # 2,000 steps, 20 seconds
    python -m benchmarks.pipeline_memory --steps=20000       # the figures of docs/performance.md, some minutes
    python -m benchmarks.pipeline_memory --steps=20000 --jpegs

The batches are those of a student: labeled and pseudo-labeled digits of 16 pixels, both with RandAugment, files shuffled, a new
segment every 100 steps; or with --jpegs those of `benchmarks.input_pipeline`, 32 crops of 224 pixels with RandAugment. They are
drawn as fast as they come, so that buffers are empty, but a hundred times in a run nothing is drawn until all are full, as they
are in training, whose network is slower. The first tenth of the steps warms up: allocators find their size. After it nothing
may grow with the steps.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import psutil
import tensorflow as tf

from benchmarks import bench_machine, input_pipeline
from data.config import DataConfig
from data.prepare import run
from data.prepare.config import PrepareConfig
from data.records.examples import filtered_example, filtered_name, image_of
from data.records.shards import find_shards, read_shard, write_shard
from data.streams import training
from data.streams.segments import Segments
from data.streams.training import UNLABELED_PATTERN
from data.tasks import TASKS
from flags.build import fast

LABELED_BATCH, UNLABELED_BATCH = 4, 8
STEPS_OF_A_SEGMENT = 100
SAMPLES = 100
STEPS_TO_FILL = 8  # how many steps' time it takes until all buffers are full
TARGET_GROWTH_MIB = 8.0


def main() -> None:
    arguments = _arguments()
    fast.prepare_process()  # as main.py does
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        stream = input_pipeline.jpeg_stream(folder) if arguments.jpegs else training_stream(folder)
        batches = iter(stream)
        next(batches)
        drawing = time.monotonic()
        found = measure(batches, arguments.steps)
    result = {
        "machine": bench_machine.in_short(),
        **found,
        "target_mib": TARGET_GROWTH_MIB,
        "images_of_a_step": input_pipeline.BATCH if arguments.jpegs else LABELED_BATCH + UNLABELED_BATCH,
        "seconds": round(time.monotonic() - drawing, 1),
    }
    print(json.dumps(result, indent=1) if arguments.json else _table(result))
    if arguments.check and found["growth_mib"] > TARGET_GROWTH_MIB:
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000, help="after the warm-up")
    parser.add_argument("--jpegs", action="store_true", help="224 pixels instead of digits")
    parser.add_argument("--dir", default=None, help="where the images are written; removed at the end")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--check", action="store_true", help=f"exit 1 where more than {TARGET_GROWTH_MIB} MiB are added"
    )
    return parser.parse_args()


def training_stream(folder: str) -> tf.data.Dataset:
    """The stream of a student of the digits task, whose shards are written to `folder`."""
    with contextlib.redirect_stdout(sys.stderr):
        run.prepare(PrepareConfig("digits", folder, 200, num_test_images=200, num_shards=4))
    write_filtered(f"{folder}/unlabeled", f"{folder}/filtered")
    data = DataConfig(
        task=TASKS["digits"],
        label_data_dir=f"{folder}/labeled",
        unlabel_data_dir=f"{folder}/filtered",
        image_size=16,
        small_image_model=True,
    )
    segments = Segments(first_step=0, steps=STEPS_OF_A_SEGMENT)
    return training.training_stream(data, LABELED_BATCH, UNLABELED_BATCH, 1, segments)


def write_filtered(source: str, target: str) -> None:
    """Every image of `source` with a soft label, in as many shards."""
    rng = np.random.default_rng(0)
    paths = find_shards(source, UNLABELED_PATTERN, "input_dir")
    for shard, path in enumerate(paths):
        images = map(image_of, read_shard(path))
        labels = (rng.dirichlet(np.ones(10)).astype(np.float32) for _ in iter(int, 1))
        name = filtered_name("train", 0, shard, len(paths))
        write_shard(f"{target}/{name}", map(filtered_example, images, labels))


def measure(batches: Iterator[Any], steps: int) -> dict[str, Any]:
    """Resident memory while `steps` batches are drawn, after a tenth as many (at least 200) that do not count.

    `growth_mib` is the trend (least squares over SAMPLES samples) from the first step to the last, so that a single
    allocation more or less at the end does not decide. `resident_mib` has the samples, evenly spaced, both ends included.
    """
    each = max(1, steps // SAMPLES)
    for _ in range(max(200, steps // 10) // each):
        _draw(batches, each)
    sizes = [resident_mib()]
    for _ in range(steps // each):
        _draw(batches, each)
        sizes.append(resident_mib())
    slope = np.polyfit(np.arange(len(sizes)), sizes, 1)[0]
    return {
        "steps": steps // each * each,
        "growth_mib": round(slope * (len(sizes) - 1), 2),
        "resident_mib": [round(size, 1) for size in sizes],
    }


def _draw(batches: Iterable[Any], steps: int) -> None:
    """Draws batches, then waits until buffers are full."""
    begun = time.monotonic()
    for _, batch in zip(range(steps), batches):
        tf.nest.map_structure(lambda tensor: tensor.numpy(), batch)
    time.sleep(STEPS_TO_FILL / steps * (time.monotonic() - begun))


def resident_mib() -> float:
    """Resident set of this process."""
    return psutil.Process().memory_info().rss / (1 << 20)


def _table(result: dict[str, Any]) -> str:
    sizes = result["resident_mib"]
    return "\n".join(
        (
            result["machine"],
            f"{result['steps']:,} steps of {result['images_of_a_step']} images in {result['seconds']} s",
            f"resident MiB: {sizes[0]} first, {sizes[-1]} last, {max(sizes)} at most; "
            f"trend {result['growth_mib']:+.2f} (at most {result['target_mib']:g} wanted)",
        )
    )


if __name__ == "__main__":
    main()
