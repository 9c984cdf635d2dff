"""Applies a function to many items in several processes. Results come in order, and few items are in memory. No TensorFlow."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Callable, Generic, Optional, TypeVar

from runtime import machine
from runtime.errors import UserError

Argument = TypeVar("Argument")
Result = TypeVar("Result")

CHUNK = 4  # items that travel together
CHUNKS_AHEAD = 2  # chunks a process that wait or are worked on


class Workers(Generic[Argument, Result]):
    """Calls one function for many items; a context manager.

    Args:
      function: a picklable function of one item; its module should import little, because every process imports it.
      processes: how many; 0 for one a core. With 1 the function is called in this process.
      patience: seconds of work that this process does alone before others, which take seconds to start, are started.
    """

    def __init__(self, function: Callable[[Argument], Result], processes: int, patience: float = 0.0):
        self._function = function
        self._processes = processes or machine.cores()
        self._patience = patience
        self._pool: Optional[ProcessPoolExecutor] = None

    def __enter__(self) -> Workers[Argument, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, items: Iterable[Argument]) -> Iterator[Result]:
        """The results in the items' order; items are taken only as results are.

        Raises:
          UserError: a process was killed.
        """
        if self._processes == 1:
            yield from map(self._function, items)
            return
        remaining = iter(items)
        while self._patience > 0:
            one = list(itertools.islice(remaining, 1))
            if not one:
                return
            began = time.monotonic()
            result = self._function(one[0])
            self._patience -= time.monotonic() - began
            yield result
        if self._pool is None:
            # "spawn", because a fork of a process in which TensorFlow's threads run may hang.
            self._pool = ProcessPoolExecutor(
                self._processes, mp_context=multiprocessing.get_context("spawn"), initializer=_begin
            )
        pending: collections.deque[Future[list[Result]]] = collections.deque()
        try:
            while True:
                while len(pending) < self._processes * CHUNKS_AHEAD:
                    chunk = list(itertools.islice(remaining, CHUNK))
                    if not chunk:
                        break
                    pending.append(self._pool.submit(_call, self._function, chunk))
                if not pending:
                    return
                yield from pending.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                f"--num_processes: one of {self._processes} processes was killed, probably for want of memory; lower "
                "--num_processes and run the same command again, it goes on where it stopped"
            ) from error


def _call(function: Callable[[Argument], Result], chunk: list[Argument]) -> list[Result]:
    return [function(item) for item in chunk]


def _begin() -> None:
    """Leaves to the parent what a terminal or a scheduler sends to all, and ends with it even if it is killed."""
    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """This process's share of every global batch: pipeline `index` of `count`."""

    index: int = 0
    count: int = 1
