"""One process of a prediction: `python -m tests.pseudo_label.predict.predict_worker CONFIG.pickle [--devices=N] [--kill_at=N]`.

`--kill_at` sends itself SIGKILL as it is about to write its N-th record.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pickle
import signal
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("NOISY_STUDENT_PROGRESS", "off")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--kill_at", type=int, default=0)
    arguments = parser.parse_args()

    import tensorflow as tf

    if arguments.devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * arguments.devices)
    from pseudo_label.predict import run
    from runtime import devices

    if arguments.devices > 1:
        names = [f"CPU:{index}" for index in range(arguments.devices)]
        devices.make_strategy = lambda *_, **__: tf.distribute.MirroredStrategy(names)
    if arguments.kill_at:
        written, make = itertools.count(1), run.prediction_example

        def make_or_die(probabilities: Any, top_k: int = 0) -> bytes:
            if next(written) == arguments.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return make(probabilities, top_k)

        run.prediction_example = make_or_die
    with open(arguments.config, "rb") as file:
        run.predict(pickle.load(file))


if __name__ == "__main__":
    main()
