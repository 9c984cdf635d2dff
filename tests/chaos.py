"""Kills a run of the whole loop at random moments, continues it each time, and compares it with one that was left alone.

    python -m tests.chaos --kills=20

Prints one line a kill and a JSON summary; exits 1 when records, weights, results or the set of files differ.
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
    "--train_steps=60",
    "--train_batch_size=8",
    "--save_checkpoints_steps=8",
    "--log_step_count_steps=4",
    "--steps_per_eval=20",
    "--base_learning_rate=0.05",
    "--teacher_softmax_temp=1",
    "--randaug_mag=5",
    "--num_image=100",
    "--rounds=efficientnet-b0:2:width_coefficient=0.2",
]


def command(work_dir: str) -> list[str]:
    return [sys.executable, "main.py", *TINY, f"--work_dir={work_dir}"]


def environment() -> dict[str, str]:
    return {**os.environ, "NOISY_STUDENT_PROGRESS": "off"}


def run(work_dir: str) -> float:
    """Runs to the end; returns the seconds that it took."""
    started = time.monotonic()
    done = subprocess.run(command(work_dir), cwd=ROOT, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the run failed with {done.returncode}: {done.stderr[-2000:]}")
    return time.monotonic() - started


def run_and_kill(work_dir: str, seconds: float) -> bool:
    """Runs for so long, then kills the whole process group; returns whether it was still running."""
    process = subprocess.Popen(
        command(work_dir),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        _, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    if process.returncode:
        raise SystemExit(f"a continued run failed with {process.returncode}: {stderr[-2000:]}")
    return False


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


def chaos(kills: int, seed: int, folder: str) -> dict[str, object]:
    """Runs once undisturbed and once with `kills` kills; returns the summary."""
    whole, killed = os.path.join(folder, "whole"), os.path.join(folder, "killed")
    seconds = run(whole)
    print(f"undisturbed: {seconds:.1f} s", flush=True)
    generator = random.Random(seed)
    happened = 0
    for number in range(1, kills + 1):
        after = generator.uniform(0.15 * seconds, 0.6 * seconds)
        if not run_and_kill(killed, after):
            break
        happened = number
        print(f"kill {number} after {after:.1f} s", flush=True)
    run(killed)
    differences = compare(contents(whole), contents(killed))
    return {"kills": happened, "files": len(contents(whole)), "same": not any(differences.values()), **differences}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        summary = chaos(arguments.kills, arguments.seed, folder)
    print(json.dumps(summary))
    return 0 if summary["same"] else 1


if __name__ == "__main__":
    sys.exit(main())
