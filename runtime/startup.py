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


def quieten() -> None:
    """Keeps what libraries say of themselves (devices, ends of life, backends) off the terminal; warnings still show."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", module="tensorflow_addons")
    logging.get_absl_handler().setFormatter(None)  # the message alone, without time and source line
    if logging.get_verbosity() == logging.INFO:  # absl's own default
        logging.set_verbosity(logging.WARNING)


def imported(module: str) -> ModuleType:
    """Imports a module without what is rarely used, and without looking for garbage meanwhile, nor ever again among what
    that made: a fifth of the time."""
    _limit_threads()
    gc.disable()
    try:
        with imported_later():
            return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def _limit_threads() -> None:
    """Has TensorFlow start as many threads as a container's quota has processors for: more would be stopped in turn."""
    if machine.cores() < machine.schedulable():
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ.setdefault(name, str(machine.cores()))
