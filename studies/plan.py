"""From a study and the command line's flags to what has to be trained: every arm with every seed as stages of `iterate`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from absl.flags import FlagValues

from data.fast import Fast
from evaluation.config import EvaluateConfig
from flags.build.studies import arm_config
from pseudo_label.config import IterateConfig
from pseudo_label.manifest import Stage
from pseudo_label.rounds import stages
from runtime.errors import UserError
from studies.definition import ALONE, TEACHER, Arm, Study
from training.config import TrainConfig


class Run(NamedTuple):
    """One arm with one seed.

    Attributes:
      study, arm: their names.
      seed: of the run.
      work_dir: its folder.
      stages: up to the network that is measured.
      network: how that is measured.
      key: what the result depends on: the teacher's flags, those of each student, the network, the seed.
    """

    study: str
    arm: str
    seed: int
    work_dir: str
    stages: Sequence[Stage]
    network: EvaluateConfig
    key: dict[str, Any]

    @property
    def digest(self) -> str:
        """A short name of the key."""
        return hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:16]


def runs(study: Study, values: FlagValues, seeds: Sequence[int], fast: Fast) -> Iterator[Run]:
    """Every arm with every seed, seed by seed.

    Raises:
      UserError: flags that do not fit together, that no stage takes, or a task without test images; names the arm.
    """
    for seed in seeds:
        for arm in study.arms:
            try:
                yield _run(study, arm, values, seed, fast)
            except UserError as error:
                raise UserError(f"--study={study.name}, arm {arm.name!r}: {error}") from error


def _run(study: Study, arm: Arm, values: FlagValues, seed: int, fast: Fast) -> Run:
    work_dir = os.path.join(values.work_dir, f"seed{seed}", study.name, _folder_name(arm.name))
    config, key = arm_config(
        values,
        seed,
        work_dir,
        flags=arm.flags,
        student=arm.student,
        students=arm.rounds,
        finetune=arm.finetune,
        teacher_alone=arm.measured == TEACHER,
        as_student=arm.measured == ALONE,
    )
    name, trained = _measured(config, arm)
    if trained.evaluation is None:
        raise UserError("the task has no test images, so nothing can be measured; prepare it with some")
    planned = stages(config, fast)
    last = next(number for number, stage in enumerate(planned) if stage.name == name)
    network = EvaluateConfig(
        f"{study.name}, {arm.name}, seed {seed}",
        trained.model,
        trained.model_dir,
        trained.data.image_size,
        trained.evaluation,
        trained.use_averages,
        trained.device,
    )
    return Run(study.name, arm.name, seed, work_dir, planned[: last + 1], network, {**key, "network": name})


def _folder_name(name: str) -> str:
    """An arm's name as one of a folder."""
    return "".join(sign if sign.isalnum() else "_" for sign in name)


def _measured(config: IterateConfig, arm: Arm) -> tuple[str, TrainConfig]:
    if arm.measured in (TEACHER, ALONE):
        return "teacher", config.teacher
    number, last = len(config.rounds), config.rounds[-1]
    if last.finetune is not None:
        return f"round{number}/finetune", last.finetune
    return f"round{number}/student", last.student


def check_distinct(planned: Sequence[Run]) -> None:
    """Raises UserError if two arms of a study come to the same run."""
    seen: dict[tuple[str, str], str] = {}
    for run in planned:
        other = seen.setdefault((run.study, run.digest), run.arm)
        if other != run.arm:
            raise UserError(
                f"--study={run.study}: the arms {other!r} and {run.arm!r} come to the same run with these flags; change one, or "
                "leave it out"
            )
