"""Functions compiled by XLA: one loop over memory where TensorFlow's operations would take one each."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def compiled(function: Callable[..., Any]) -> Any:
    """`function` as a `tf.function` that XLA compiles, for each shape of its arguments once."""
    _compile_quietly()
    return tf.function(function, autograph=False, jit_compile=True)


@functools.cache
def _compile_quietly() -> None:
    """Compiles something small: at a process's first compilation XLA writes two lines to stderr that no level silences."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with tf.init_scope(), tf.device("/CPU:0"):
            tf.function(tf.negative, autograph=False, jit_compile=True)(tf.constant(0.0))
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def rounded(product: tf.Tensor) -> tf.Tensor:
    """A product (float32) that is rounded before it is added to anything or multiplied again.

    XLA would multiply and add in one instruction, or multiply constants beforehand: other bits than TensorFlow's operations.
    """
    return tf.minimum(product, 1e30)
