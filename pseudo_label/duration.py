"""How long a run will take: estimated before it begins, put right after the first steps of each training."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Optional

from data.config import SplitConfig
from data.tasks import Task
from pseudo_label.config import PredictConfig
from pseudo_label.manifest import Stage
from training import speed
from training.config import TrainConfig

TO_BEGIN = 8.0  # seconds until a stage's network is built and compiled


class Duration:
    """The time that the stages still to do will take.

    Args:
      stages: those to do, in order.
      task: tells how many pictures there are.
      second: multiplications in a second; default: estimated on this machine.
      clock: seconds; for tests.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        task: Task,
        second: Optional[float] = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._work = {stage.name: _work(stage, task) for stage in stages}
        self._second = second or (speed.estimate() if self._work else 1.0)
        self._clock = clock
        self._began = clock()

    def before(self) -> str:
        """The line before the first stage."""
        return f"this run takes about {in_words(self._left())} (an estimate; the first steps of each training put it right)"

    def done(self, stage: str) -> None:
        """A stage is done."""
        del self._work[stage]

    def paced(self, stage: Stage) -> Callable[[float], None]:
        """For a training: takes the seconds of one of its steps, and says how long the run will take then."""

        def say(seconds: float) -> None:
            self._second = speed.work_of_step(stage.config) / seconds
            past, left = self._clock() - self._began, self._left()
            print(f"{stage.config.title}: the whole run takes about {in_words(past + left)}, {in_words(left)} from now")

        return say

    def _left(self) -> float:
        return sum(work / self._second + TO_BEGIN * (work > 0) for work in self._work.values())


def _work(stage: Stage, task: Task) -> float:
    config = stage.config
    if isinstance(config, TrainConfig):
        return speed.work_of(config, _images(config.evaluation, task) if config.evaluation else 0)
    if isinstance(config, PredictConfig):
        return task.num_images.get("unlabeled", 0) * speed.work_of_image(config.model, config.image_size)
    return 0.0


def _images(split: SplitConfig, task: Task) -> int:
    return split.num_images or task.num_images.get(split.split, 0)


def in_words(seconds: float) -> str:
    """A time as people say it."""
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}s"
    return "1 minute" if seconds >= 45 else f"{max(1, round(seconds / 10)) * 10} seconds"
