"""Makes a file of corrupted pictures small enough for the project to carry: `corruptions_subset.npz` is what this left of one.

python -m tests.golden.reduce_corruptions FULL.npz REDUCED.npz

What stays: of 32 pixels pictures 0 and 3, all that is not random of picture 3, and severity 3 of the rest; the first, the middle
and the last frame of each perturbation. Of 224 pixels picture 3 of two corruptions, severity 3: it is procedural, so small.
"""

from __future__ import annotations

import sys

import numpy as np

from tests.golden.compare_corruptions import DETERMINISTIC, Arrays

_OF_224 = ("contrast", "pixelate")


def reduce(arrays: Arrays) -> dict[str, np.ndarray]:
    """The reduced content."""
    reduced = {name: value for name, value in arrays.items() if _stays(name)}
    for name in [name for name in arrays if name.startswith("p/") and name.endswith("/32/index")]:
        frames = arrays[name.replace("index", "frames")]
        chosen = [0, len(frames) // 2, len(frames) - 1]
        reduced[name], reduced[name.replace("index", "frames")] = arrays[name][chosen], frames[chosen]
    return reduced


def _stays(name: str) -> bool:
    kind, *rest = name.split("/")
    if kind == "input":
        return rest in (["32", "0"], ["32", "3"], ["224", "3"])
    if kind in ("draws", "result", "stats"):
        return rest[1:3] in ([], ["32", "3"])
    if kind in DETERMINISTIC:
        return (
            rest == ["32", "3", "0"]
            or (rest[0] == "32" and rest[2] == "3")
            or (rest == ["224", "3", "3"] and kind in _OF_224)
        )
    return False


if __name__ == "__main__":
    with np.load(sys.argv[1]) as full:
        np.savez_compressed(sys.argv[2], **reduce(dict(full.items())))
