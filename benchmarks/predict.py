"""Prediction of b0 at 224 pixels: JPEG records in, prediction records out, images a second.

    python -m benchmarks.predict             # --json for machines, --check to exit 1 below the target

Ours is all of `--mode=predict` but its start: reading records, decoding, cropping, resizing, the network, writing records. Its
peers are networks alone, on images that lie ready in memory: keras.applications' b0 and, where torch and timm are installed,
timm's. They take turns within one run, because a machine drifts; ours in a process of its own, as users have it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from benchmarks import timm_peers, turns
from benchmarks.input_pipeline import make_jpegs
from data.fast import Fast
from data.records.examples import shard_name, unlabeled_example
from data.records.shards import write_shard
from efficientnet.model import EfficientNet
from efficientnet.variants import ModelConfig
from flags.build import fast
from pseudo_label.config import PredictConfig
from pseudo_label.predict.run import Prediction, Summary
from pseudo_label.predict.samples import Samples
from pseudo_label.predict.shards import find_shards
from runtime.config import DeviceConfig

SIZE, CLASSES, BATCH = 224, 1000, 32
TARGET_RATIO = 1.4
OURS, KERAS = "ours", "keras.applications"
REPORTED = "the release: 61 images/s, timm 79, keras.applications 81, when this was set up"


def main() -> None:
    arguments = _arguments()
    if arguments.ours:
        fast.prepare_process()  # as main.py does
        return turns.serve(ours(arguments.ours, arguments.images, arguments.batch, arguments.plain))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.dir))
        settings = [f"--ours={folder}", f"--images={arguments.images}", f"--batch={arguments.batch}"]
        settings += ["--plain"] if arguments.plain else []
        turn = stack.enter_context(turns.served("benchmarks.predict", *settings))
        candidates: dict[str, turns.Candidate] = {OURS: turn}
        for batch in arguments.peer_batches:
            candidates[f"{KERAS}, batch {batch}"] = keras(batch)
            if timm_peers.installed():
                candidates[f"timm, batch {batch}"] = timm_peers.inference(_pixels(batch))
        rows = turns.measure(candidates, arguments.rounds, arguments.seconds)
    peer = max((name for name in rows if name.startswith(KERAS)), key=lambda name: rows[name]["images_per_second"])
    result = turns.compare(rows, OURS, peer, TARGET_RATIO)
    print(json.dumps(result, indent=1) if arguments.json else turns.table(result, REPORTED))
    if arguments.check and result["ratio"] < TARGET_RATIO:
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1600, help="images of one turn of ours")
    parser.add_argument("--batch", type=int, default=BATCH, help="images of a batch of ours")
    parser.add_argument("--peer_batches", type=int, nargs="+", default=[32, 64], help="the peers' best one counts")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each of the peers' turns")
    parser.add_argument("--dir", default=None, help="where the records are written; removed at the end")
    parser.add_argument("--plain", action="store_true", help="ours without fast_cpu/")
    parser.add_argument("--ours", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help=f"exit 1 below {TARGET_RATIO} x {KERAS}")
    return parser.parse_args()


# --- candidates: each call gives (images, seconds) --------------------------------------------------------------------


def ours(folder: str, images: int, batch: int, plain: bool) -> turns.Candidate:
    """All that predict does for one more shard: from its records to the file of predictions."""
    jpegs = make_jpegs(min(images, 200))
    source = os.path.join(folder, shard_name("train", 0, 1))
    write_shard(source, (unlabeled_example(jpegs[i % len(jpegs)]) for i in range(images)))
    config = PredictConfig(
        title="predict",
        model=ModelConfig("efficientnet-b0", CLASSES),
        checkpoint="",
        input_dir=folder,
        output_dir=os.path.join(folder, "predictions"),
        image_size=SIZE,
        num_shards=1,
        batch_size=batch,
        samples_per_class=0,
        device=DeviceConfig(use_tpu=False),
    )
    found = Fast() if plain else fast.find()
    found.before_inference(config.model, [batch, SIZE, SIZE, 3])
    model = EfficientNet(config.model, ops=found.inference(lambda enough: enough))
    shards = find_shards(config)
    samples = Samples(config, shards)
    prediction = Prediction(config, tf.distribute.get_strategy(), model, samples, Summary(), found)

    def turn(_: float) -> tuple[int, float]:
        started = time.perf_counter()
        prediction.run(shards)
        return images, time.perf_counter() - started

    return turn


def keras(batch: int) -> turns.Candidate:
    """keras.applications' network alone."""
    network = tf.keras.applications.EfficientNetB0(weights=None)
    function = tf.function(lambda images: network(images, training=False))
    return _repeat(lambda images: function(images).numpy(), tf.constant(_pixels(batch)))


def _pixels(batch: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, [batch, SIZE, SIZE, 3]).astype(np.float32)


def _repeat(function: Callable[[Any], Any], images: Any) -> turns.Candidate:
    return turns.repeated(lambda: function(images), len(images))


if __name__ == "__main__":
    main()
