"""PGD-10 of b0 at 224 pixels: images a second, against training's forward and backward passes, and against foolbox and ART.

    python -m benchmarks.attacks        # --json for machines, --check to exit 1 below a target

Ours is ten steps and the answers at the end. It takes turns with ten forward and backward passes of training on the same batch
(no update of weights), and with foolbox (`pip install foolbox==3.3.4`; it needs git) and ART (`pip install
adversarial-robustness-toolbox==1.20.1`) on the same network and the same pictures. If a peer is not installed, one line says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
import warnings
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from benchmarks import bench_machine
from efficientnet.forward_pass import ForwardPass
from efficientnet.model import EfficientNet
from efficientnet.ops import Ops
from efficientnet.variants import ModelConfig
from evaluation.robustness.attacks import Attacks
from evaluation.robustness.config import STEP_SHARE, AttackConfig
from flags.build import fast

CLASSES, STEPS, EPSILON = 1000, 10, 16.0
STEP = STEP_SHARE * EPSILON / STEPS
OURS, TRAINING, FOOLBOX, ART = "ours", "training, forward and backward", "foolbox", "ART"
MODULES = {FOOLBOX: "foolbox", ART: "art"}
LARGEST_OF_TRAINING = 1.1  # our time
LEAST_TIMES_PEER = 4.0  # our rate

Batch = dict[str, np.ndarray]
# Attacks a batch, or passes it ten times.
Work = Callable[[], Any]


def main() -> None:
    arguments = _arguments()
    batch = _batch(arguments.batch, arguments.size)
    candidates: dict[str, Work] = {OURS: ours(batch, arguments.plain), TRAINING: training(batch)}
    peers: dict[str, Callable[[Batch], Work]] = {FOOLBOX: foolbox, ART: art}
    for name, make in peers.items():
        if importlib.util.find_spec(MODULES[name]) is None:
            print(f"{name} is not installed and takes no part: pip install as --help says", file=sys.stderr)
        else:
            candidates[name] = make(batch)
    result = compare(measure(candidates, arguments.rounds), arguments.batch, arguments.size)
    print(json.dumps(result, indent=1) if arguments.json else table(result))
    if arguments.check and not reached(result):
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; the median counts")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--plain", action="store_true", help="ours without fast_cpu/")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit 1 below a target")
    return parser.parse_args()


def _batch(count: int, size: int) -> Batch:
    generator = np.random.default_rng(0)
    return {
        "image": generator.integers(0, 256, [count, size, size, 3]).astype(np.float32),
        "label": generator.integers(0, CLASSES, count).astype(np.int32),
        "position": np.arange(count, dtype=np.int32),
    }


# --- candidates -----------------------------------------------------------------------------------------------------


def _network(ops: Ops = Ops()) -> EfficientNet:
    return EfficientNet(ModelConfig("efficientnet-b0", CLASSES), ops=ops)


def ours(batch: Batch, plain: bool) -> Work:
    """PGD and the answers."""
    ops = Ops() if plain else fast.find().inference(lambda enough: 0)  # for few images: these ops have a gradient
    config = AttackConfig(epsilons=(EPSILON,), steps=STEPS, random_start=False)
    attacks = Attacks(_network(ops), config, CLASSES)
    return lambda: attacks.pgd(batch)


def training(batch: Batch) -> Work:
    """As many forward and backward passes by the weights, as training computes them: batch statistics and noise."""
    network = _network(fast.find().training())
    images, labels = tf.constant(batch["image"]), tf.constant(batch["label"])
    weights = network.trainable_variables

    @tf.function(autograph=False)
    def one(seeds: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = network(images, forward=ForwardPass(seeds=seeds))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        return tape.gradient(loss, weights)

    def work() -> None:
        for step in range(STEPS):
            gradients = one(tf.range(network.num_seeds) + step)
        gradients[0].numpy()

    return work


def foolbox(batch: Batch) -> Work:
    """Its `LinfPGD`; the criterion costs it one more pass."""
    from foolbox import TensorFlowModel
    from foolbox.attacks import LinfPGD

    model = TensorFlowModel(_network(), bounds=(0, 255))
    attack = LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=False)
    images, labels = tf.constant(batch["image"]), tf.constant(batch["label"])
    return lambda: attack(model, images, labels, epsilons=[EPSILON])[1][0].numpy()


def art(batch: Batch) -> Work:
    """Its `ProjectedGradientDescentTensorFlowV2`."""
    warnings.simplefilter("ignore")
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import TensorFlowV2Classifier

    classifier = TensorFlowV2Classifier(
        model=_network(),
        nb_classes=CLASSES,
        input_shape=batch["image"].shape[1:],
        loss_object=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0, 255),
    )
    settings = {"eps": EPSILON, "eps_step": STEP, "max_iter": STEPS, "num_random_init": 0, "verbose": False}
    attack = ProjectedGradientDescent(classifier, batch_size=len(batch["image"]), **settings)
    return lambda: attack.generate(batch["image"], batch["label"])


# --- turns ----------------------------------------------------------------------------------------------------------


def measure(candidates: dict[str, Work], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each turn, by the clock and of processor time. A first turn that does not count compiles."""
    times: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "cpu_seconds": []} for name in candidates}
    for turn in range(rounds + 1):
        for name, work in candidates.items():
            clock, processor = time.perf_counter(), time.process_time()
            work()
            if turn:
                times[name]["seconds"].append(round(time.perf_counter() - clock, 3))
                times[name]["cpu_seconds"].append(round(time.process_time() - processor, 3))
    return times


