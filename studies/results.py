"""What is kept of an arm and a seed: one small JSON file, enough to draw the page again and never to train it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from typing import Any, Optional

import numpy as np

from runtime.files import read_text, write_text
from studies.plan import Run


@dataclasses.dataclass(frozen=True)
class Result:
    """One network's answers to the test pictures.

    Attributes:
      correct: bool [N]; None if the run failed.
      pictures: a digest of the pictures' classes in their order; equal for equal test sets.
      seconds: that the run took, without what it shared with others.
      error: why the run failed, in a line; "" if it did not.
    """

    correct: Optional[np.ndarray]
    pictures: str = ""
    seconds: float = 0.0
    error: str = ""

    @property
    def accuracy(self) -> float:
        """Share of right answers; nan if the run failed."""
        return float("nan") if self.correct is None else float(self.correct.mean())


def path_of(results_dir: str, run: Run) -> str:
    """The file of a run."""
    return os.path.join(results_dir, f"{run.digest}-seed{run.seed}.json")


def load(results_dir: str, run: Run) -> Optional[Result]:
    """What is kept of a run; None if there is nothing."""
    text = read_text(path_of(results_dir, run))
    if text is None:
        return None
    kept = json.loads(text)
    if kept["error"]:
        return Result(None, error=kept["error"])
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(kept["correct"]), np.uint8), count=kept["num_images"])
    return Result(bits.astype(bool), kept["pictures"], kept["seconds"])


def save(results_dir: str, run: Run, result: Result) -> None:
    """Keeps a run's result; a failure is kept too, and tried again next time."""
    kept: dict[str, Any] = {"study": run.study, "arm": run.arm, "settings": run.key, "versions": versions()}
    kept.update(error=result.error, seconds=round(result.seconds, 1))
    if result.correct is not None:
        kept.update(
            correct=np.packbits(result.correct).tobytes().hex(),
            num_images=len(result.correct),
            accuracy=round(result.accuracy, 6),
            pictures=result.pictures,
        )
    write_text(path_of(results_dir, run), json.dumps(kept, indent=1, sort_keys=True) + "\n")


def digest_of(labels: np.ndarray) -> str:
    """Tells test sets apart."""
    return hashlib.sha256(np.asarray(labels, np.int64).tobytes()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """What computed it."""
    import tensorflow as tf

    return {"python": platform.python_version(), "tensorflow": tf.__version__, "machine": platform.machine()}
