"""Shows how far a long stage is: a bar on a terminal, a plain line now and then in a log.

If the environment variable NOISY_STUDENT_PROGRESS is `off`, it shows nothing (the tests set that).
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional, Protocol, TextIO

SWITCH = "NOISY_STUDENT_PROGRESS"
SECONDS_BETWEEN_LINES = 10.0


class Progress(Protocol):
    """What `progress` gives."""

    def update(self, count: int = 1, **numbers: float) -> None:
        """Counts `count` more units as done and shows the newest `numbers` (loss=..., accuracy=...)."""

    def note(self, text: str) -> None:
        """Shows one line of text without disturbing the bar."""

    def close(self, finished: bool) -> None:
        """Ends the display; `progress` calls it."""


@contextlib.contextmanager
def progress(
    title: str,
    total: Optional[int],
    unit: str,
    initial: int = 0,
    *,
    stream: Optional[TextIO] = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Shows done/total, rate and time left of a stage while the `with` block runs.

    Args:
      title: what is being done, e.g. `teacher: training`.
      total: units in all; None where unknown.
      unit: plural name of a unit, e.g. `images`.
      initial: units already done by an earlier run; they do not count in the rate.
      stream: where to write; standard error by default. A terminal gets a bar; anything else gets a line at most every
        10 seconds and a closing one.
      clock: seconds; for tests.
    """
    stream = sys.stderr if stream is None else stream
    display: Progress
    if os.environ.get(SWITCH) == "off":
        display = _Silence()
    elif stream.isatty():
        display = _Bar(title, total, unit, initial, stream)
    else:
        display = _Lines(title, total, unit, initial, stream, clock)
    finished = False
    try:
        yield display
        finished = True
    finally:
        display.close(finished)


class _Silence:
    def update(self, count: int = 1, **numbers: float) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def close(self, finished: bool) -> None:
        pass


class _Bar:
    def __init__(self, title: str, total: Optional[int], unit: str, initial: int, stream: TextIO):
        from tqdm import tqdm

        self._stream = stream
        self._bar: Any = tqdm(
            desc=title, total=total, unit=f" {unit}", initial=initial, file=stream, dynamic_ncols=True, mininterval=0.2
        )

    def update(self, count: int = 1, **numbers: float) -> None:
        if numbers:
            self._bar.set_postfix_str(_in_words(numbers, "="), refresh=False)
        self._bar.update(count)

    def note(self, text: str) -> None:
        self._bar.write(text, file=self._stream)

    def close(self, finished: bool) -> None:
        self._bar.close()


class _Lines:
    def __init__(
        self,
        title: str,
        total: Optional[int],
        unit: str,
        initial: int,
        stream: TextIO,
        clock: Callable[[], float],
    ):
        self._title, self._total, self._unit = title, total, unit
        self._stream, self._clock = stream, clock
        self._done = self._initial = self._done_at_line = initial
        self._started = self._line_time = clock()
        self._numbers: dict[str, float] = {}

    def update(self, count: int = 1, **numbers: float) -> None:
        self._done += count
        self._numbers.update(numbers)
        now = self._clock()
        if now - self._line_time >= SECONDS_BETWEEN_LINES:
            # The rate since the last line, because the first steps (tracing, compiling) say nothing about the rest.
            rate = (self._done - self._done_at_line) / (now - self._line_time)
            self._line_time, self._done_at_line = now, self._done
            self._print(f"{self._so_far()}, {_rate(rate, self._unit)}{self._time_left(rate)}{self._newest_numbers()}")

    def note(self, text: str) -> None:
        self._print(text)

    def close(self, finished: bool) -> None:
        seconds = self._clock() - self._started
        rate = (self._done - self._initial) / seconds if seconds > 0 else 0.0
        state = "" if finished else "stopped at "
        ending = f" in {_duration(seconds)}, {_rate(rate, self._unit)}{self._newest_numbers()}"
        self._print(state + (self._so_far() if not finished else f"{self._done:,} {self._unit}") + ending)

    def _so_far(self) -> str:
        if not self._total:
            return f"{self._done:,} {self._unit}"
        return f"{self._done:,}/{self._total:,} {self._unit} ({100 * self._done / self._total:.0f} %)"

    def _time_left(self, rate: float) -> str:
        if not self._total or rate <= 0 or self._done >= self._total:
            return ""
        return f", {_duration((self._total - self._done) / rate)} left"

    def _newest_numbers(self) -> str:
        return f", {_in_words(self._numbers, ' ')}" if self._numbers else ""

    def _print(self, text: str) -> None:
        print(f"{self._title}: {text}", file=self._stream, flush=True)


def _in_words(numbers: dict[str, float], between: str) -> str:
    return ", ".join(f"{name.replace('_', ' ')}{between}{float(value):.4g}" for name, value in numbers.items())


def _rate(rate: float, unit: str) -> str:
    return f"{rate:,.0f} {unit}/s" if rate >= 100 else f"{rate:.3g} {unit}/s"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
