"""Candidates that take turns within one run, and how they compare: a machine drifts, and drifts for all of them."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Callable

from benchmarks import bench_machine

# Works for about the given seconds (or for as long as it must), then says how many images it did in how many seconds.
Candidate = Callable[[float], "tuple[int, float]"]


def repeated(work: Callable[[], Any], images: int) -> Candidate:
    """Calls `work`, which does so many images, again and again."""

    def turn(seconds: float) -> tuple[int, float]:
        calls, started = 0, time.perf_counter()
        while not calls or time.perf_counter() - started < seconds:
            work()
            calls += 1
        return calls * images, time.perf_counter() - started

    return turn


def serve(turn: Candidate) -> None:
    """For each line that comes: takes a turn, and prints its images and seconds."""
    for _ in sys.stdin:
        print(*turn(0.0), flush=True)


@contextlib.contextmanager
def served(module: str, *arguments: str) -> Iterator[Candidate]:
    """A candidate in a process of its own, as users have it: that of a module which `serve`s it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]

        def turn(_: float) -> tuple[int, float]:
            process.stdin.write("\n")
            process.stdin.flush()
            images, seconds = process.stdout.readline().split()
            return int(images), float(seconds)

        yield turn
        process.stdin.close()


def measure(candidates: dict[str, Candidate], rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Each candidate's images a second: the median of its turns, their spread, and all of them.

    A short turn of each comes first and does not count: it compiles, and it fills caches.
    """
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for candidate in candidates.values():
        candidate(0.0)
    for _ in range(rounds):
        for name, candidate in candidates.items():
            images, taken = candidate(seconds)
            rates[name].append(round(images / taken, 2))
    return {name: {"images_per_second": statistics.median(row), "spread": [min(row), max(row)], "turns": row}
            for name, row in rates.items()}  # fmt: skip


def compare(rows: dict[str, dict[str, Any]], ours: str, peer: str, target: float) -> dict[str, Any]:
    """The rows with the ratio of ours to the peer: the median of the turns' ratios, each against the turn beside it."""
    for row in rows.values():
        row["times_peer"] = round(statistics.median(a / b for a, b in zip(row["turns"], rows[peer]["turns"])), 3)
    return {
        "machine": bench_machine.in_short(),
        "peer": peer,
        "ratio": rows[ours]["times_peer"],
        "target": target,
        "rows": rows,
    }


def table(result: dict[str, Any], reported: str) -> str:
    """The rows for people."""
    lines = [result["machine"], f"{'':32}{'images/s':>10}{'spread':>18}{'x peer':>9}"]
    for name, row in result["rows"].items():
        spread = "{:.1f} to {:.1f}".format(*row["spread"])
        lines.append(f"{name:32}{row['images_per_second']:>10.1f}{spread:>18}{row['times_peer']:>9.2f}")
    lines.append(f"target: {result['target']} x {result['peer']}, reached: {result['ratio']:.2f} ({reported})")
    return "\n".join(lines)
