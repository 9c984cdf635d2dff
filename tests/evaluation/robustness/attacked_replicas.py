"""Attacks under MirroredStrategy on the processor as two devices, and on one: `python -m` this fails if they differ."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    import numpy as np
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

    from efficientnet.model import EfficientNet
    from evaluation.robustness.attacks import Attacks
    from evaluation.robustness.config import AttackConfig
    from tests.efficientnet.tiny import NUM_CLASSES, images, tiny

    batch = {"image": images(4), "label": np.arange(4, dtype=np.int32), "position": np.arange(4, dtype=np.int32)}
    config = AttackConfig(epsilons=(0, 4), steps=2)
    alone = Attacks(EfficientNet(tiny()), config, NUM_CLASSES)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        together = Attacks(EfficientNet(tiny()), config, NUM_CLASSES, strategy)
    parts = {
        name: strategy.experimental_distribute_values_from_function(
            lambda context, rows=rows: tf.constant(np.split(rows, 2)[context.replica_id_in_sync_group])
        )
        for name, rows in batch.items()
    }
    for attack in ("fgsm", "pgd"):
        expected, got = getattr(alone, attack)(batch), getattr(together, attack)(parts)
        np.testing.assert_allclose(got.logits, expected.logits, atol=1e-4)
        np.testing.assert_allclose(got.zeros, expected.zeros, atol=1e-6)


if __name__ == "__main__":
    main()
