from __future__ import annotations

import gc
import os
import pathlib
import subprocess
import sys

import pytest

from runtime import startup


def test_no_garbage_is_looked_for_while_importing(tmp_path, monkeypatch):
    (tmp_path / "asks.py").write_text("import gc\nenabled = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = gc.get_freeze_count()
    try:
        module = startup.imported("asks")
        assert (module.enabled, gc.isenabled()) == (False, True)
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
        sys.modules.pop("asks", None)


def test_garbage_is_looked_for_after_an_import_that_fails(tmp_path, monkeypatch):
    (tmp_path / "fails.py").write_text("raise ZeroDivisionError\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(ZeroDivisionError):
            startup.imported("fails")
        assert gc.isenabled()
    finally:
        gc.unfreeze()


ROOT = pathlib.Path(__file__).parents[1]
PAGES_OF_A_TENSOR = (64 << 20) // 4096
REPEATED = """
import resource
from runtime import startup
if REUSED:
    startup.reuse_memory()
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
    monkeypatch.setattr(startup.machine, "has_onednn", lambda: False)
    monkeypatch.setattr(startup.machine, "cores", lambda: 2)
    monkeypatch.setattr(startup.machine, "memory", lambda: 200 << 30)
    monkeypatch.setenv("TF_CPU_ALLOCATOR_USE_BFC", "0")
    monkeypatch.setenv("TF_CPU_BFC_MEM_LIMIT_IN_MB", "")  # so that it is taken away again
    monkeypatch.delenv("TF_CPU_BFC_MEM_LIMIT_IN_MB")
    startup.reuse_memory()
    assert os.environ["TF_CPU_ALLOCATOR_USE_BFC"] == "0"
    assert os.environ["TF_CPU_BFC_MEM_LIMIT_IN_MB"] == str(200 << 10)


@pytest.mark.parametrize(("onednn", "cores"), [(True, 2), (False, startup.MANY_CORES + 1)])
def test_memory_is_left_alone_where_that_helps_nothing(monkeypatch, onednn, cores):
    monkeypatch.setattr(startup.machine, "has_onednn", lambda: onednn)
    monkeypatch.setattr(startup.machine, "cores", lambda: cores)
    monkeypatch.delenv("TF_CPU_ALLOCATOR_USE_BFC", raising=False)
    startup.reuse_memory()
    assert "TF_CPU_ALLOCATOR_USE_BFC" not in os.environ
