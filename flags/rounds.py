"""`--mode=iterate`: the students of --rounds, and the config of every stage, all made before anything runs.

    --rounds=efficientnet-b0:4,efficientnet-b1:4     MODEL:RATIO
    --rounds=@student.flags                          @FILE, a flag file of the student's own flags
    --finetune=finetune.flags                        a flag file

The teacher is what the command line's own flags describe, or the checkpoint of --teacher_model_path. A round (its labels, their
balancing, its student) has the command line's flags but for what --rounds says of it. A finetuned network has its student's flags
but for what the file of --finetune says, and sees no unlabeled images. A flag's scope (`flags/kinds.py`) says who may give it.
Where the stages' folders lie is written at the head of `runtime/work_dir.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from absl.flags import FlagValues

from checkpoints.config import ConvertConfig
from checkpoints.description import Description
from data.prepare.config import PrepareConfig
from efficientnet.variants import VARIANTS
from flags import build, command_line
from flags.definitions import SCOPES
from flags.folders import count_shards, in_data_dir, needed
from flags.kinds import Scope
from flags.network import teacher_of
from pseudo_label.config import IterateConfig, RoundConfig
from runtime.errors import UserError
from runtime.work_dir import (
    balanced_dir,
    data_dir,
    finetuned_dir,
    predictions_dir,
    robustness_dir,
    student_dir,
    teacher_dir,
)
from training.config import TrainConfig

# Tasks that `prepare` makes of nothing but what is installed.
BUILT_IN_TASKS = ("digits",)
OF_A_ROUND = Scope.PREDICT | Scope.BALANCE | Scope.STUDENT | Scope.ITERATE
# Neither the teacher nor a finetuning reads them: both train on labeled images alone.
NOT_OF_TEACHERS = {name: None for name, scope in SCOPES.items() if Scope.TEACHER not in scope}

Changes = Mapping[str, Any]  # {flag: value}; None is the flag's default


class Round(NamedTuple):
    """One student as --rounds describes it.

    Attributes:
      title: names it in messages.
      said: the flags in which the round differs from the command line.
      finetune: those in which the finetuning differs from the student; None if there is no finetuning.
    """

    title: str
    said: Changes
    finetune: Optional[Changes]


def iterate_config(values: FlagValues, command: str = "", students: Optional[Sequence[Round]] = None) -> IterateConfig:
    """For `--mode=iterate`.

    Args:
      values: the flags.
      command: the command line to show in the report.
      students: instead of those of --rounds.

    Raises:
      UserError: flags that are missing or do not fit together, in the command line or in a round.
    """
    work_dir = needed(values, "work_dir", "the folder of all stages").rstrip("/") or "/"
    _check_given(values)
    rounds = read_rounds(values) if students is None else students
    if values.source_dir and values.task_name not in BUILT_IN_TASKS:
        values = _prepared(values, work_dir)
    prepare = _prepare_config(values, work_dir)
    if prepare:
        labeled, images = (os.path.join(prepare.data_dir, folder) for folder in ("labeled", "unlabeled"))
    else:
        labeled = values.label_data_dir or in_data_dir(values, "labeled", "label_data_dir", "the labeled shards")
        images = values.unlabel_data_dir or in_data_dir(values, "unlabeled", "unlabel_data_dir", "plain images")
    num_shards = prepare.num_shards if prepare else count_shards(values, images)
    # The task's description does not exist before prepare has run; not to read it later either keeps a continued run's
    # configs equal to the first one's.
    common = {"label_data_dir": labeled, "num_shards": num_shards}
    of_teacher = {**NOT_OF_TEACHERS, **common, "model_dir": teacher_dir(work_dir)}
    ready = None
    if values.teacher_model_path or values.teacher_model_name:
        teacher, ready = _ready_teacher(values, of_teacher)
        values = override(values, {"teacher_model_path": None, "teacher_model_name": None})
    else:
        teacher = build.train_config(override(values, of_teacher), "teacher")
    stages = []
    network = teacher
    for number, this in enumerate(rounds, start=1):
        with _said_of(this.title):
            stages.append(_round_config(override(values, common), this, number, work_dir, images, network))
        network = stages[-1].outcome
    robustness = build.rounds_robustness(values, teacher, stages, robustness_dir(work_dir))
    return IterateConfig(work_dir, teacher, tuple(stages), prepare, ready, robustness, command)


def _check_given(values: FlagValues) -> None:
    for name, scope in SCOPES.items():
        if Scope.DECIDED in scope and values[name].present:
            raise UserError(f"--{name} is given, but --mode=iterate decides it for every stage itself; leave it out")
    if values["unlabel_ratio"].present:
        raise UserError(
            "--unlabel_ratio is given, but in --mode=iterate every student has its own; write it in --rounds, as MODEL:RATIO or "
            "in the student's flag file"
        )


# --- the students ---------------------------------------------------------------------------------------------------


def read_rounds(values: FlagValues) -> list[Round]:
    """Reads --rounds and --finetune, and the flag files that they name.

    Raises:
      UserError: neither MODEL:RATIO nor @FILE, an unknown model, a ratio that is not positive, a flag file that is not there, is
        broken or says what is not its to say; names the round.
    """
    given = needed(values, "rounds", "the students, e.g. efficientnet-b0:4,efficientnet-b1:4")
    found = []
    for number, entry in enumerate((entry for text in given for entry in _entries(text)), start=1):
        title = f"--rounds: round {number}" + (f" ({entry})" if entry.startswith("@") else "")
        with _said_of(title):
            said = _from_file(entry[1:]) if entry.startswith("@") else _from_words(entry)
            found.append(Round(title, said, _finetuning(said.get("finetune", values.finetune))))
    return found


def _entries(text: str) -> Iterator[str]:
    """MODEL:RATIO between commas; what begins with @ is a path to its end."""
    while True:
        text = text.strip()
        entry, comma, text = (text, "", "") if text.startswith("@") else text.partition(",")
        yield entry.strip()
        if not comma:
            return


def _from_words(entry: str) -> Changes:
    name, *parts = entry.split(":")
    if not parts:
        raise UserError(f"got {entry!r}, expected MODEL:RATIO, e.g. efficientnet-b0:4, or @FILE, a student's flag file")
    if len(parts) > 1:
        lines = [f"--model_name={name}", f"--unlabel_ratio={parts[0]}", *(f"--{part}" for part in parts[1:])]
        raise UserError(
            f"got {entry!r}, expected MODEL:RATIO; write the student's flags into a file, one a line ({', '.join(lines)}), and "
            "give --rounds=@FILE"
        )
    _check_model(name)
    try:
        ratio = float(parts[0])
    except ValueError:
        ratio = 0.0
    if not 0 < ratio < float("inf"):
        raise UserError(f"got {parts[0]!r}, expected an unlabeled ratio above 0")
    return {"model_name": name, "unlabel_ratio": ratio}


def _check_model(name: str) -> None:
    if name not in VARIANTS:
        raise UserError(f"got {name!r}, expected one of {', '.join(VARIANTS)}")


def _from_file(path: str) -> Changes:
    if "," in path and "://" not in path and not os.path.exists(path):
        raise UserError(
            f"there is no flag file {path}; commas are part of a path: repeat --rounds for the next student"
        )
    file = command_line.read_flag_file(path)
    _check_scopes(file, OF_A_ROUND, "no stage of a round reads")
    if "model_name" in file.said:
        with _said_of(f"{file.places['model_name']}: --model_name"):
            _check_model(file.said["model_name"])
    if not file.said.get("unlabel_ratio"):
        raise UserError(
            "--unlabel_ratio is missing: a student needs unlabeled images; say how many for a labeled one, above 0"
        )
    return file.said


def _finetuning(path: Optional[str]) -> Optional[Changes]:
    if not path:
        return None
    with _said_of("--finetune"):
        if "=" in path and not os.path.exists(path):
            lines = ", ".join(f"--{part}" for part in os.path.basename(path).split(":"))
            raise UserError(f"got {path!r}, expected a flag file; write the flags into one, a flag a line ({lines})")
        file = command_line.read_flag_file(path)
        _check_scopes(file, Scope.FINETUNE, "finetuning does not read")
        return file.said


def _check_scopes(file: command_line.FlagFile, scope: Scope, otherwise: str) -> None:
    """Raises UserError if the flag file says what is not its to say."""
    for name, place in file.places.items():
        if Scope.RUN in SCOPES[name]:
            raise UserError(f"{place}: got --{name}, which holds for the whole run; give it on the command line")
        if Scope.DECIDED in SCOPES[name]:
            raise UserError(f"{place}: got --{name}, which --mode=iterate decides itself; leave it out")
        if not SCOPES[name] & scope:
            of_student = SCOPES[name] & (Scope.STUDENT | Scope.ITERATE)
            raise UserError(
                f"{place}: got --{name}, which {'the student decides' if of_student else otherwise}; leave it out"
            )


@contextlib.contextmanager
def _said_of(title: str) -> Iterator[None]:
    """Names what a UserError is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{title}: {error}") from error


