"""Makes a file of attacks small enough for the project to carry: `attacks_subset.npz` is what this left of one.

python -m tests.golden.reduce_attacks FULL.npz REDUCED.npz

What stays: the kind with variables of its own (the others' gradients are next to nothing) on the first 8 pictures, FGSM of two
epsilons, PGD of one. What is added: the network's weights, from `trajectory/soft_offline.npz` beside FULL.npz.
"""

from __future__ import annotations

import os
import sys

import numpy as np

from checkpoints.names import AVERAGE_SUFFIX, MOMENTUM_SUFFIX, SQUARES_SUFFIX, STEP_NAME
from tests.golden.compare_attacks import RUN, Arrays

PICTURES = 8
ATTACKS = ("clean", "fgsm/eps4", "fgsm/eps16", "pgd10/eps8_step2")
_NO_WEIGHTS = (AVERAGE_SUFFIX, SQUARES_SUFFIX, MOMENTUM_SUFFIX, STEP_NAME)


def reduce(content: Arrays, run: Arrays) -> dict[str, np.ndarray]:
    """The reduced content of a file and of the run that its network comes from."""
    kind = next(name.split("/")[0] for name in content if "/variables/" in name)
    kept = tuple(f"{kind}/{attack}/" for attack in ATTACKS)
    reduced = {
        name: content[name][:PICTURES] for name in content if name in ("image", "label") or name.startswith(kept)
    }
    reduced |= {name: value for name, value in content.items() if name.startswith(f"{kind}/variables/")}
    return reduced | {
        f"weights/{name[len('final/') :]}": value
        for name, value in run.items()
        if name.startswith("final/")
        and not name.endswith(_NO_WEIGHTS)
        and f"{kind}/variables/{name[len('final/') :]}" not in content
    }


if __name__ == "__main__":
    beside = os.path.join(os.path.dirname(sys.argv[1]), RUN)
    with np.load(sys.argv[1]) as full, np.load(beside) as its_run:
        np.savez_compressed(sys.argv[2], **reduce(dict(full.items()), dict(its_run.items())))
