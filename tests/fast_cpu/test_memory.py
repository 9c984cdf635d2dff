"""Memory is used again if TensorFlow does not do so itself, as far as can be known before it is imported."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Optional

import pytest

from fast_cpu import memory

ROOT = pathlib.Path(__file__).parents[2]
# Of TensorFlow only its library: all of it would take each process 2 s to import.
SCRIPT = """
import importlib.util
import sys
import types
from fast_cpu import memory
for name in ("tensorflow", "tensorflow.python"):
    package = types.ModuleType(name)
    package.__path__ = importlib.util.find_spec(name).submodule_search_locations
    sys.modules[name] = package
from tensorflow.python.util import _pywrap_util_port
print(memory.has_onednn(), _pywrap_util_port.IsMklEnabled())
"""
PAGES_OF_A_TENSOR = (64 << 20) // 4096
REPEATED = """
import resource
from fast_cpu import memory
if REUSED:
    memory.reuse_memory()
import tensorflow as tf
pages = []
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tf.zeros([64 << 20], tf.uint8).numpy()
    pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(pages))
"""


def _new_pages_of_a_tensor(reused: bool, onednn: bool) -> int:
    """How many pages the system hands out for a tensor of 64 MiB, when others like it have been freed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("TF_CPU_")}
    variables.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS=str(int(onednn)))
    code = REPEATED.replace("REUSED", str(reused))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="pages are counted otherwise")
def test_freed_memory_is_given_out_again():
    assert _new_pages_of_a_tensor(reused=False, onednn=False) >= PAGES_OF_A_TENSOR
    for onednn in (False, True):
        assert _new_pages_of_a_tensor(reused=True, onednn=onednn) < PAGES_OF_A_TENSOR // 10


def test_what_the_user_says_of_memory_counts(monkeypatch):
    monkeypatch.setattr(memory, "has_onednn", lambda: False)
    monkeypatch.setattr(memory.machine, "cores", lambda: 2)
    monkeypatch.setattr(memory.machine, "memory", lambda: 200 << 30)
    monkeypatch.setenv("TF_CPU_ALLOCATOR_USE_BFC", "0")
    monkeypatch.setenv("TF_CPU_BFC_MEM_LIMIT_IN_MB", "")  # so that it is taken away again
    monkeypatch.delenv("TF_CPU_BFC_MEM_LIMIT_IN_MB")
    memory.reuse_memory()
    assert os.environ["TF_CPU_ALLOCATOR_USE_BFC"] == "0"
    assert os.environ["TF_CPU_BFC_MEM_LIMIT_IN_MB"] == str(200 << 10)


@pytest.mark.parametrize(("onednn", "cores"), [(True, 2), (False, memory.MANY_CORES + 1)])
def test_memory_is_left_alone_where_that_helps_nothing(monkeypatch, onednn, cores):
    monkeypatch.setattr(memory, "has_onednn", lambda: onednn)
    monkeypatch.setattr(memory.machine, "cores", lambda: cores)
    monkeypatch.delenv("TF_CPU_ALLOCATOR_USE_BFC", raising=False)
    memory.reuse_memory()
    assert "TF_CPU_ALLOCATOR_USE_BFC" not in os.environ


@pytest.mark.parametrize("asked", [None, "0", "1", "false", "true"])
def test_onednn_is_where_tensorflow_has_it(asked: Optional[str]) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    variables["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if asked is not None:
        variables["TF_ENABLE_ONEDNN_OPTS"] = asked
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
    ours, theirs = done.stdout.split()
    assert ours == theirs


@pytest.mark.parametrize(
    ("flags", "has"), [("fpu avx2 fma", False), ("fpu avx512f avx512_vnni", True), ("avx_vnni", True)]
)
def test_it_is_seen_from_the_processor(tmp_path, monkeypatch, flags: str, has: bool) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nmodel name : avx512_vnni\nflags : {flags}\n")
    monkeypatch.setattr(memory, "_CPUINFO", tmp_path / "cpuinfo")
    assert memory.has_onednn() == has
    monkeypatch.setattr(memory, "_CPUINFO", tmp_path / "none")
    assert not memory.has_onednn()
