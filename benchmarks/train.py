"""Training b0 at 224 pixels, batch 32: images a second of the whole loop, and its peak of memory.

    python -m benchmarks.train             # --json for machines, --check to exit 1 below the targets

Ours is the loop that `--mode=train` runs: JPEG records read, cropped, flipped, RandAugmented (2 ops, level 27), the step with
dropout, stochastic depth, weight decay, RMSProp and averages. Its peers are keras.applications' b0 and, where torch and timm are
installed, timm's, taking steps (forward, backward, RMSProp) on one batch that lies ready in memory. They take turns within one
run, because a machine drifts; ours in a process of its own, as users have it. The peak of memory is that of another.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import bench_machine, timm_peers, turns
from benchmarks.input_pipeline import make_jpegs
from data.config import DataConfig
from data.fast import Fast
from data.records.examples import labeled_example, shard_name
from data.records.shards import write_shard
from data.tasks import load_task
from efficientnet.variants import ModelConfig
from flags.build import fast
from runtime.config import DeviceConfig
from training.config import OptimizerConfig, TrainConfig
from training.trainer import Trainer

SIZE, CLASSES, BATCH, IMAGES = 224, 1000, 32, 1000
TARGET_RATIO, TARGET_GIB = 1.3, 3.0
OURS, KERAS, TIMM = "ours, whole loop", "keras.applications, step alone", "timm, step alone"
REPORTED = "the release: 10.2 images/s, timm's step 12.5, keras.applications' 18.1, when this was set up"


def main() -> None:
    arguments = _arguments()
    if arguments.ours:
        fast.prepare_process()  # as main.py does
        turn = ours(arguments.ours, arguments.steps, arguments.plain)
        if not arguments.memory_alone:
            return turns.serve(turn)
        turn(0.0)
        return print(bench_machine.peak_gib())
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.dir))
        settings = [f"--ours={folder}", f"--steps={arguments.steps}"]
        settings += ["--plain"] if arguments.plain else []
        images, labels = _batch()
        candidates = {
            OURS: stack.enter_context(turns.served("benchmarks.train", *settings)),
            KERAS: keras(images, labels),
        }
        if timm_peers.installed():
            candidates[TIMM] = timm_peers.training(images, labels)
        result = turns.compare(
            turns.measure(candidates, arguments.rounds, arguments.seconds), OURS, KERAS, TARGET_RATIO
        )
    result["peak_gib"], result["target_gib"] = round(_peak_gib(arguments), 2), TARGET_GIB
    print(json.dumps(result, indent=1) if arguments.json else _table(result))
    if arguments.check and (result["ratio"] < TARGET_RATIO or result["peak_gib"] > TARGET_GIB):
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="steps of one turn of ours")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each of the peer's turns")
    parser.add_argument("--dir", default=None, help="where the records are written; removed at the end")
    parser.add_argument("--plain", action="store_true", help="ours without fast_cpu/")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--check", action="store_true", help=f"exit 1 below {TARGET_RATIO} x or above {TARGET_GIB:g} GiB"
    )
    parser.add_argument("--ours", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--memory_alone", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _peak_gib(arguments: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        command = [sys.executable, "-m", "benchmarks.train", f"--ours={folder}", f"--steps={arguments.steps}"]
        done = subprocess.run([*command, "--memory_alone"], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.splitlines()[-1])


def _table(result: dict[str, Any]) -> str:
    memory = f"peak of ours: {result['peak_gib']:.2f} GiB resident (target: at most {TARGET_GIB:g})"
    return turns.table(result, REPORTED) + "\n" + memory


# --- candidates -----------------------------------------------------------------------------------------------------


def ours(folder: str, steps: int, plain: bool) -> turns.Candidate:
    """The trainer's own compiled loop over its own input stream."""
    jpegs = make_jpegs(200)
    examples = (labeled_example(jpegs[i % len(jpegs)], 1 + i % CLASSES) for i in range(IMAGES))
    write_shard(os.path.join(folder, shard_name("train", 0, 1)), examples)
    config = TrainConfig(
        "train",
        ModelConfig("efficientnet-b0", CLASSES),
        DataConfig(load_task("imagenet"), folder, image_size=SIZE),
        OptimizerConfig(1000, BATCH, IMAGES),
        os.path.join(folder, "model"),
        DeviceConfig(use_tpu=False),
    )
    trainer = Trainer(config, tf.distribute.get_strategy(), Fast() if plain else fast.find())
    loop, batches = trainer._compile(config.optimizer), iter(trainer._distribute())

    def turn(_: float) -> tuple[int, float]:
        started = time.perf_counter()
        loop(batches, tf.constant(steps))["loss"].numpy()
        return steps * BATCH, time.perf_counter() - started

    return turn


def keras(images: np.ndarray, labels: np.ndarray) -> turns.Candidate:
    """keras.applications' network: forward, backward and RMSProp on fixed images."""
    network = tf.keras.applications.EfficientNetB0(weights=None)
    optimizer = tf.keras.optimizers.RMSprop(1e-4, momentum=0.9)
    inputs, targets = tf.constant(images), tf.constant(labels)
    loss_of = tf.keras.losses.SparseCategoricalCrossentropy()

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(targets, network(inputs, training=True))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables))
        return loss

    return turns.repeated(lambda: step().numpy(), BATCH)


def _batch() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    images = generator.uniform(0, 255, [BATCH, SIZE, SIZE, 3]).astype(np.float32)
    return images, generator.integers(0, CLASSES, BATCH)


if __name__ == "__main__":
    main()
