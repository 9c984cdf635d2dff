"""From flags to one arm of a study: the config of its run, and what its result depends on. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

from absl.flags import FlagValues

from flags import command_line, rounds
from flags.definitions import SCOPES
from flags.folders import needed
from flags.kinds import Scope
from flags.students import OF_A_ROUND, Round, read_rounds
from pseudo_label.config import IterateConfig
from runtime.errors import UserError

# They say where things lie and how a run is shown; seed and students stand in `ArmConfig.key` by themselves.
NOT_OF_THE_KEY = (
    "mode", "study", "seeds", "seed", "parallel", "results_dir", "work_dir", "rounds", "finetune", "data_dir", "source_dir",
    "label_data_dir", "unlabel_data_dir", "use_tpu", "tpu", "tpu_zone", "gcp_project", "log_step_count_steps",
    "eval_batch_size", "keep_checkpoint_max", "num_processes",
)  # fmt: skip
# Those of them that an arm may have.
FOLDERS_OF_AN_ARM = ("label_data_dir", "unlabel_data_dir")
# What `prepare` and a teacher read, and with it a run without students.
WITHOUT_STUDENTS = Scope.PREPARE | Scope.TEACHER


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """What `--mode=study` is asked.

    Attributes:
      studies: names, `all`, or TOML files.
      seeds: every arm is trained with each.
      parallel: processes that share the seeds.
      work_dir, results_dir: of the runs, and of what is kept of them.
      flags: those of the run that the arms change.
    """

    studies: tuple[str, ...]
    seeds: tuple[int, ...]
    parallel: int
    work_dir: str
    results_dir: str
    flags: FlagValues


def study_config(values: FlagValues) -> StudyConfig:
    """For `--mode=study`.

    Raises:
      UserError: no study, no work_dir, or seeds that are no different numbers.
    """
    if not values.study:
        raise UserError("--study is missing: the name of a study, all, or a .toml file of your own (docs/studies.md)")
    work_dir = needed(values, "work_dir", "the folder of all runs and of the answer")
    try:
        seeds = tuple(int(text) for text in values.seeds.split(","))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds: got {values.seeds!r}, expected different numbers of at least 0, as 0,1,2")
    results_dir = values.results_dir or os.path.join(work_dir, "results")
    return StudyConfig(tuple(values.study), seeds, values.parallel, work_dir, results_dir, values)


class ArmConfig(NamedTuple):
    """The run of an arm with one seed.

    Attributes:
      config: of the whole loop.
      key: JSON-able, what the result depends on: the teacher's flags, those of each student, the seed.
    """

    config: IterateConfig
    key: dict[str, Any]


def flags_of(*arguments: str) -> FlagValues:
    """The flags of a command line, apart from those of this process."""
    values = command_line.define(FlagValues())
    values(["", *command_line.expanded(arguments)])
    return values


def arm_config(
    values: FlagValues,
    seed: int,
    work_dir: str,
    *,
    flags: Sequence[str] = (),
    student: Sequence[str] = (),
    students: Sequence[Sequence[str]] = (),
    finetune: Optional[Sequence[str]] = None,
    teacher_alone: bool = False,
    as_student: bool = False,
) -> ArmConfig:
    """The run that the flags describe, in what an arm changes.

    Args:
      values: the command line's flags, those of `--mode=iterate`.
      seed, work_dir: of the run.
      flags: changes of the whole run, as on a command line.
      student: changes of every student's flag file.
      students: changes of each student's flag file; there are as many students as entries, the command line's if there is none.
      finetune: the lines of --finetune's file; None is what the command line says.
      teacher_alone: the teacher is what counts.
      as_student: the teacher has the last student's network, noise and steps.

    Raises:
      UserError: a flag that no stage takes or that is not the arm's to say, or flags that do not fit together.
    """
    found = _students(read_rounds(values), student, students, finetune)
    changes = {**_said(flags, of_run=True), "seed": seed, "work_dir": work_dir, "mode": "iterate"}
    own = rounds.override(values, changes)
    if as_student:
        of_teacher = {name: value for name, value in found[-1].said.items() if Scope.TEACHER in SCOPES[name]}
        own = rounds.override(own, of_teacher)
    key: dict[str, Any] = {"teacher": _serialised(own, WITHOUT_STUDENTS), "seed": seed}
    if not teacher_alone and not as_student:
        key["students"] = [_described(own, one) for one in found]
    return ArmConfig(rounds.iterate_config(own, students=found), key)


def _students(
    given: Sequence[Round],
    student: Sequence[str],
    students: Sequence[Sequence[str]],
    finetune: Optional[Sequence[str]],
) -> list[Round]:
    of_all = _said(student)
    of_each = [_said(lines) for lines in students] or [{} for _ in given]
    finetuning = None if finetune is None else _said(finetune)
    found = []
    for number, said in enumerate(of_each):
        base = given[min(number, len(given) - 1)]
        own = base.finetune if finetuning is None else finetuning
        found.append(Round(f"student {number + 1}", {**base.said, **of_all, **said}, own))
    return found


def _said(lines: Sequence[str], of_run: bool = False) -> dict[str, Any]:
    """The flags of an arm, parsed."""
    said = command_line.read_flags(lines).said
    for name in said:
        scope = SCOPES[name]
        if Scope.DECIDED in scope or (name in NOT_OF_THE_KEY and name not in FOLDERS_OF_AN_ARM):
            raise UserError(f"got --{name}, which the study or iterate decides itself; leave it out")
        if Scope.RUN in scope and not of_run:
            raise UserError(f"got --{name} among a student's flags, but it holds for the whole run; give it in flags")
        if not scope & (WITHOUT_STUDENTS | Scope.FINETUNE | OF_A_ROUND):
            raise UserError(f"got --{name}, which no stage of a run reads; leave it out")
    return dict(said)


def _serialised(values: FlagValues, scope: Scope) -> list[str]:
    names = [name for name, own in SCOPES.items() if own & scope and name not in NOT_OF_THE_KEY]
    lines = [str(values[name].serialize()) for name in names if values[name].present]
    return sorted(line for text in lines for line in text.split("\n") if line)


def _described(values: FlagValues, student: Round) -> dict[str, Any]:
    finetune = None if student.finetune is None else dict(student.finetune)
    return {"flags": _serialised(rounds.override(values, student.said), OF_A_ROUND), "finetune": finetune}
