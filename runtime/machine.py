"""The machine that this process runs on. No TensorFlow."""

from __future__ import annotations

import os
import pathlib

# With one of them TensorFlow takes oneDNN's kernels, and what allocates memory for them, unless told otherwise.
_INSTRUCTIONS_OF_ONEDNN = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}
_CPUINFO = pathlib.Path("/proc/cpuinfo")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Bytes of this machine's memory; 0 where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def has_onednn() -> bool:
    """Whether TensorFlow computes by oneDNN on this machine's CPU."""
    asked = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "").lower()
    if asked:
        return asked in ("1", "true")
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return False
    return any(_INSTRUCTIONS_OF_ONEDNN.intersection(line.split()) for line in lines if line.startswith("flags"))
