"""Start of a training: seconds from the command to the end of its first step, digits preset.

    python -m benchmarks.start             # --json for machines, --check to exit 1 above the target

Each run is `main.py --mode=train` in a process of its own with one step to take, until it says that it has taken it:
interpreter, imports, counting the labels, tracing, the step, and also saving it. The original release took 12 s.
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

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET_SECONDS = 8.0


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        data = f"--data_dir={folder}/data"
        preset = "--flagfile=flags/presets/digits.flags"
        _run(preset, "--mode=prepare", data)
        seconds = []
        for number in range(arguments.rounds + 1):
            seconds.append(_run(preset, "--mode=train", data, "--train_steps=1", f"--model_dir={folder}/model{number}"))
    seconds = seconds[1:]  # the first one fills the system's file cache
    median = statistics.median(seconds)
    row: dict[str, Any] = {"seconds": round(median, 2), "spread": [round(min(seconds), 2), round(max(seconds), 2)]}
    if arguments.json:
        print(json.dumps({"target": TARGET_SECONDS, "rows": {"ours": row}}, indent=1))
    else:
        print(
            f"{row['seconds']} s ({row['spread'][0]} to {row['spread'][1]}); target {TARGET_SECONDS:g}, the release 12"
        )
    if arguments.check and median > TARGET_SECONDS:
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help=f"exit 1 above {TARGET_SECONDS:g} s")
    return parser.parse_args()


def _run(*flags: str) -> float:
    """Seconds from the start of the process to the line that says what it has done."""
    command = [sys.executable, "main.py", *flags]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        text = process.stdout.readline()
        seconds = time.perf_counter() - started
        text += process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}: {text[-1000:]}")
    return seconds


if __name__ == "__main__":
    main()
