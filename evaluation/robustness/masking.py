"""Signs that attacks fail because the gradient is of no use to them, not because the network is robust (Athalye et al., 2018).

Such a network looks robust and is not: another attack would find what these did not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import numpy as np

from evaluation.robustness.config import LEVELS
from evaluation.scores import paired_gain

MOST_ZEROS = 0.01
MOST_AT_255 = 0.01
P_VALUE = 0.05


def signs_of_masking(
    zeros: Any,
    fgsm: Optional[Mapping[float, Any]] = None,
    pgd: Optional[Mapping[float, Any]] = None,
    at_255: Optional[Any] = None,
) -> list[str]:
    """One sentence a sign, for people; none is the usual case. N pictures, in one order everywhere.

    Args:
      zeros: float [N], the share of each picture's gradients that are 0 or no number (see `Answers`).
      fgsm, pgd: by epsilon, bool [N]: whether the network is right under the attack; compared at each epsilon that both have.
      at_255: bool [M], whether it is right under PGD of epsilon 255, on any pictures.
    """
    return _zeros(np.asarray(zeros, np.float64)) + _weaker(fgsm or {}, pgd or {}) + _unreached(at_255)


def _zeros(zeros: np.ndarray) -> list[str]:
    share = float(zeros.mean()) if zeros.size else 0.0
    if share <= MOST_ZEROS:
        return []
    return [
        f"{share:.1%} of the gradients are 0 or no number (expected at most {MOST_ZEROS:.0%}); all of them on "
        f"{int((zeros >= 1).sum())} of {zeros.size} pictures: the attacks cannot move these pixels"
    ]


def _weaker(fgsm: Mapping[float, Any], pgd: Mapping[float, Any]) -> list[str]:
    found = []
    for epsilon in sorted(set(fgsm) & set(pgd) - {0.0}):
        gain = paired_gain(fgsm[epsilon], pgd[epsilon])
        if gain.gain > 0 and gain.p_value < P_VALUE:
            found.append(
                f"epsilon {epsilon:g}: FGSM leaves {np.mean(fgsm[epsilon]):.1%} right, PGD {np.mean(pgd[epsilon]):.1%} of "
                f"{gain.num_images} pictures: many small steps should do more harm than a large one; try more or other steps"
            )
    return found


def _unreached(at_255: Optional[Any]) -> list[str]:
    right = np.asarray([] if at_255 is None else at_255, bool)
    if not right.size or right.mean() <= MOST_AT_255:
        return []
    return [
        f"epsilon {LEVELS:g}: PGD leaves {right.mean():.1%} of {right.size} pictures right, although it may turn each into any "
        "other (expected 0)"
    ]
