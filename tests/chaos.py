"""Kills runs of the whole loop at random moments, continues them, and compares them with one that was left alone.

    python -m tests.chaos --kills=20

A run that gets to its end before the next kill is compared, and the kills go on with a new run. Prints one line a kill and a
JSON summary; exits 1 when records, weights, results or the set of files differ anywhere.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import Optional

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Two labeled images a class and the smallest network; checkpoints, shards and stages come often.
TINY = [
    "--mode=iterate",
    "--task_name=digits",
    "--num_labeled=20",
    "--num_test_images=60",
    "--num_shards=6",
    "--seed=3",
    "--use_tpu=False",
    "--width_coefficient=0.1",
    "--depth_coefficient=0.1",
    "--train_batch_size=8",
    "--save_checkpoints_steps=8",
    "--log_step_count_steps=4",
    "--steps_per_eval=20",
    "--base_learning_rate=0.05",
    "--teacher_softmax_temp=1",
    "--randaug_mag=5",
    "--num_image=100",
    "--rounds=@tests/chaos_student.flags",
]


def start(work_dir: str, steps: int) -> subprocess.Popen[str]:
    """The loop as a user starts it, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "main.py", *TINY, f"--train_steps={steps}", f"--work_dir={work_dir}"],
        cwd=ROOT,
        env={**os.environ, "NOISY_STUDENT_PROGRESS": "off"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def run(work_dir: str, steps: int, seconds: Optional[float] = None) -> tuple[bool, str]:
    """Runs to the end, or kills the whole process group after so many seconds.

    Returns:
      whether it got to its end, and the line of the stage that it was in.
    """
    process = start(work_dir, steps)
    killed = False
    try:
        printed, complaint = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        killed = True
        printed, complaint = process.communicate()
    if process.returncode and not killed:
        raise SystemExit(f"a run failed with {process.returncode}: {complaint[-2000:]}")
    begun = [line for line in printed.splitlines() if line.startswith("[") and "done before" not in line]
    return not killed, begun[-1] if begun else "before the first stage"


def contents(work_dir: str) -> dict[str, str]:
    """What a run leaves: file -> digest. A checkpoint's digest is its tensors'; event files count by folder alone."""
    import tensorflow as tf

    found = {}
    for folder, _, names in os.walk(work_dir):
        for name in names:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, work_dir)
            if "tfevents" in name:
                found[os.path.join(os.path.relpath(folder, work_dir), "tfevents")] = ""
            elif name.endswith(".index"):
                reader = tf.train.load_checkpoint(path[: -len(".index")])
                digest = hashlib.sha256()
                for variable in sorted(reader.get_variable_to_shape_map()):
                    digest.update(variable.encode() + reader.get_tensor(variable).tobytes())
                found[relative] = digest.hexdigest()
            elif ".data-" in name:
                found[relative] = ""
            else:
                with open(path, "rb") as file:
                    text = file.read().replace(work_dir.encode(), b"WORK_DIR")
                found[relative] = hashlib.sha256(text).hexdigest()
    return found


def compare(whole: dict[str, str], killed: dict[str, str]) -> dict[str, list[str]]:
    """Files that differ, are missing, or are left over."""
    return {
        "different": sorted(name for name in whole if name in killed and whole[name] != killed[name]),
        "missing": sorted(set(whole) - set(killed)),
        "left_over": sorted(set(killed) - set(whole)),
    }


def chaos(kills: int, seed: int, steps: int, folder: str) -> dict[str, object]:
    """Runs once undisturbed, then as many runs as it takes for so many kills; returns the summary."""
    undisturbed = os.path.join(folder, "undisturbed")
    started = time.monotonic()
    run(undisturbed, steps)
    seconds = time.monotonic() - started
    print(f"undisturbed: {seconds:.1f} s", flush=True)
    whole = contents(undisturbed)
    generator = random.Random(seed)
    runs = happened = 0
    differences: dict[str, list[str]] = {}
    while happened < kills:
        runs += 1
        work_dir = os.path.join(folder, f"killed{runs}")
        ended = False
        while not ended:
            after = generator.uniform(0.1 * seconds, 0.4 * seconds) if happened < kills else None
            ended, stage = run(work_dir, steps, after)
            if not ended:
                happened += 1
                print(f"kill {happened}, run {runs}, after {after:.1f} s: {stage}", flush=True)
        found = compare(whole, contents(work_dir))
        print(f"run {runs} at its end: {'differs' if any(found.values()) else 'same'}", flush=True)
        for kind, names in found.items():
            differences.setdefault(kind, []).extend(f"run {runs}: {name}" for name in names)
    return {"kills": happened, "runs": runs, "files": len(whole), "same": not any(differences.values()), **differences}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=60, help="training steps of the teacher and of the student")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        summary = chaos(arguments.kills, arguments.seed, arguments.steps, folder)
    print(json.dumps(summary))
    return 0 if summary["same"] else 1


if __name__ == "__main__":
    sys.exit(main())
