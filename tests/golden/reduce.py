"""Makes a trajectory small enough for the project to carry.

python -m tests.golden.reduce FULL.npz REDUCED.npz

Averages and slots before the first step follow from the weights, and of every variable after the last one only some
elements and the largest value stay, so the comparison keeps its tolerances.
"""

from __future__ import annotations

import sys

import numpy as np

from checkpoints.names import AVERAGE_SUFFIX, MOMENTUM_SUFFIX, SQUARES_SUFFIX
from tests.golden.compare_trajectory import SAMPLES, TEACHER, Arrays, sample

_DERIVED = (AVERAGE_SUFFIX, SQUARES_SUFFIX, MOMENTUM_SUFFIX)
_HISTORIES = ("lab/loss", "ext/loss", "train/data_loss", "train/loss", "train/lr")


def reduce(arrays: Arrays) -> Arrays:
    """The reduced content of a trajectory.

    Raises:
      ValueError: averages or slots before the first step are not what a fresh start has.
    """
    init = {name: value for name, value in arrays.items() if name.startswith("init/")}
    for name, value in init.items():
        if name.endswith(_DERIVED) and f"init/{TEACHER}" not in name and not _is_fresh(name, value, init):
            raise ValueError(f"{name} does not start afresh")
    reduced = {name: value for name, value in init.items() if not name.endswith(_DERIVED)}
    reduced.update((f"history/{name}", arrays[f"history/{name}"]) for name in _HISTORIES if f"history/{name}" in arrays)
    unlabeled = len(arrays.get("batch/0/unl_probs", ()))
    for name, value in arrays.items():
        if name == "flags" or (name.startswith("batch/") and not name.endswith("top_1_prob")):
            reduced[name] = value[-unlabeled:] if name.endswith("teacher_image") else value
    final = {name[len("final/") :]: value for name, value in arrays.items() if name.startswith("final/")}
    final = {name: value for name, value in final.items() if not name.startswith(TEACHER)}
    reduced["sampled/names"] = np.array(list(final))
    reduced["sampled/largest"] = np.array([np.max(np.abs(value)) for value in final.values()], np.float32)
    reduced["sampled/values"] = np.array([sample(value) for value in final.values()]).reshape(-1, SAMPLES)
    return reduced


def _is_fresh(name: str, value: np.ndarray, init: Arrays) -> bool:
    if name.endswith(AVERAGE_SUFFIX):
        return np.array_equal(value, init[name[: -len(AVERAGE_SUFFIX)]])
    return bool(np.all(value == (1.0 if name.endswith(SQUARES_SUFFIX) else 0.0)))


if __name__ == "__main__":
    with np.load(sys.argv[1]) as full:
        np.savez_compressed(sys.argv[2], **reduce(dict(full.items())))
