"""What happens before a mode's module, and with it TensorFlow, is imported. No TensorFlow."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType

from absl import logging

from runtime import machine
from runtime.imported_later import imported_later

# What TensorFlow 2.21 says of oneDNN and of CUDA while it is loaded, before any log level holds.
NOTES = re.compile(rb"^(WARNING: All log messages before absl::InitializeLog|I0000 00:00:)")
STDERR = 2


def quieten() -> None:
    """Keeps what libraries say of themselves (devices, ends of life, backends) off the terminal; warnings still show."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.get_absl_handler().setFormatter(None)  # the message alone, without time and source line
    if logging.get_verbosity() == logging.INFO:  # absl's own default
        logging.set_verbosity(logging.WARNING)


def imported(module: str) -> ModuleType:
    """Imports a module without what is rarely used, and without looking for garbage meanwhile, nor ever again among what
    that made: a fifth of the time."""
    _limit_threads()
    gc.disable()
    try:
        with imported_later(), _without_notes():
            return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Holds back what C++ and Python write to stderr meanwhile; then writes it, without the lines that `NOTES` finds."""
    sys.stderr.flush()
    try:
        terminal = os.dup(STDERR)
    except OSError:  # stderr is closed
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, STDERR)
            os.close(terminal)
            held.seek(0)
            for line in held:
                if not NOTES.match(line):
                    os.write(STDERR, line)


def _limit_threads() -> None:
    """Has TensorFlow start as many threads as a container's quota has processors for: more would be stopped in turn."""
    if machine.cores() < machine.schedulable():
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ.setdefault(name, str(machine.cores()))
