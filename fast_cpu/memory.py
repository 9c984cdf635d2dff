"""Memory of freed tensors is used again. No TensorFlow. Figures: docs/performance.md, Training."""

from __future__ import annotations

import os
import pathlib

from runtime import machine

MANY_CORES = 32
# With one of them TensorFlow takes oneDNN's kernels, and what allocates memory for them, unless told otherwise.
_INSTRUCTIONS_OF_ONEDNN = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}
_CPUINFO = pathlib.Path("/proc/cpuinfo")


def reuse_memory() -> None:
    """Has TensorFlow keep the memory of its tensors and give it out again, which it does by itself where it computes by oneDNN.

    Elsewhere the system would hand out each large tensor anew and clear all its pages: a third of the time of a training step.
    Not where many threads would wait for one another, which is not measured. Call it before TensorFlow's first operation.
    """
    if has_onednn() or machine.cores() > MANY_CORES:
        return
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    # 64 GiB otherwise.
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(max(machine.memory(), 64 << 30) >> 20))


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
