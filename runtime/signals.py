"""A signal that ends a training (SIGTERM, SIGHUP, SIGUSR1): it finishes the steps in flight, saves, and leaves. Elsewhere: leave
at once, cleanly.

SIGHUP comes when the terminal is closed, unless `nohup` has it ignored; SIGUSR1 is what schedulers send before a job's time is
over. And output that nobody reads any more (`| head`): leave without a word, with `CLOSED_OUTPUT`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Optional, TextIO

from runtime.errors import is_broken_pipe

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
CLOSED_OUTPUT = 128 + 13  # what a shell reports for a process that SIGPIPE ended


def exit_code(number: int) -> int:
    """What a shell reports for a process that a signal ended: 143 for SIGTERM."""
    return 128 + number


def name_of(number: int) -> str:
    """`SIGTERM`."""
    return signal.Signals(number).name


class Preemption:
    """Which signal came, if one did."""

    requested: Optional[int] = None


class Terminated(BaseException):
    """A signal came where nothing needs saving. Not an Exception, so that nothing takes it for a failure."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Lets a signal raise Terminated while the block runs, so that what is half written is removed on the way out."""

    def end(number: int, _: Any) -> None:
        if number != signal.SIGTERM:
            drop_closed_output()
        raise Terminated(number)

    with _handled_by(end):
        yield


@contextlib.contextmanager
def deferred() -> Iterator[Preemption]:
    """Holds a signal back while the block runs; the block asks `requested` where it can stop."""
    preemption = Preemption()

    def note(number: int, _: Any) -> None:
        if number != signal.SIGTERM:
            drop_closed_output()
        preemption.requested = preemption.requested or number

    with _handled_by(note):
        yield preemption


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handles the signals that this process does not ignore, as `nohup` has it do with SIGHUP; in its main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    heard = [number for number in ENDING if before[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


def drop_closed_output() -> None:
    """Leads output that nobody reads, as of a terminal that was closed, to nowhere: what is still printed does no harm."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # ValueError: a stream without a file
            if _has_no_reader(stream):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
