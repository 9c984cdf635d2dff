"""Training steps in a row: an accelerator's are one compiled loop, a CPU takes one call after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from training.step import LEARNING_RATE

Metrics = dict[str, tf.Tensor]
TakeStep = Callable[[Any], Metrics]  # with an iterator's next batch
Loop = Callable[[Any, tf.Tensor], Metrics]


def compiled_loop(take_step: TakeStep, names: Sequence[str]) -> Loop:
    """(iterator, int32 number of steps) -> mean of each metric over them, and the last learning rate; all of it compiled."""

    # Without autograph, whose conversion of all that is called would double the time of tracing.
    @tf.function(autograph=False)
    def loop(iterator: Any, count: tf.Tensor) -> Metrics:
        def body(done: tf.Tensor, totals: Metrics, _: tf.Tensor) -> tuple[tf.Tensor, Metrics, tf.Tensor]:
            metrics = take_step(iterator)
            return done + 1, {name: totals[name] + metrics[name] for name in names}, metrics[LEARNING_RATE]

        start = tf.constant(0), {name: tf.zeros([]) for name in names}, tf.zeros([])
        _, totals, rate = tf.while_loop(lambda done, *_: done < count, body, start, parallel_iterations=1)
        return _means(totals, count, rate)

    return loop


def calls(take_step: TakeStep, names: Sequence[str]) -> Loop:
    """The same with a compiled step that is called for each: a CPU waits for each step anyway, and a loop, through which
    every variable passes, makes the graph a third larger and its start 1.2 s of 10 longer."""
    step = tf.function(take_step, autograph=False)

    def loop(iterator: Any, count: tf.Tensor) -> Metrics:
        totals = {name: tf.zeros([]) for name in names}
        rate = tf.zeros([])
        for _ in range(int(count)):
            metrics = step(iterator)
            totals = {name: totals[name] + metrics[name] for name in names}
            rate = metrics[LEARNING_RATE]
        return _means(totals, count, rate)

    return loop


def _means(totals: Metrics, count: tf.Tensor, rate: tf.Tensor) -> Metrics:
    return {**{name: total / tf.cast(count, tf.float32) for name, total in totals.items()}, LEARNING_RATE: rate}
