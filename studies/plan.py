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
from flags import command_line, rounds
from flags.definitions import SCOPES
from flags.kinds import Scope
from pseudo_label.config import IterateConfig
from pseudo_label.manifest import Stage
from pseudo_label.rounds import stages
from runtime.errors import UserError
from studies.definition import ALONE, TEACHER, Arm, Study
from training.config import TrainConfig

# They say where things lie, how a run is shown, and what `Run.key` holds beside the flags.
NOT_OF_THE_KEY = (
    "mode", "study", "seeds", "seed", "parallel", "results_dir", "work_dir", "rounds", "finetune", "data_dir", "source_dir",
    "label_data_dir", "unlabel_data_dir", "use_tpu", "tpu", "tpu_zone", "gcp_project", "log_step_count_steps",
    "eval_batch_size", "keep_checkpoint_max", "num_processes",
)  # fmt: skip


class Run(NamedTuple):
    """One arm with one seed.

    Attributes:
      study, arm: their names.
      seed: of the run.
      work_dir: its folder.
      stages: up to the network that is measured.
      network: how that is measured.
      key: what the result depends on: the flags, those of each student, the network, the seed.
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
    students = _students(arm, rounds.read_rounds(values))
    work_dir = os.path.join(values.work_dir, f"seed{seed}", study.name, folder_name(arm.name))
    own = rounds.override(values, {**_said(arm.flags, Scope.RUN), "seed": seed, "work_dir": work_dir, "mode": "iterate"})
    if arm.measured == ALONE:
        of_training = {name: v for name, v in students[-1].said.items() if Scope.TEACHER in SCOPES[name]}
        own = rounds.override(own, of_training)
    config = rounds.iterate_config(own, students=students)
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
    key = {"flags": _serialised(own), "network": name, "seed": seed}
    if arm.measured == ALONE or arm.measured == TEACHER:
        key["flags"] = [line for line in key["flags"] if Scope.TEACHER in SCOPES[_flag(line)] or _of_data(_flag(line))]
    else:
        key["students"] = [_of_student(one) for one in students]
    return Run(study.name, arm.name, seed, work_dir, planned[: last + 1], network, key)


def folder_name(name: str) -> str:
    """An arm's name as one of a folder."""
    return "".join(sign if sign.isalnum() else "_" for sign in name)


def _students(arm: Arm, given: Sequence[rounds.Round]) -> list[rounds.Round]:
    """The command line's students in what the arm changes; with `rounds`, as many of the last of them as it has entries."""
    of_all = _said(arm.student)
    finetune = None if arm.finetune is None else _said(arm.finetune)
    own = [_said(lines) for lines in arm.rounds] or [{} for _ in given]
    found = []
    for number, said in enumerate(own):
        base = given[min(number, len(given) - 1)]
        title = f"student {number + 1}"
        found.append(rounds.Round(title, {**base.said, **of_all, **said}, base.finetune if finetune is None else finetune))
    return found


def _said(lines: Sequence[str], allowed: Scope = Scope(0)) -> dict[str, Any]:
    """The flags of an arm, parsed; {flag: value}."""
    file = command_line.read_flags(lines)
    for name in file.said:
        scope = SCOPES[name]
        if Scope.DECIDED in scope or name in NOT_OF_THE_KEY and name not in ("unlabel_data_dir", "label_data_dir"):
            raise UserError(f"got --{name}, which the study or iterate decides itself; leave it out")
        if Scope.RUN in scope and not allowed:
            raise UserError(f"got --{name} among a student's flags, but it holds for the whole run; give it in flags")
        if not scope & (Scope.PREPARE | Scope.TEACHER | Scope.FINETUNE | rounds.OF_A_ROUND):
            raise UserError(f"got --{name}, which no stage of a run reads; leave it out")
    return dict(file.said)


def _measured(config: IterateConfig, arm: Arm) -> tuple[str, TrainConfig]:
    if arm.measured in (TEACHER, ALONE):
        return "teacher", config.teacher
    number, last = len(config.rounds), config.rounds[-1]
    if last.finetune is not None:
        return f"round{number}/finetune", last.finetune
    return f"round{number}/student", last.student


def _serialised(values: FlagValues) -> list[str]:
    found = []
    for name in values:
        if values[name].present and name not in NOT_OF_THE_KEY and name in SCOPES:
            found += str(values[name].serialize()).split("\n")
    return sorted(line for line in found if line)


def _of_student(student: rounds.Round) -> dict[str, Any]:
    described = {name: value for name, value in student.said.items() if name not in NOT_OF_THE_KEY}
    return {"flags": described, "finetune": None if student.finetune is None else dict(student.finetune)}


def _flag(line: str) -> str:
    name = line.lstrip("-").partition("=")[0]
    return name if name in SCOPES else name[len("no") :]


def _of_data(name: str) -> bool:
    return Scope.PREPARE in SCOPES[name]


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


