"""Peak memory of a training step with and without --remat, and of building, loading and predicting with l2.

    python -m benchmarks.memory                      # the table of docs/performance.md
    python -m benchmarks.memory --cases train train-remat --model=efficientnet-b0 --pixels=224

Each case is a process of its own, and its peak is the process's largest resident set (Python and TensorFlow included, which
`--cases idle` shows alone). The goals: rematerialisation halves the training step, l2 predicts an 800-pixel image within 12 GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from benchmarks import bench_machine
from flags.build import fast

L2 = "efficientnet-l2"
L2_LIMIT_GIB = 12.0


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        _child(arguments)
        return
    peaks = {}
    print("| case | peak, GiB | seconds |\n| --- | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.cases:
            result = _run(case, arguments, folder)
            peaks[case] = result["peak_gib"]
            print(f"| {result['what']} | {result['peak_gib']:.2f} | {result['seconds']:.0f} |", flush=True)
    if {"train", "train-remat"} <= peaks.keys():
        print(f"\nrematerialisation keeps {100 * peaks['train-remat'] / peaks['train']:.0f} % (goal: at most 50 %)")
    if "l2-predict" in peaks:
        print(f"l2 predicts in {peaks['l2-predict']:.2f} GiB (goal: at most {L2_LIMIT_GIB:g} GiB)")
    print(bench_machine.in_short())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--model", default="efficientnet-b4")
    parser.add_argument("--pixels", type=int, default=380)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(case: str, arguments: argparse.Namespace, folder: str) -> dict:
    command = [sys.executable, "-m", "benchmarks.memory", f"--child={case}", f"--folder={folder}"]
    command += [f"--model={arguments.model}", f"--pixels={arguments.pixels}", f"--batch={arguments.batch}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{case} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def _child(arguments: argparse.Namespace) -> None:
    fast.prepare_process()  # as main.py does
    started = time.monotonic()
    what = CASES[arguments.child](arguments)
    result = {"what": what, "peak_gib": bench_machine.peak_gib(), "seconds": time.monotonic() - started}
    print(json.dumps(result))


# --- cases ----------------------------------------------------------------------------------------------------------


def _idle(arguments: argparse.Namespace) -> str:
    import training.trainer

    return f"nothing but the imports ({training.trainer.__name__})"


def _train(arguments: argparse.Namespace, rematerialise: bool) -> str:
    """One supervised step with dropout and stochastic depth, as the trainer takes it."""
    import numpy as np
    import tensorflow as tf

    from efficientnet.model import EfficientNet
    from efficientnet.variants import ModelConfig
    from training.config import OptimizerConfig
    from training.state import TrainingState
    from training.step import TrainingStep

    state = TrainingState(EfficientNet(ModelConfig(arguments.model, 1000), ops=fast.find().training()))
    step = TrainingStep(state, OptimizerConfig(2, arguments.batch, 1_281_167), rematerialise=rematerialise)
    shape = [arguments.batch, arguments.pixels, arguments.pixels, 3]
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    batch = {"labeled": {"image": tf.constant(images), "label": tf.range(arguments.batch)}}
    loss = float(tf.function(step.__call__, autograph=False)(batch)["loss"])
    return (
        f"training step of {arguments.model}, {arguments.pixels} pixels, batch {arguments.batch}"
        f"{', with --remat' if rematerialise else ''} (loss {loss:.4f})"
    )


def _write_l2(arguments: argparse.Namespace) -> str:
    import numpy as np
    import tensorflow as tf

    from checkpoints import writing
    from data.records.examples import unlabeled_example
    from data.records.shards import write_shard
    from efficientnet.model import EfficientNet
    from efficientnet.variants import ModelConfig

    writing.write(os.path.join(arguments.folder, "l2"), dict(EfficientNet(ModelConfig(L2, 1000)).named_variables()))
    image = np.random.default_rng(0).integers(0, 256, [900, 900, 3], np.uint8)
    example = unlabeled_example(tf.io.encode_jpeg(image).numpy())
    write_shard(os.path.join(arguments.folder, "images", "train-00000-of-00001"), [example])
    return "l2 builds and writes its weights"


def _predict_l2(arguments: argparse.Namespace) -> str:
    from efficientnet.variants import ModelConfig
    from pseudo_label.config import PredictConfig
    from pseudo_label.predict.run import predict
    from runtime.config import DeviceConfig

    predict(
        PredictConfig(
            "l2",
            ModelConfig(L2, 1000),
            os.path.join(arguments.folder, "l2"),
            os.path.join(arguments.folder, "images"),
            os.path.join(arguments.folder, "predictions"),
            image_size=800,
            num_shards=1,
            batch_size=1,
            samples_per_class=0,
            use_averages=False,
            device=DeviceConfig(use_tpu=False),
        )
    )
    return "l2 builds, loads and predicts one image of 800 pixels (--mode=predict)"


CASES: dict[str, Callable[[argparse.Namespace], str]] = {
    "idle": _idle,
    "train": lambda arguments: _train(arguments, rematerialise=False),
    "train-remat": lambda arguments: _train(arguments, rematerialise=True),
    "l2-write": _write_l2,
    "l2-predict": _predict_l2,
}

if __name__ == "__main__":
    main()
