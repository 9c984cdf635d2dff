"""RMSProp as the release had it, and the one place where a step changes variables (docs/release.md, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import tensorflow as tf

from efficientnet.layers import BATCH_NORM_MOMENTUM
from training.schedule import averaging_decay
from training.state import TrainingState, decays

DECAY = 0.9
MOMENTUM = 0.9
EPSILON = 1e-3


def apply_update(
    state: TrainingState,
    gradients: Sequence[tf.Tensor],
    statistics: Sequence[tf.Tensor],
    learning_rate: tf.Tensor,
    weight_decay: float,
    maximum_average_decay: float,
) -> None:
    """One update of weights, batch-norm statistics and averages. Call it in replica context.

    ms <- 0.9 ms + 0.1 g^2; mom <- 0.9 mom + lr g / sqrt(ms + 1e-3); v <- v - mom. The gradient of the weight decay is
    added here. Averages follow after weights and statistics.

    Args:
      state: the training's variables.
      gradients: this replica's, one per entry of `state.trainable`, to be summed over replicas.
      statistics: this replica's batch statistics, one per entry of `state.statistics`, to be averaged over replicas.
      learning_rate: float32 scalar.
      weight_decay: factor of sum ||v||^2 / 2.
      maximum_average_decay: upper limit of the averages' decay.
    """

    def update(strategy: tf.distribute.Strategy, gradients: list, statistics: list, rate: tf.Tensor) -> None:
        extended = strategy.extended
        trainable = list(state.trainable.items())
        moving = list(state.statistics.items())
        if strategy.num_replicas_in_sync > 1:
            sums = zip(gradients, [variable for _, variable in trainable])
            means = zip(statistics, [variable for _, variable in moving])
            gradients = extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, list(sums))
            statistics = extended.batch_reduce_to(tf.distribute.ReduceOp.MEAN, list(means)) if moving else []
        to_average = 1.0 - averaging_decay(state.step + 1, maximum_average_decay)
        for (name, variable), gradient in zip(trainable, gradients):
            slots = (state.squares[name], state.momenta[name], state.averages[name])
            args = (*slots, gradient, rate, to_average, weight_decay if decays(name) else 0.0)
            extended.update(variable, _update_weight, args=args, group=False)
        for (name, variable), value in zip(moving, statistics):
            extended.update(variable, _update_statistic, args=(state.averages[name], value, to_average), group=False)
        extended.update(state.step, lambda step: step.assign_add(1), group=False)

    tf.distribute.get_replica_context().merge_call(update, args=(list(gradients), list(statistics), learning_rate))


def _update_weight(
    variable: tf.Variable,
    squares: tf.Variable,
    momentum: tf.Variable,
    average: tf.Variable,
    gradient: tf.Tensor,
    rate: tf.Tensor,
    to_average: tf.Tensor,
    weight_decay: float,
) -> None:
    if weight_decay:
        gradient += weight_decay * variable
    tf.raw_ops.ResourceApplyRMSProp(
        var=variable.handle,
        ms=squares.handle,
        mom=momentum.handle,
        lr=rate,
        rho=DECAY,
        momentum=MOMENTUM,
        epsilon=EPSILON,
        grad=gradient,
    )
    _move(average, to_average, variable)


def _update_statistic(variable: tf.Variable, average: tf.Variable, value: tf.Tensor, to_average: tf.Tensor) -> None:
    _move(variable, 1.0 - BATCH_NORM_MOMENTUM, value)
    _move(average, to_average, variable)


def _move(variable: tf.Variable, share: Union[float, tf.Tensor], value: Union[tf.Tensor, tf.Variable]) -> None:
    """Takes the variable a share of the way to `value`."""
    variable.assign_sub((variable - value) * share, read_value=False)
