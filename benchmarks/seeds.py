"""The digits preset over several seeds: `python -m benchmarks.seeds` (or `make seeds`) prints the README's table.

A seed that has run already is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

PRESET = "flags/presets/digits.flags"


def accuracies(work_dir: str) -> list[float]:
    """Test accuracy in percent of the teacher and of every student in turn."""
    found = []
    for network in ["teacher", "round1/student", "round2/student", "round3/student"]:
        path = os.path.join(work_dir, network, "evaluation.json")
        if os.path.exists(path):
            with open(path) as file:
                found.append(100 * json.load(file)["accuracy"])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--dir", default="runs/seeds")
    arguments = parser.parse_args()
    rows = []
    for seed in arguments.seeds.split(","):
        work_dir = os.path.join(arguments.dir, f"seed{seed}")
        command = [sys.executable, "main.py", f"--flagfile={PRESET}", f"--seed={seed}", f"--work_dir={work_dir}"]
        subprocess.run(command, check=True)
        rows.append((seed, accuracies(work_dir)))
    students = range(1, len(rows[0][1]))
    print("\n| seed | teacher % | " + " | ".join(f"student {number} %" for number in students) + " | gain, points |")
    print("|---|---|" + "---|" * len(students) + "---|")
    for seed, values in rows:
        print(f"| {seed} | " + " | ".join(f"{value:.1f}" for value in values) + f" | {values[-1] - values[0]:+.1f} |")
    gains = [values[-1] - values[0] for _, values in rows]
    means = [sum(column) / len(rows) for column in zip(*[values for _, values in rows])]
    print("| mean | " + " | ".join(f"{mean:.1f}" for mean in means) + f" | {sum(gains) / len(gains):+.1f} |")
    print(f"\nthe last student beats its teacher in {sum(gain > 0 for gain in gains)} of {len(gains)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