def override(values: FlagValues, changes: Changes) -> FlagValues:
    """A copy of our flags with some changed; None puts a flag back to its default."""
    copy = command_line.define(FlagValues())
    for name in copy:
        given = changes[name] is not None if name in changes else values[name].present
        if given:
            value = changes[name] if name in changes else values[name].value
            copy[name].value = list(value) if isinstance(value, list) else value
            copy[name].present = 1
    copy.mark_as_parsed()
    return copy


# --- the stages -----------------------------------------------------------------------------------------------------


def _ready_teacher(values: FlagValues, of_teacher: Changes) -> tuple[TrainConfig, ConvertConfig]:
    """What is known of the teacher that --teacher_model_path names, and how it comes into the work_dir."""
    path = needed(values, "teacher_model_path", "the checkpoint of --teacher_model_name")
    described = Description.beside(path)
    name = values.teacher_model_name or (described.model.name if described else "")
    if not name:
        raise UserError(
            f"--teacher_model_name is missing: there is no model.json beside {path} to say which network it is"
        )
    if values.init_model or values.init_model_path:
        raise UserError(
            "--init_model is given with --teacher_model_path, a teacher that is not trained; leave one of them out"
        )
    training = build.train_config(override(values, {**of_teacher, "model_name": name}), "teacher")
    named = override(values, {"teacher_model_name": name})
    model, image_size = teacher_of(named, training.model, training.data.image_size)
    data = dataclasses.replace(training.data, image_size=image_size, small_image_model=model.small_image_model)
    training = dataclasses.replace(training, model=model, data=data)
    return training, ConvertConfig(
        "teacher", model, path, training.model_dir, image_size, data.task, flag="teacher_model_path"
    )


