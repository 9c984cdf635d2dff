"""The 15 corruptions: milliseconds a picture, each at its five severities, and all 75 variants; at 224 and at 32 pixels.

    python -m benchmarks.corruptions        # --json for machines, --check to exit 1 above a target

Of processor time, on one thread. If imagecorruptions-imaug is installed beside numpy, scipy and Pillow
(`pip install "imagecorruptions-imaug==1.1.5" "numpy<2"`, best in an environment of its own: nothing else of the project is needed
here), it takes turns with ours within each corruption.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any, Callable

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np
from PIL import Image

from benchmarks import bench_machine
from evaluation.robustness.constants import SEVERITIES
from evaluation.robustness.corruptions import CORRUPTIONS, corrupt, picture_generator

OURS, PEER = "ours", "imagecorruptions-imaug"
TARGET_MS = {224: 400.0, 32: 22.0}  # of all variants of a picture
TARGET_RATIO = {224: 3.0, 32: 4.0}
PICTURES = {224: 1, 32: 20}  # of a turn

# Corrupts a picture: picture, corruption, severity, its number.
Candidate = Callable[[np.ndarray, str, int, int], Any]


def main() -> None:
    arguments = _arguments()
    candidates: dict[str, Candidate] = {OURS: _ours}
    if peer := _peer():
        candidates[PEER] = peer
    result = {
        "machine": bench_machine.describe()["machine"],
        "versions": _versions(["numpy", "scipy", "pillow", *([PEER] if peer else [])]),
        "sides": {str(side): measure(candidates, side, arguments.rounds) for side in TARGET_MS},
    }
    print(json.dumps(result, indent=1) if arguments.json else table(result))
    if arguments.check and not reached(result):
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each candidate; the median counts")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit 1 above a target")
    return parser.parse_args()


def _ours(picture: np.ndarray, name: str, severity: int, number: int) -> np.ndarray:
    return corrupt(picture, name, severity, picture_generator(0, name, severity, number))


def _peer() -> Candidate | None:
    try:
        import cv2
        import imagecorruptions
    except ImportError:
        return None
    cv2.setNumThreads(1)
    warnings.simplefilter("ignore")
    return lambda picture, name, severity, _: imagecorruptions.corrupt(picture, severity, name)


def _versions(packages: Sequence[str]) -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


def _picture(side: int) -> np.ndarray:
    """Smooth shapes and fine grain, as in a photograph."""
    generator = np.random.default_rng(side)
    total = np.zeros((side, side, 3))
    for cells, weight in ((3, 0.5), (9, 0.25), (side // 4, 0.15), (side, 0.1)):
        grid = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += weight * np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC), np.float64)
    return total.astype(np.uint8)


def measure(candidates: dict[str, Candidate], side: int, rounds: int) -> dict[str, Any]:
    """Milliseconds a picture of every candidate: by corruption, the mean of its severities; and of all variants.

    A first turn that does not count compiles, draws textures and fills caches.
    """
    picture = _picture(side)
    times: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in CORRUPTIONS} for name in candidates}
    for turn in range(rounds + 1):
        for kind in CORRUPTIONS:
            for name, candidate in candidates.items():
                milliseconds = _turn(candidate, picture, kind, PICTURES[side])
                if turn:
                    times[name][kind].append(milliseconds)
    rows = {name: _summary(by_kind) for name, by_kind in times.items()}
    result: dict[str, Any] = {"target_ms": TARGET_MS[side], "rows": rows}
    if PEER in rows:
        pairs = zip(rows[PEER]["turns"], rows[OURS]["turns"])
        result |= {"target_ratio": TARGET_RATIO[side], "ratio": round(statistics.median(a / b for a, b in pairs), 2)}
    return result


def _turn(candidate: Candidate, picture: np.ndarray, kind: str, pictures: int) -> float:
    started = time.process_time()
    for number in range(pictures):
        for severity in SEVERITIES:
            candidate(picture, kind, severity, number)
    return (time.process_time() - started) * 1000 / pictures / len(SEVERITIES)


def _summary(by_kind: dict[str, list[float]]) -> dict[str, Any]:
    turns = [round(sum(row) * len(SEVERITIES), 2) for row in zip(*by_kind.values())]
    return {
        "all_ms": statistics.median(turns),
        "spread": [min(turns), max(turns)],
        "turns": turns,
        "by_corruption_ms": {kind: round(statistics.median(row), 3) for kind, row in by_kind.items()},
    }


def reached(result: dict[str, Any]) -> bool:
    """Whether every side is within its time and, where the peer took part, at its ratio."""
    return all(
        side["rows"][OURS]["all_ms"] <= side["target_ms"] and side.get("ratio", 0) >= side.get("target_ratio", 0)
        for side in result["sides"].values()
    )


def targets(result: dict[str, Any]) -> str:
    """The targets in words."""
    return "; ".join(_target(side, found) for side, found in result["sides"].items())


def _target(side: str, found: dict[str, Any]) -> str:
    against = f" and {found['target_ratio']:g} x {PEER}" if "ratio" in found else ""
    return f"{found['target_ms']:g} ms{against} at {side} pixels"


def in_words(result: dict[str, Any]) -> str:
    """What was reached, in words."""
    return "; ".join(_reached(side, found) for side, found in result["sides"].items())


def _reached(side: str, found: dict[str, Any]) -> str:
    against = f" ({found['ratio']:.2f} x)" if "ratio" in found else ""
    return f"{found['rows'][OURS]['all_ms']:.1f} ms{against} at {side}"


def table(result: dict[str, Any]) -> str:
    """The rows for people."""
    lines = [result["machine"], result["versions"]]
    for side, found in result["sides"].items():
        rows = found["rows"]
        lines += ["", f"{side} pixels, ms a picture".ljust(28) + "".join(f"{name:>26}" for name in rows)]
        for kind in CORRUPTIONS:
            lines.append(f"{kind:28}" + "".join(f"{row['by_corruption_ms'][kind]:26.3f}" for row in rows.values()))
        totals = ("{:.1f} ({:.1f} to {:.1f})".format(row["all_ms"], *row["spread"]) for row in rows.values())
        lines.append(f"{'all 75 variants':28}" + "".join(f"{total:>26}" for total in totals))
    lines += ["", f"target: {targets(result)}", f"reached: {in_words(result)}"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
