"""The input pipeline's memory does not grow with the steps (the long run is in docs/performance.md)."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf

from benchmarks import input_pipeline, pipeline_memory
from data.config import AugmentConfig
from data.streams import reading, training
from data.streams.reading import STARTED_OF_A_CORE
from runtime import machine

ROOT = Path(__file__).parents[3]
STEPS = 1000
FILLED_AT_ONCE = 2  # batches into whose memory tf.data copies images as they are ready
LIMIT_MIB = 4.0  # 4 KiB a step, whose images take 36 KiB


def test_training_batches_leave_nothing_behind(tmp_path):
    # In a process of its own: here, what earlier tests have freed would be filled first, and nothing seem to grow.
    command = [sys.executable, "-m", "benchmarks.pipeline_memory", f"--steps={STEPS}", "--json", f"--dir={tmp_path}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["steps"] == STEPS
    assert found["growth_mib"] < LIMIT_MIB, found
    assert found["resident_mib"][-1] - found["resident_mib"][0] < 2 * LIMIT_MIB, found
    assert list(tmp_path.iterdir()) == []


def test_images_of_few_batches_are_begun_ahead(tmp_path, monkeypatch):
    """What waits takes memory: the next batch, those that are augmented, those that are filled, and single images."""
    batch, begin = input_pipeline.BATCH, training.crop_and_draw
    begun: list[None] = []

    def counted(*arguments):
        with tf.control_dependencies([tf.py_function(lambda: begun.append(None), [], [])]):
            return begin(*arguments)

    monkeypatch.setattr(training, "crop_and_draw", counted)
    input_pipeline.write_jpegs(str(tmp_path), input_pipeline.make_jpegs(4))
    batches = iter(input_pipeline.pipeline(str(tmp_path), AugmentConfig()))
    for _ in range(5):
        next(batches)
    before = -1
    while len(begun) > before:
        before = len(begun)
        time.sleep(0.5)
    ahead = len(begun) - 5 * batch
    waiting = 1 + reading.finished_at_once() + FILLED_AT_ONCE
    assert batch < ahead <= waiting * batch + STARTED_OF_A_CORE * machine.cores()


@pytest.mark.parametrize(("kept_bytes", "least", "most"), [(0, -2, 2), (1 << 16, 30, 34)])
def test_what_is_kept_is_measured(kept_bytes, least, most):
    """512 steps that each keep nothing, or 64 KiB."""
    kept = []

    def batches():
        while True:
            if kept_bytes:
                kept.append(mmap.mmap(-1, kept_bytes))
                kept[-1].write(b"x" * kept_bytes)
            yield ()

    found = pipeline_memory.measure(batches(), 512)
    assert least < found["growth_mib"] < most, found
