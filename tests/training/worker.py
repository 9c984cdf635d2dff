"""One process of a distributed training: `python -m tests.training.worker CONFIG.pickle [--devices=N] [--die_at=STEP]`.

`--die_at` sends itself SIGKILL after that step.
"""

from __future__ import annotations

import argparse
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
    parser.add_argument("--die_at", type=int, default=0)
    arguments = parser.parse_args()

    import tensorflow as tf

    if arguments.devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * arguments.devices)
    from runtime import devices
    from training import trainer

    if arguments.devices > 1:
        names = [f"CPU:{index}" for index in range(arguments.devices)]
        devices.make_strategy = lambda *_, **__: tf.distribute.MirroredStrategy(names)
    if arguments.die_at:
        boundary = trainer.Trainer._boundary

        def die(self: trainer.Trainer, *rest: Any) -> None:
            boundary(self, *rest)
            if self.step == arguments.die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        trainer.Trainer._boundary = die  # type: ignore[method-assign, assignment]
    with open(arguments.config, "rb") as file:
        trainer.train(pickle.load(file))


if __name__ == "__main__":
    main()