def _prepared(values: FlagValues, work_dir: str) -> FlagValues:
    """Prepares the files in --source_dir, or finds them prepared, and returns the flags with the folder written as data_dir.

    This happens before the other stages' configs are made, because the files say which classes there are.
    """
    values = override(values, {"data_dir": values.data_dir or data_dir(work_dir)})
    importlib.import_module("data.prepare.run").prepare(build.prepare_config(values))
    return override(values, {"source_dir": None, "num_shards": None})


def _prepare_config(values: FlagValues, work_dir: str) -> Optional[PrepareConfig]:
    """How to prepare the data, if the task needs no files and none were named."""
    if values.task_name not in BUILT_IN_TASKS or values.data_dir or values.label_data_dir or values.unlabel_data_dir:
        return None
    return build.prepare_config(override(values, {"data_dir": data_dir(work_dir)}))


def _round_config(
    values: FlagValues, this: Round, number: int, work_dir: str, images: str, teacher: TrainConfig
) -> RoundConfig:
    predictions, balanced = predictions_dir(work_dir, number), balanced_dir(work_dir, number)
    predicting = override(
        values, {**this.said, "unlabel_data_dir": images, "output_dir": predictions, "shard_id": "all"}
    )
    student = override(
        values,
        {
            # What the teacher started from is of the teacher's architecture.
            "init_model": None,
            "init_model_path": None,
            "reset_head": None,
            **this.said,
            "noise_teacher": None,  # it predicts before the student trains
            "unlabel_data_dir": os.path.join(balanced, "data"),
            "model_dir": student_dir(work_dir, number),
        },
    )
    balancing = override(student, {"input_dir": images, "prediction_dir": predictions, "output_dir": balanced})
    return RoundConfig(
        build.predict_with(
            predicting,
            teacher.model,
            teacher.data.image_size,
            teacher.data.task,
            checkpoint=teacher.model_dir,
            title=f"round {number} predict",
        ),
        build.balance_config(balancing, f"round {number} balance"),
        build.train_config(student, f"round {number} student", (teacher.model, teacher.model_dir)),
        _finetune_config(student, this, number, work_dir),
    )


def _finetune_config(student: FlagValues, this: Round, number: int, work_dir: str) -> Optional[TrainConfig]:
    if this.finetune is None:
        return None
    values = override(
        student,
        {
            **NOT_OF_TEACHERS,
            **this.finetune,
            "init_model": True,
            "init_model_path": student.model_dir,
            "reset_head": None,
            "model_dir": finetuned_dir(work_dir, number),
        },
    )
    with _said_of("--finetune"):
        return build.train_config(values, f"round {number} finetune")
