"""The recipe of a run on one's own pictures: made once, written beside the run, read by every later run.

    RUN/recipe/run.flags       what was given and what was chosen, each with its reason; `--flagfile` takes it
    RUN/recipe/roundN.flags    a student, in what it differs from the teacher; run.flags names it
    RUN/recipe/facts.json      what the choices follow from

RUN is the work_dir of `iterate`, or the model_dir of `train` and `train_and_eval`. It applies to tasks that are not built in.
What is chosen stands in `flags/recipe.py`.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, Optional

from absl.flags import FlagValues

from checkpoints.description import MODEL_FILE, Description
from data.tasks import TASKS
from flags import command_line, flag_text, students
from flags import recipe as recipes
from flags.changed import Changes, override
from flags.definitions import SCOPES
from flags.folders import in_data_dir
from flags.network import task_of
from flags.recipe import Choice, Facts
from runtime import machine
from runtime.errors import UserError
from runtime.files import read_text, write_faults, write_text
from runtime.work_dir import MANIFEST_FILE, recipe_dir

RUN_FILE, FACTS_FILE = "run.flags", "facts.json"
OWN_TASK = "folder"
BEGUN = (MANIFEST_FILE, MODEL_FILE)  # in a run's folder, if it has begun


def continued(values: FlagValues, folder: str) -> FlagValues:
    """The flags with those of the recipe in `folder`, if one was made there; what is given wins."""
    said = _read(folder) if may_apply(values) else None
    if said is None:
        return values
    typed = _noted(folder).get("rounds", [])
    rounds_again = values["rounds"].present and list(values.rounds) == typed and "rounds" in said
    given = [name for name in SCOPES if values[name].present and not (name == "rounds" and rounds_again)]
    return override(values, {name: value for name, value in said.items() if name not in given})


def with_recipe(values: FlagValues, folder: str, typed: Optional[FlagValues] = None) -> FlagValues:
    """The flags with a number for everything that was not given; writes the recipe if `folder` has none, and says it.

    Args:
      values: the flags, with the prepared data as --data_dir; of tasks that are built in they come back as they are.
      folder: of the run.
      typed: the flags as they were before the data were prepared, which the recipe repeats; default: `values`.

    Raises:
      UserError: nothing to train on, or a recipe that cannot be read or written.
    """
    if not applies(values) or (not _is_there(folder) and _has_begun(folder)):
        if values.minutes:
            raise UserError("--minutes: only the recipe for one's own pictures can be made for a time; leave it out")
        return values
    iterating = values.mode == "iterate"
    facts = facts_of(values)
    if iterating and not facts.unlabeled:
        raise UserError(
            "--mode=iterate: there is no unlabeled picture, so there can be no student; add some to unlabeled/, or train a "
            "teacher alone with --mode=train_and_eval"
        )
    given = {name: values[name].value for name in SCOPES if values[name].present}
    entries = students.entries(values.rounds) if iterating else []
    said = [each.said for each in students.read_rounds(values)] if entries else []
    ready = _ready_teacher(values)
    measured = {}
    if values.minutes and not _is_there(folder):
        budget = importlib.import_module("flags.minutes").budget(values, facts, given, said, ready)
        facts, measured = dataclasses.replace(facts, effort=budget.effort), budget._asdict()
    made = recipes.recipe(facts, given, said, ready)
    chosen: Changes = {choice.flag: choice.value for choice in made.run}
    path = os.path.join(recipe_dir(folder), RUN_FILE)
    if _is_there(folder):
        print(f"recipe: as {path} says")
        return override(values, chosen)
    with write_faults(folder, "work_dir" if iterating else "model_dir"):
        rounds = [
            _write_round(folder, number, changes, choices)
            for number, (changes, choices) in enumerate(zip(said or [{}] * len(made.rounds), made.rounds), start=1)
        ]
        noted = {"facts": dataclasses.asdict(facts), "rounds": list(values.rounds), "measured": measured}
        write_text(os.path.join(recipe_dir(folder), FACTS_FILE), json.dumps(noted, indent=1, sort_keys=True) + "\n")
        write_text(path, _run_text(facts, typed or values, made.run, [os.path.basename(round) for round in rounds]))
    for line in _said(path, facts, made):
        print(line)
    return override(values, {**chosen, **({"rounds": [f"@{round}" for round in rounds]} if rounds else {})})


def applies(values: FlagValues) -> bool:
    """Whether the task is a person's own."""
    return may_apply(values) and task_of(values).name == OWN_TASK


