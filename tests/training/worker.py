"""One process of a distributed training: `python -m tests.training.worker CONFIG.pickle [LOGICAL_DEVICES]`."""

from __future__ import annotations

import os
import pickle
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("NOISY_STUDENT_PROGRESS", "off")


def main() -> None:
    import tensorflow as tf

    with open(sys.argv[1], "rb") as file:
        config = pickle.load(file)
    devices = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    if devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    from training import trainer

    if devices > 1:
        strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(devices)])
        with strategy.scope():
            trainer.Trainer(config, strategy).train()
    else:
        trainer.train(config)


if __name__ == "__main__":
    main()
