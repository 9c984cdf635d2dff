"""Input pipeline: JPEG -> random crop -> flip -> RandAugment (2 ops, level 9) -> 224 pixels, images a second.

    python -m benchmarks.input_pipeline             # --json for machines, --check to exit 1 below the targets

The training stream (records read, shuffled, parsed, prepared, batched) with and without RandAugment, the same crops with
keras_cv's RandAugment, TensorFlow's own functions without RandAugment, and timm's pipeline where it is installed, in turns within
one run, because a machine drifts. The images are smooth random ones of about 450 x 350 pixels, JPEG quality 70 to 95.

The target was set on a machine whose two cores took the original release to 692 images/s, to 1,742 without RandAugment (which
TensorFlow's own functions were), and timm to 560: it is 0.80 and 2.5 times those. Beside the rate stands the processor time of an
image, which other programs on the machine change less.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks import bench_machine, timm_peers
from data.config import AugmentConfig, DataConfig
from data.records.examples import IMAGE, labeled_example, shard_name
from data.records.shards import write_shard
from data.streams import segments
from data.streams.training import training_stream
from data.tasks import Task
from flags.build import fast
from runtime import machine

SIZE = 224
BATCH = 32
LAYERS, LEVEL = 2, 9.0
TARGET_RATE, TARGET_RATIO = 1400, 0.8
OURS, PLAIN, KERAS_CV, TIMM = "ours", "ours without RandAugment", "keras_cv", "timm"
USUAL = "tf.data without RandAugment"


def main() -> None:
    arguments = _arguments()
    fast.prepare_process()  # as main.py does
    with tempfile.TemporaryDirectory() as folder:
        jpegs = make_jpegs(arguments.images)
        write_jpegs(folder, jpegs)
        pipelines: dict[str, Iterable[Any]] = {
            PLAIN: pipeline(folder, AugmentConfig(enabled=False)),
            OURS: pipeline(folder, AugmentConfig(layers=LAYERS, magnitude=LEVEL)),
            USUAL: usual_pipeline(folder),
        }
        with contextlib.suppress(ImportError):
            pipelines[KERAS_CV] = keras_cv_pipeline(folder)
        if timm_peers.installed():
            pipelines[TIMM] = timm_peers.input_pipeline(jpegs, SIZE, BATCH, LAYERS, int(LEVEL), machine.cores())
        rounds = measure(pipelines, arguments.rounds, arguments.batches)
    times = {peer: round(_relative(rounds[peer], rounds[OURS], 0), 3) for peer in (USUAL, TIMM) if peer in rounds}
    result: dict[str, Any] = {"machine": bench_machine.in_short(), "rows": summarise(rounds), "times": times}
    print(json.dumps(result, indent=1) if arguments.json else _table(result))
    if arguments.check and not reached(result):
        sys.exit(1)


def reached(result: dict[str, Any]) -> bool:
    """Whether the result meets both targets."""
    ours = result["rows"][OURS]
    return ours["images_per_second"] >= TARGET_RATE and ours["of_without"] >= TARGET_RATIO


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="different images")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every pipeline")
    parser.add_argument("--batches", type=int, default=30, help=f"batches of {BATCH} in a turn")
    parser.add_argument("--json", action="store_true")
    help_text = f"exit 1 below {TARGET_RATE} images/s or {TARGET_RATIO:.0%} of the rate without RandAugment"
    parser.add_argument("--check", action="store_true", help=help_text.replace("%", "%%"))
    return parser.parse_args()


def make_jpegs(count: int) -> list[bytes]:
    """Smooth random images as JPEGs: noise of four resolutions, enlarged and added up."""
    random = np.random.default_rng(0)
    jpegs = []
    for _ in range(count):
        width, height = int(random.integers(400, 501)), int(random.integers(300, 401))
        image = np.zeros((height, width, 3))
        for cells, weight in ((6, 90), (20, 50), (60, 30), (150, 14)):
            noise = random.integers(0, 256, (cells, cells, 3)).astype(np.uint8)
            image += weight * np.asarray(
                Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC), float
            )
        image = 255 * (image - image.min()) / np.ptp(image)
        buffer = io.BytesIO()
        Image.fromarray(image.astype(np.uint8)).save(buffer, "JPEG", quality=int(random.integers(70, 96)))
        jpegs.append(buffer.getvalue())
    return jpegs


def write_jpegs(folder: str, jpegs: list[bytes]) -> None:
    """Writes them as a shard of labeled images."""
    examples = (labeled_example(jpeg, 1) for jpeg in jpegs)
    write_shard(os.path.join(folder, shard_name("train", 0, 1)), examples)


def jpeg_stream(folder: str) -> tf.data.Dataset:
    """Ours on 200 images, which are written to `folder`."""
    write_jpegs(folder, make_jpegs(200))
    return pipeline(folder, AugmentConfig(layers=LAYERS, magnitude=LEVEL))


def pipeline(folder: str, augment: AugmentConfig) -> tf.data.Dataset:
    """The training stream, as training has it: endless batches from records."""
    task = Task("folder", num_classes=2, image_size=SIZE, small_image_model=False, flip=True)
    data = DataConfig(task, folder, image_size=SIZE, augment=augment)
    stream = training_stream(data, BATCH, 0, 1, segments.Segments(0, 1_000_000), augmenter=fast.find().augmenter)
    return stream.map(lambda batch: batch["labeled"]["image"])


def usual_pipeline(folder: str) -> tf.data.Dataset:
    """What TensorFlow's own functions make of the records without RandAugment, composed as its guides do."""

    def prepare(example: tf.Tensor) -> tf.Tensor:
        features = {IMAGE: tf.io.FixedLenFeature([], tf.string)}
        encoded = tf.io.parse_single_example(example, features)[IMAGE]
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(encoded),
            tf.zeros([0, 0, 4]),
            min_object_covered=0.1,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        image = tf.image.decode_and_crop_jpeg(encoded, tf.concat([begin[:2], size[:2]], 0), channels=3)
        image = tf.raw_ops.ResizeBicubic(images=image[None], size=[SIZE, SIZE])[0]
        return tf.image.random_flip_left_right(image)

    dataset = tf.data.TFRecordDataset(tf.io.gfile.glob(os.path.join(folder, "train*"))).shuffle(1024).repeat()
    dataset = dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def keras_cv_pipeline(folder: str) -> tf.data.Dataset:
    """The same crops and flips, then keras_cv's layer on each image."""
    from efficientnet.quiet_import import keras_cv

    layer = keras_cv.layers.RandAugment((0, 255), augmentations_per_image=LAYERS, magnitude=LEVEL / 10)
    plain = pipeline(folder, AugmentConfig(enabled=False)).unbatch()
    dataset = plain.map(
        lambda image: layer(tf.clip_by_value(image, 0.0, 255.0)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return dataset.batch(BATCH, drop_remainder=True).prefetch(1)


def measure(pipelines: dict[str, Iterable[Any]], rounds: int, batches: int) -> dict[str, list[tuple[float, float]]]:
    """Of every pipeline and round: wall-clock and processor seconds of an image."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in pipelines}
    for _ in range(rounds + 1):
        for name, dataset in pipelines.items():
            taken[name].append(_turn(iter(dataset), batches))
    return {name: turns[1:] for name, turns in taken.items()}


def _turn(iterator: Iterator[Any], batches: int) -> tuple[float, float]:
    """A fresh iterator each time, so that no pipeline works on while another is measured."""
    for _ in range(3):
        next(iterator)
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(batches):
        next(iterator)
    images = batches * BATCH
    return (time.perf_counter() - wall) / images, (time.process_time() - processor) / images


def summarise(rounds: dict[str, list[tuple[float, float]]]) -> dict[str, dict[str, float]]:
    """Median and spread of the rates, and rate and processor time relative to the pipeline without RandAugment."""
    rows = {}
    for name, turns in rounds.items():
        rates = [1 / wall for wall, _ in turns]
        rows[name] = {
            "images_per_second": round(statistics.median(rates)),
            "slowest": round(min(rates)),
            "fastest": round(max(rates)),
            "of_without": round(_relative(rounds[PLAIN], turns, 0), 3),
        }
        if name != TIMM:  # whose processes are others
            rows[name]["processor_ms_per_image"] = round(1000 * statistics.median(own for _, own in turns), 3)
            rows[name]["of_without_by_processor_time"] = round(_relative(rounds[PLAIN], turns, 1), 3)
    return rows


def _relative(others: list[tuple[float, float]], turns: list[tuple[float, float]], kind: int) -> float:
    return statistics.median(one[kind] / other[kind] for one, other in zip(others, turns))


def in_words(times: dict[str, float]) -> str:
    """How many times a peer's rate ours is."""
    return ", ".join(f"{ratio:.2f} x {peer}" for peer, ratio in times.items())


def _table(result: dict[str, Any]) -> str:
    lines = [
        result["machine"],
        f"{'':28}{'images/s':>9}{'slowest':>9}{'fastest':>9}{'of plain':>9}{'CPU ms':>8}{'of plain':>9}",
    ]
    for name, row in result["rows"].items():
        rates = "".join(f"{row[key]:>9}" for key in ("images_per_second", "slowest", "fastest"))
        processor = ""
        if "processor_ms_per_image" in row:
            processor = f"{row['processor_ms_per_image']:>8.2f}{row['of_without_by_processor_time']:>9.0%}"
        lines.append(f"{name:28}{rates}{row['of_without']:>9.0%}{processor}")
    lines.append("ours: " + in_words(result["times"]))
    lines.append(
        f"targets: {TARGET_RATE} images/s on two cores and {TARGET_RATIO:.0%} of plain; the release: 692 and 40%"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
