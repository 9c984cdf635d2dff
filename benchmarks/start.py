"""Start of a training: seconds from the command to the end of its first step, digits preset.

    python -m benchmarks.start             # --json for machines, --check to exit 1 above the target

Each run is `main.py --mode=train` in a process of its own with one step to take, until it says that it has taken it:
interpreter, imports, counting the labels, tracing, the step, and also saving it. The original release took 12 s. In turns with
it, importing TensorFlow alone, which is the same for everyone: what differs from machine to machine, and from day to day.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

OURS, TENSORFLOW = "ours", "importing TensorFlow and Keras alone"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET_SECONDS = 8.0


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        data = f"--data_dir={folder}/data"
        preset = "--flagfile=flags/presets/digits.flags"
        _run("main.py", preset, "--mode=prepare", data)
        taken: dict[str, list[float]] = {OURS: [], TENSORFLOW: []}
        for number in range(arguments.rounds + 1):
            taken[OURS].append(
                _run("main.py", preset, "--mode=train", data, "--train_steps=1", f"--model_dir={folder}/{number}")
            )
            taken[TENSORFLOW].append(_run("-c", "import tensorflow; tensorflow.keras.layers.Layer; print('imported')"))
    rows = {name: _summary(seconds[1:]) for name, seconds in taken.items()}  # the first fill the system's file cache
    if arguments.json:
        print(json.dumps({"target": TARGET_SECONDS, "rows": rows}, indent=1))
    else:
        for name, row in rows.items():
            print(f"{name}: {row['seconds']} s ({row['spread'][0]} to {row['spread'][1]})")
        print(f"target {TARGET_SECONDS:g}, the release 12")
    if arguments.check and rows[OURS]["seconds"] > TARGET_SECONDS:
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help=f"exit 1 above {TARGET_SECONDS:g} s")
    return parser.parse_args()


def _summary(seconds: list[float]) -> dict[str, Any]:
    return {"seconds": round(statistics.median(seconds), 2), "spread": [round(min(seconds), 2), round(max(seconds), 2)]}


def _run(*arguments: str) -> float:
    """Seconds from the start of a Python process to the line that says what it has done."""
    command = [sys.executable, *arguments]
    started = time.perf_counter()
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        command, cwd=ROOT, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        text = process.stdout.readline()
        seconds = time.perf_counter() - started
        text += process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}: {text[-1000:]}")
    return seconds


if __name__ == "__main__":
    main()
