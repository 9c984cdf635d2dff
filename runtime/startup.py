"""What happens before a mode's module, and with it TensorFlow, is imported. No TensorFlow."""

from __future__ import annotations

import gc
import importlib
import os
import warnings
from types import ModuleType

from absl import logging

from runtime import machine
from runtime.imported_later import imported_later

MANY_CORES = 32


def quieten() -> None:
    """Keeps what libraries say of themselves (devices, ends of life, backends) off the terminal; warnings still show."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", module="tensorflow_addons")
    logging.get_absl_handler().setFormatter(None)  # the message alone, without time and source line
    if logging.get_verbosity() == logging.INFO:  # absl's own default
        logging.set_verbosity(logging.WARNING)


def reuse_memory() -> None:
    """Has TensorFlow keep the memory of its tensors and give it out again, which it does by itself where it computes by oneDNN.

    Elsewhere the system would hand out each large tensor anew and clear all its pages: a third of the time of a training step.
    Not where many threads would wait for one another, which is not measured. Call it before TensorFlow's first operation.
    """
    if machine.has_onednn() or machine.cores() > MANY_CORES:
        return
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    # 64 GiB otherwise.
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(max(machine.memory(), 64 << 30) >> 20))


def imported(module: str) -> ModuleType:
    """Imports a module without what is rarely used, and without looking for garbage meanwhile, nor ever again among what
    that made: a fifth of the time."""
    gc.disable()
    try:
        with imported_later():
            return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()