def facts_of(values: FlagValues) -> Facts:
    """What the flags' pictures and this machine are; reads a sample of the pictures."""
    labeled = values.label_data_dir or in_data_dir(values, "labeled", "label_data_dir", "the labeled shards")
    plain = values.unlabel_data_dir if values.mode == "iterate" else ""
    plain = plain or (os.path.join(values.data_dir, "unlabeled") if values.data_dir else "")
    found = importlib.import_module("data.facts").picture_facts(task_of(values), labeled, plain)
    device = importlib.import_module("runtime.devices").kind(values.tpu or "")
    return Facts(**dataclasses.asdict(found), device=device, memory=machine.memory())


def _ready_teacher(values: FlagValues) -> Changes:
    """The flags of the network that --teacher_model_path of `iterate` describes; none if it does not."""
    path = values.teacher_model_path if values.mode == "iterate" else None
    described = Description.beside(path) if path else None
    if described is None:
        return {}
    model = described.model
    return {
        "model_name": model.name,
        "width_coefficient": model.width_coefficient,
        "depth_coefficient": model.depth_coefficient,
        "small_image_model": model.small_image_model,
        "input_image_size": described.image_size,
    }


def may_apply(values: FlagValues) -> bool:
    """Whether the task is a person's own, as far as flags alone say."""
    named = values.task_name if values["task_name"].present else OWN_TASK
    return named not in TASKS or named == OWN_TASK


def _is_there(folder: str) -> bool:
    return read_text(os.path.join(recipe_dir(folder), RUN_FILE)) is not None


def _has_begun(folder: str) -> bool:
    """Whether a run began there without a recipe, as earlier versions did: it goes on without one."""
    return any(read_text(os.path.join(folder, name)) is not None for name in BEGUN)


def _read(folder: str) -> Optional[Changes]:
    path = os.path.join(recipe_dir(folder), RUN_FILE)
    return command_line.read_flag_file(path).said if _is_there(folder) else None


def _noted(folder: str) -> dict[str, Any]:
    path = os.path.join(recipe_dir(folder), FACTS_FILE)
    try:
        return dict(json.loads(read_text(path) or "{}"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); copy it again, or use another folder for the run") from error


# --- what is written and said ---------------------------------------------------------------------------------------


def _run_text(facts: Facts, typed: FlagValues, choices: Sequence[Choice], rounds: Sequence[str]) -> str:
    lines = [
        "# The recipe of this run. Change what you like: --flagfile takes this file, for this run or (with another folder)",
        "# for the next one.",
        f"# {facts.in_words()}",
        "",
        "# given",
    ]
    for name in SCOPES:
        if typed[name].present and not (name == "rounds" and rounds):
            lines += _lines(name, typed[name].value)
    lines += _with_reasons(choices)
    if rounds:
        lines += ["", "# the students, in order", *(f"--rounds=@{round}" for round in rounds)]
    return "\n".join(lines) + "\n"


def _write_round(folder: str, number: int, said: Changes, choices: Sequence[Choice]) -> str:
    path = os.path.join(recipe_dir(folder), f"round{number}.flags")
    lines = [f"# Student {number}, in what it differs from run.flags."]
    lines += ["", "# given"] if said else []
    lines += [line for name, value in said.items() for line in _lines(name, value)]
    write_text(path, "\n".join([*lines, *_with_reasons(choices)]) + "\n")
    return path


def _with_reasons(choices: Iterable[Choice]) -> list[str]:
    return [line for choice in choices for line in ("", f"# {choice.reason}", *_lines(choice.flag, choice.value))]


def _lines(flag: str, value: Any) -> list[str]:
    """A flag as a flag file has it; no value takes a flag back to its default."""
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no{flag}"]
    if flag == "finetune" and value and "://" not in value:
        value = os.path.abspath(value)  # in a file, a relative path counts from the file's folder
    if isinstance(value, (list, tuple)):
        return [flag_text.line(flag, str(each)) for each in value]
    return [flag_text.line(flag, "" if value is None else str(value))]


def _said(path: str, facts: Facts, made: recipes.Recipe) -> list[str]:
    """The recipe for the terminal: a line a choice."""
    lines = [f"recipe: {facts.in_words()}"]
    parts = [("", made.run), *((f"student {number}", choices) for number, choices in enumerate(made.rounds, start=1))]
    for title, choices in parts:
        width = max((len(_lines(choice.flag, choice.value)[0]) for choice in choices), default=0)
        lines += [f" {title}"] if title else []
        lines += [f"  {_lines(choice.flag, choice.value)[0]:<{width}}  {choice.reason}" for choice in choices]
    return [*lines, f"recipe: written to {path}; a flag that you give wins"]
