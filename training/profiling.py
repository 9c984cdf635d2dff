"""A TensorFlow profile of some steps of a training, for TensorBoard's Profile page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Callable, Optional

import tensorflow as tf


def steps_until_change(step: int, profiled: Optional[tuple[int, int]]) -> list[int]:
    """How many steps from `step` to where the profile begins and ends, as far as that is still to come."""
    return [edge - step for edge in profiled or () if edge > step]


@contextlib.contextmanager
def profile(folder: str, profiled: Optional[tuple[int, int]]) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told, between two steps, how many steps are done; writes `folder`/plugins/profile.

    Args:
      folder: where TensorBoard looks.
      profiled: (first, last): the profile begins once `first` steps are done and ends once `last` are; None for no profile.
        One that the run's end cuts short is written too.
    """
    running = False

    def tell(step: int) -> None:
        nonlocal running
        inside = profiled is not None and profiled[0] <= step < profiled[1]
        if inside and not running:
            tf.profiler.experimental.start(folder)
        elif running and not inside:
            tf.profiler.experimental.stop()
        running = inside

    try:
        yield tell
    finally:
        if running:
            tf.profiler.experimental.stop()
