"""The machine that this process runs on: of a container, what its limits leave of it. No TensorFlow."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Iterator
from typing import Optional

_CGROUPS, _PROCESS = pathlib.Path("/sys/fs/cgroup"), pathlib.Path("/proc/self/cgroup")
_UNLIMITED = 1 << 60  # version 1 says so by a number near 2^63


def cores() -> int:
    """Processor cores that this process may use: no more than a container's quota of processor time."""
    return min([schedulable(), *(max(1, math.ceil(quota)) for quota in _quotas())])


def schedulable() -> int:
    """Processor cores that the system runs this process on, whatever share of their time it gets."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Bytes of memory that this process may use; 0 where nothing says it."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        physical = 0
    return min((limit for limit in [physical, *_memory_limits()] if limit > 0), default=0)


# --- control groups -------------------------------------------------------------------------------------------------


def _quotas() -> Iterator[float]:
    """Processors' worth of time, as far as it is limited."""
    for folder in _groups("cpu"):
        words = (_text(folder / "cpu.max") or "").split()  # version 2: `200000 100000`, or `max 100000`
        if not words:
            words = [_text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):  # -1: no limit
            yield int(words[0]) / int(words[1])


def _memory_limits() -> Iterator[int]:
    for folder in _groups("memory"):
        text = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes") or ""
        if text.isdigit() and int(text) < _UNLIMITED:
            yield int(text)


def _groups(controller: str) -> Iterator[pathlib.Path]:
    """Folders of this process's control groups and of all above them; each of them limits it."""
    for line in (_text(_PROCESS) or "").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        # Version 2 has one tree for all; version 1 a tree for each, named by its controllers or by one of them.
        names = [controllers, controller] if controllers else ["", "unified"]
        for root in (_CGROUPS / name for name in names):
            folder = root / path.lstrip("/")
            # In a container the path may be the host's, of which only the root is to be seen.
            yield from (group for group in [folder, *folder.parents] if root == group or root in group.parents)


def _text(path: pathlib.Path) -> Optional[str]:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
