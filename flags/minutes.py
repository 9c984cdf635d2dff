"""--minutes: how many steps fit into the time. Some steps of the teacher are taken and measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from absl.flags import FlagValues

from flags import build
from flags import recipe as recipes
from flags.build import fast
from flags.changed import NOT_OF_TEACHERS, override
from flags.recipe import Facts, Flags
from runtime.errors import UserError
from training.config import TrainConfig

LEAST, MOST = 0.05, 8.0  # of the steps that the pictures want
SPARE = 0.9  # of the time: for balancing, the report, and for being wrong


class Budget(NamedTuple):
    """What was measured for --minutes, and what follows.

    Attributes:
      minutes: the time that was given.
      second: multiplications in a second.
      begin: seconds until a training's first steps are done.
      effort: what the steps of the recipe are multiplied by.
    """

    minutes: float
    second: float
    begin: float
    effort: float


def budget(values: FlagValues, facts: Facts, given: Flags, rounds: Sequence[Flags], ready: Flags) -> Budget:
    """Measures this machine and fits the recipe into --minutes.

    Raises:
      UserError: not even the least fits.
    """
    from training import speed

    print(f"measuring some steps, to see what fits into {values.minutes:g} minutes", flush=True)
    second, begin = speed.measure(_configs(values, recipes.recipe(facts, given, rounds, ready), rounds)[0], fast.find())
    seconds, effort = SPARE * 60 * values.minutes, 1.0
    for _ in range(8):  # fewer steps may mean fewer students
        made = recipes.recipe(dataclasses.replace(facts, effort=effort), given, rounds, ready)
        configs = _configs(values, made, rounds)
        work = sum(speed.work_of(config, facts.test) for config in configs) / second
        effort = min(max(effort * max(seconds - begin * len(configs), 0.0) / work, LEAST), MOST)
    if begin * len(configs) > seconds:
        least = begin * len(configs) / 60
        raise UserError(
            f"--minutes: got {values.minutes:g}, but to begin {len(configs)} trainings alone takes {least:.1f} minutes here; "
            "give more"
        )
    return Budget(values.minutes, second, begin, round(effort, 3))


def _configs(values: FlagValues, made: recipes.Recipe, rounds: Sequence[Flags]) -> list[TrainConfig]:
    """The trainings of a recipe, teacher first."""
    chosen = override(values, {choice.flag: choice.value for choice in made.run})
    if values.mode != "iterate":
        return [build.train_config(chosen)]
    nowhere = {"model_dir": "measured", "rounds": None, "teacher_model_path": None, "teacher_model_name": None}
    found = [build.train_config(override(chosen, {**NOT_OF_TEACHERS, **nowhere}))]
    for said, choices in zip(rounds or [{}] * len(made.rounds), made.rounds):
        changes = {**said, **{choice.flag: choice.value for choice in choices}}
        found.append(build.train_config(override(chosen, {**changes, **nowhere, "unlabel_data_dir": "measured"})))
    return found
