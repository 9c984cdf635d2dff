"""What prepares images as XLA compiles it for users, in processes of their own: the other tests leave LLVM's passes out."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = """
import numpy as np
import tensorflow as tf
from fast_cpu import randaugment

for number in range(5):
    random = np.random.default_rng(number)
    images = tf.constant(random.integers(0, 256, (4, 24, 24, 3)).astype(np.uint8))
    draws = tf.constant(random.random((4, 2, 4)).astype(np.float32))
    randaugment.randaugment(images, draws, 9.0, True)
"""


def _run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment: dict[str, str] = {**os.environ, "XLA_FLAGS": "", "CUDA_VISIBLE_DEVICES": "-1", **settings}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_different_batches_share_what_is_compiled():
    done = _run("-c", SCRIPT, TF_CPP_MIN_LOG_LEVEL="0", TF_CPP_VMODULE="device_compilation_profiler=1")
    assert done.returncode == 0, done.stderr[-2000:]
    compiled = re.findall(r"Compiled (\w*loop\w*) (\d+) times", done.stderr)
    assert [times for _, times in compiled] == ["1"]


def test_the_bits_are_the_same_with_all_passes():
    """Only with them XLA multiplies and adds in one instruction, where the processor has one."""
    which = "sharpness or grey or plain_and_compiled or (in_a_dataset and (-9 or -27))"
    files = ["tests/fast_cpu/test_randaugment.py"]
    done = _run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", which, *files)
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) >= 15
