"""Batch norm on two replicas: `python -m tests.training.replicas INPUTS.npz OUTPUTS.npz GROUP...`.

INPUTS: images [2, B, H, W, C] (one part a replica), weights of the same shape (the loss of a replica is the sum of its outputs
x weights), gamma, beta, moving_mean, moving_variance [C]. OUTPUTS, for each size of groups, as
`<group>/<name>`: outputs and input_gradients [2, B, H, W, C], and after one update the variables.
"""

from __future__ import annotations

import os
import sys
from typing import cast

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RATE = 0.5


def main() -> None:
    import numpy as np
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

    from efficientnet.forward_pass import ForwardPass
    from efficientnet.layers import BatchNormalization
    from efficientnet.model import EfficientNet
    from training import batch_norm_groups
    from training.optimizer import apply_update
    from training.state import TrainingState

    class OneNorm:
        """As much of a network as a training's state asks for."""

        def __init__(self, norm: BatchNormalization):
            self.norm = norm
            self.trainable_variables = norm.trainable_variables

        def named_variables(self) -> dict[str, tf.Variable]:
            return {variable.name.split("/")[-1].split(":")[0]: variable for variable in self.norm.variables}

        def batch_norms(self) -> list[BatchNormalization]:
            return [self.norm]

    inputs = dict(np.load(sys.argv[1]))
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    def parts(name: str) -> tf.distribute.DistributedValues:
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(inputs[name][context.replica_id_in_sync_group])
        )

    def one_step(group: int) -> dict[str, np.ndarray]:
        with strategy.scope():
            norm = BatchNormalization()
            norm.build(inputs["images"].shape[1:])
            state = TrainingState(cast(EfficientNet, OneNorm(norm)))
            for name, variable in state.model.named_variables().items():
                variable.assign(inputs[name])
            state.restart_from_weights()
        mean = batch_norm_groups.cross_replica_mean(strategy, group)

        def step(images: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            forward = ForwardPass(cross_replica_mean=mean)
            variables = list(state.trainable.values())
            with tf.GradientTape() as tape:
                tape.watch(images)
                outputs = norm(images, forward=forward)
                loss = tf.reduce_sum(outputs * weights)
            image_gradients, *gradients = tape.gradient(loss, [images, *variables])
            reported = {id(variable): value for variable, value in forward.statistics}
            statistics = [reported[id(variable)] for variable in state.statistics.values()]
            apply_update(state, gradients, statistics, tf.constant(RATE), 0.0, 0.9999)
            return outputs, image_gradients

        run = tf.function(lambda *arguments: strategy.run(step, args=arguments), autograph=False)
        outputs, image_gradients = run(parts("images"), parts("weights"))
        found = {name: variable.numpy() for name, variable in state.named_variables().items() if "/" not in name}
        for name, value in (("outputs", outputs), ("input_gradients", image_gradients)):
            found[name] = np.stack([part.numpy() for part in strategy.experimental_local_results(value)])
        return found

    found = {group: one_step(int(group)) for group in sys.argv[3:]}
    np.savez(sys.argv[2], **{f"{group}/{name}": value for group, step in found.items() for name, value in step.items()})


if __name__ == "__main__":
    main()
