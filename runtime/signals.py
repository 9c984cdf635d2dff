"""SIGTERM while training: finish the steps in flight, save, and leave with `EXIT_CODE`. Elsewhere: leave at once, cleanly.

And output that nobody reads any more (`| head`): leave without a word, with `CLOSED_OUTPUT`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

from runtime.errors import is_broken_pipe

EXIT_CODE = 128 + signal.SIGTERM  # 143, what a shell reports for a process that SIGTERM ended
CLOSED_OUTPUT = 128 + 13  # what it reports for one that SIGPIPE ended


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


@contextlib.contextmanager
def closed_output_ends() -> Iterator[None]:
    """Ends the program with `CLOSED_OUTPUT` if the block writes to standard output or error and nobody reads that any more.

    SIGPIPE itself stays ignored, as Python has it: it would also end a training because of a connection that was lost.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except Exception as error:
        closed = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
        if not (closed and is_broken_pipe(error)):
            raise
        for stream in closed:  # else Python complains when it writes the rest of its buffers
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(CLOSED_OUTPUT)


def _has_no_reader(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
