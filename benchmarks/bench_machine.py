"""On what a benchmark ran, and how much of its memory it took."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import sys

from runtime.machine import cores

PACKAGES = ("tensorflow", "numpy", "apache-beam", "keras-cv", "torch", "timm")


def describe() -> dict[str, str]:
    """{"machine": processor, cores and memory, "versions": Python and the packages that are installed}."""
    return {
        "machine": f"{_processor()}, {cores()} cores, {_memory_gib():.0f} GiB, {platform.system()} {platform.machine()}",
        "versions": ", ".join([f"Python {platform.python_version()}", *_versions()]),
    }


def in_short() -> str:
    """Kind of processor, cores, and the versions that matter: one line."""
    tensorflow = importlib.metadata.version("tensorflow")
    return f"{platform.machine()}, {cores()} cores, Python {platform.python_version()}, TensorFlow {tensorflow}"


def peak_gib() -> float:
    """The largest resident set of this process so far.

    Not getrusage's on Linux, where a new process starts from the peak of the one that started it.
    """
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _processor() -> str:
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or "unknown processor"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
