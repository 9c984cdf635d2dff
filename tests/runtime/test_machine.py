"""What is known of the machine before TensorFlow is imported is what TensorFlow then does."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Optional

import pytest

from runtime import machine

SCRIPT = """
from runtime import machine
from tensorflow.python.util import _pywrap_util_port
print(machine.has_onednn(), _pywrap_util_port.IsMklEnabled())
"""


@pytest.mark.parametrize("asked", [None, "0", "1", "false", "true"])
def test_onednn_is_where_tensorflow_has_it(asked: Optional[str]) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    variables["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if asked is not None:
        variables["TF_ENABLE_ONEDNN_OPTS"] = asked
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=variables, capture_output=True, text=True, check=True)
    ours, theirs = done.stdout.split()
    assert ours == theirs


@pytest.mark.parametrize(
    ("flags", "has"), [("fpu avx2 fma", False), ("fpu avx512f avx512_vnni", True), ("avx_vnni", True)]
)
def test_it_is_seen_from_the_processor(tmp_path, monkeypatch, flags: str, has: bool) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nmodel name : avx512_vnni\nflags : {flags}\n")
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    assert machine.has_onednn() == has
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")
    assert not machine.has_onednn()


def test_memory_is_at_least_what_this_process_has() -> None:
    assert machine.memory() == 0 or machine.memory() > 1 << 28
