"""Whether `fast_cpu/` is there, and what it offers. No other module imports it, and without the folder everything still runs."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from absl import logging

if TYPE_CHECKING:
    from data.fast import Fast


def is_there() -> bool:
    """Whether the folder `fast_cpu/` is there."""
    return importlib.util.find_spec("fast_cpu") is not None


def prepare_process() -> None:
    """What must happen before TensorFlow is imported."""
    if is_there():
        from fast_cpu import memory

        memory.reuse_memory()


def find() -> Fast:
    """The fast ways if the folder is there, else the plain ones. Imports TensorFlow."""
    from data.fast import Fast

    if not is_there():
        logging.info("fast_cpu/ is not there: everything is computed the plain way")
        return Fast()
    from fast_cpu import network, randaugment

    logging.info("fast_cpu/ is there: what a CPU does is computed the fast way")
    return Fast(
        training=network.training_ops,
        inference=network.inference_ops,
        augmenter=randaugment.randaugment,
        before_inference=network.before_inference,
    )
