"""Steps in a row: the compiled loop and the calls report the same."""

from __future__ import annotations

from typing import Any, Callable

import pytest
import tensorflow as tf

from training import loop as loops
from training.step import LEARNING_RATE


@pytest.mark.parametrize("kind", [loops.compiled_loop, loops.calls])
def test_means_are_over_the_steps_of_a_call_and_the_rate_is_the_last(kind: Callable[..., loops.Loop]) -> None:
    step = tf.Variable(0.0)

    def take_step(iterator: Any) -> loops.Metrics:
        return {"loss": next(iterator), LEARNING_RATE: step.assign_add(1.0)}

    batches = iter(tf.data.Dataset.from_tensor_slices([3.0, 5.0, 10.0, 20.0, 60.0]))
    take = kind(take_step, ["loss", LEARNING_RATE])
    first, second = (
        {name: float(value) for name, value in take(batches, tf.constant(count)).items()} for count in (2, 3)
    )
    assert first == {"loss": 4.0, LEARNING_RATE: 2.0}
    assert second == {"loss": 30.0, LEARNING_RATE: 5.0}


@pytest.mark.parametrize("kind", [loops.compiled_loop, loops.calls])
def test_a_step_is_traced_once_whatever_the_number_of_steps(kind: Callable[..., loops.Loop]) -> None:
    traced = list[int]()

    def take_step(iterator: Any) -> loops.Metrics:
        traced.append(1)
        return {LEARNING_RATE: next(iterator)}

    batches = iter(tf.data.Dataset.from_tensors(1.0).repeat())
    take = kind(take_step, [LEARNING_RATE])
    for count in (1, 4, 2):
        take(batches, tf.constant(count))
    assert len(traced) == 1
