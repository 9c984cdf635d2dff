"""What the memory allocator does, in processes of their own: it depends on all that a process has done."""

from __future__ import annotations

import ctypes
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LARGE = 4 << 20
SCRIPT = """
import contextlib, ctypes, json, tempfile, threading
import machine

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.fopen.restype, libc.fclose.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]


def state():
    with tempfile.NamedTemporaryFile() as file:
        stream = libc.fopen(file.name.encode(), b"w")
        libc.malloc_info(0, stream)
        libc.fclose(stream)
        text = file.read()
    mapped = text.rpartition(b'<total type="mmap" count="')[2].partition(b'size="')[2].partition(b'"')[0]
    return int(mapped), text.count(b"<heap nr=")


def mapped(size):
    before = state()[0]
    block = libc.malloc(size)
    after = state()[0]
    libc.free(block)
    return after - before


def arenas_of_threads():
    held = threading.Barrier(4)

    def hold():
        block = libc.malloc(1 << 16)
        held.wait()
        libc.free(block)

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return state()[1]


libc.free(libc.malloc(30 << 20))  # which raises the threshold
found = {}
machine.cores = lambda: 4
try:
    with machine.memory_kept_small() if KEPT else contextlib.nullcontext():
        found.update({"mapped": mapped(LARGE), "small": mapped(1 << 20), "arenas": arenas_of_threads()})
        raise ZeroDivisionError
except ZeroDivisionError:
    libc.free(libc.malloc(30 << 20))  # which raises the threshold that glibc begins with
    found["mapped after"] = mapped(LARGE)
print(json.dumps(found))
"""


def _found(kept_small: bool) -> dict[str, int]:
    script = SCRIPT.replace("LARGE", str(LARGE)).replace("KEPT", str(kept_small))
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_large_blocks_are_returned_and_threads_share_arenas_while_memory_is_kept_small():
    if not hasattr(ctypes.CDLL(None), "malloc_info"):
        pytest.skip("not glibc")
    found = _found(kept_small=True)
    assert found["mapped"] >= LARGE
    assert found["small"] == found["mapped after"] == 0
    assert found["arenas"] == 2
    assert _found(kept_small=False)["arenas"] > 2