def compare(times: dict[str, dict[str, list[float]]], batch: int, size: int) -> dict[str, Any]:
    """The medians, and by how much each takes longer than ours: the median over turns, each against ours beside it."""
    rows = {}
    for name, found in times.items():
        ratios = {
            f"times_ours{suffix}": round(statistics.median(a / b for a, b in zip(found[key], times[OURS][key])), 3)
            for suffix, key in (("", "seconds"), ("_cpu", "cpu_seconds"))
        }
        medians = {key: statistics.median(values) for key, values in found.items()}
        rows[name] = {**medians, "spread": [min(found["seconds"]), max(found["seconds"])], **ratios}
    return {"machine": bench_machine.in_short(), "batch": batch, "size": size, "rows": rows}


def of_training(result: dict[str, Any]) -> float:
    """Our time as a share of training's."""
    return 1 / result["rows"][TRAINING]["times_ours"]


def peers(result: dict[str, Any]) -> dict[str, float]:
    """How many times as fast as each peer that took part ours is."""
    return {name: result["rows"][name]["times_ours"] for name in MODULES if name in result["rows"]}


def reached(result: dict[str, Any]) -> bool:
    """Whether ours is within its share of training's time, and as many times as fast as each peer as it should be."""
    return of_training(result) <= LARGEST_OF_TRAINING and all(
        ratio >= LEAST_TIMES_PEER for ratio in peers(result).values()
    )


def targets(result: dict[str, Any]) -> str:
    """The targets in words."""
    against = "".join(f", {LEAST_TIMES_PEER:g} x {name}" for name in peers(result))
    return f"at most {LARGEST_OF_TRAINING:g} of training's time{against}"


def in_words(result: dict[str, Any]) -> str:
    """What was reached, in words."""
    against = "".join(f", {ratio:.2f} x {name}" for name, ratio in peers(result).items())
    return f"{of_training(result):.2f} of training's time{against}"


def table(result: dict[str, Any]) -> str:
    """The rows for people."""
    lines = [result["machine"], f"PGD-{STEPS} of {result['batch']} images of {result['size']} pixels", ""]
    lines.append(f"{'':32}{'seconds':>9}{'spread':>18}{'x ours':>8}{'CPU s':>8}{'x ours':>8}")
    for name, row in result["rows"].items():
        spread = "{:.2f} to {:.2f}".format(*row["spread"])
        lines.append(
            f"{name:32}{row['seconds']:>9.2f}{spread:>18}{row['times_ours']:>8.2f}{row['cpu_seconds']:>8.2f}"
            f"{row['times_ours_cpu']:>8.2f}"
        )
    return "\n".join([*lines, "", f"target: {targets(result)}", f"reached: {in_words(result)}"])


if __name__ == "__main__":
    main()
