"""SIGTERM while training: finish the steps in flight, save, and leave with `EXIT_CODE`. Elsewhere: leave at once, cleanly."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

EXIT_CODE = 128 + signal.SIGTERM  # 143, what a shell reports for a process that SIGTERM ended


class Preemption:
    """Whether SIGTERM came."""

    requested = False


class Terminated(BaseException):
    """SIGTERM came where nothing needs saving. Not an Exception, so that nothing takes it for a failure."""


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Lets SIGTERM raise Terminated while the block runs, so that what is half written is removed on the way out."""

    def end(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def deferred() -> Iterator[Preemption]:
    """Holds SIGTERM back while the block runs; the block asks `requested` where it can stop."""
    preemption = Preemption()
    if threading.current_thread() is not threading.main_thread():
        yield preemption
        return

    def note(*_: object) -> None:
        preemption.requested = True

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield preemption
    finally:
        signal.signal(signal.SIGTERM, before)
