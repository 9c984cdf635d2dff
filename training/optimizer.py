"""RMSProp as the release had it, and the one place where a step changes variables (docs/release.md, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
        numbers = _Numbers(
            rate=rate,
            to_statistic=tf.constant(1.0 - BATCH_NORM_MOMENTUM),
            to_average=1.0 - averaging_decay(state.step + 1, maximum_average_decay),
            decay=tf.constant(DECAY),
            momentum=tf.constant(MOMENTUM),
            epsilon=tf.constant(EPSILON),
            weight_decay=tf.constant(weight_decay),
        )
        for (name, variable), gradient in zip(trainable, gradients):
            slots = (state.squares[name], state.momenta[name], state.averages[name])
            args = (*slots, gradient, numbers, weight_decay != 0.0 and decays(name))
            extended.update(variable, _update_weight, args=args, group=False)
        for (name, variable), value in zip(moving, statistics):
            extended.update(variable, _update_statistic, args=(state.averages[name], value, numbers), group=False)
        extended.update(state.step, lambda step: step.assign_add(1), group=False)

    tf.distribute.get_replica_context().merge_call(update, args=(list(gradients), list(statistics), learning_rate))


class _Numbers(NamedTuple):
    """Float32 scalars of one update, the same for all variables: a constant for each would be a quarter of the graph."""

    rate: tf.Tensor
    to_statistic: tf.Tensor
    to_average: tf.Tensor
    decay: tf.Tensor
    momentum: tf.Tensor
    epsilon: tf.Tensor
    weight_decay: tf.Tensor


def _update_weight(
    variable: tf.Variable,
    squares: tf.Variable,
    momentum: tf.Variable,
    average: tf.Variable,
    gradient: tf.Tensor,
    numbers: _Numbers,
    decayed: bool,
) -> None:
    if decayed:
        decay = tf.raw_ops.Mul(x=numbers.weight_decay, y=_value(variable))
        gradient = tf.raw_ops.AddV2(x=gradient, y=decay)
    tf.raw_ops.ResourceApplyRMSProp(
        var=variable.handle,
        ms=squares.handle,
        mom=momentum.handle,
        lr=numbers.rate,
        rho=numbers.decay,
        momentum=numbers.momentum,
        epsilon=numbers.epsilon,
        grad=gradient,
    )
    _move(average, numbers.to_average, _value(variable))


def _update_statistic(variable: tf.Variable, average: tf.Variable, value: tf.Tensor, numbers: _Numbers) -> None:
    _move(variable, numbers.to_statistic, value)
    _move(average, numbers.to_average, _value(variable))


def _move(variable: tf.Variable, share: tf.Tensor, value: tf.Tensor) -> None:
    """variable -= (variable - value) * share, in one operation fewer than `assign_sub` takes."""
    difference = tf.raw_ops.Sub(x=_value(variable), y=value)
    tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=share, delta=difference)


def _value(variable: tf.Variable) -> tf.Tensor:
    """What the variable holds now, in half of the operations that `read_value` takes."""
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)
