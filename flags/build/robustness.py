"""From flags to the config of `robustness`. No TensorFlow here."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Optional

from absl.flags import FlagValues

from checkpoints.description import Description
from data.tasks import Task
from efficientnet.variants import ModelConfig
from evaluation.robustness.config import OWN, PUBLISHED, AttackConfig, Network, RobustnessConfig, check_attack
from flags.build.evaluation import eval_split, split_config
from flags.build.parts import device_config
from flags.folders import needed
from flags.network import network_of, task_of
from pseudo_label.config import RoundConfig
from runtime.errors import UserError
from training.config import TrainConfig


def robustness_config(values: FlagValues, command: str = "") -> RobustnessConfig:
    """For `--mode=robustness`.

    Raises:
      UserError: flags that are missing or do not fit together, networks of different tasks.
    """
    checkpoints = [path.rstrip("/") or "/" for path in needed(values, "checkpoints", "the networks, the teacher first")]
    chosen = measures(values)
    networks, tasks = zip(*(_network(values, path) for path in checkpoints))
    _check_same_task(checkpoints, networks, tasks)
    named = tuple(
        Network(name, path, *network) for name, path, network in zip(names_of(checkpoints), checkpoints, networks)
    )
    data = (
        split_config(values, tasks[0], _split(values, tasks[0]))
        if set(chosen) & {*OWN, "o"} or values.data_dir
        else None
    )
    return RobustnessConfig(
        title="robustness",
        networks=named,
        output_dir=needed(values, "output_dir", "the folder of the page"),
        data=data,
        image_size=named[0].image_size,
        command=command,
        **_common(values, chosen),
    )


def rounds_robustness(
    values: FlagValues, teacher: TrainConfig, rounds: Sequence[RoundConfig], output_dir: str
) -> Optional[RobustnessConfig]:
    """For the last stage of `--mode=iterate`: the teacher and the outcome of every round; None if it is not asked for.

    Raises:
      UserError: flags that do not fit together, data without a test split.
    """
    if not values.robustness:
        return None
    chosen, names = measures(values), ["teacher"]
    for number, this in enumerate(rounds, start=1):
        names.append(f"student {number}" if this.finetune is None else f"student {number} finetuned")
    trainings = [teacher, *(this.outcome for this in rounds)]
    if set(chosen) & {*OWN, "o"} and teacher.evaluation is None:
        raise UserError(_without_test_split(teacher.data.task))
    return RobustnessConfig(
        title="robustness",
        networks=tuple(
            Network(name, training.model_dir, training.model, training.data.image_size)
            for name, training in zip(names, trainings)
        ),
        output_dir=output_dir,
        data=teacher.evaluation,
        image_size=teacher.data.image_size,
        **_common(values, chosen),
    )


def _common(values: FlagValues, chosen: tuple[str, ...]) -> dict[str, Any]:
    """What both modes have in common."""
    return {
        "measures": chosen,
        "robustness_dir": _robustness_dir(values, chosen),
        "every": values.every,
        "attack": attack_config(values),
        "seed": values.seed,
        "num_processes": values.num_processes,
        "eval_batch_size": values.eval_batch_size,
        "use_averages": values.use_averages,
        "device": device_config(values),
    }


def _robustness_dir(values: FlagValues, chosen: tuple[str, ...]) -> str:
    published = [name for name in chosen if name in PUBLISHED]
    if published and not values.robustness_dir:
        raise UserError(
            f"--robustness_dir is missing: --robustness={','.join(published)} needs it, the folder of the published sets"
        )
    return values.robustness_dir or ""


def measures(values: FlagValues) -> tuple[str, ...]:
    """What --robustness asks for, in the order of the page.

    Raises:
      UserError: nothing, or something unknown.
    """
    given = [
        name.strip() for name in needed(values, "robustness", "what to measure, e.g. generated,fgsm,pgd").split(",")
    ]
    known = (*OWN, *PUBLISHED)
    for name in given:
        if name not in known:
            raise UserError(f"--robustness: got {name!r}, expected some of {', '.join(known)}, separated by commas")
    return tuple(name for name in known if name in given)


def attack_config(values: FlagValues) -> AttackConfig:
    """How FGSM and PGD attack.

    Raises:
      UserError: a value that no attack can use.
    """
    try:
        epsilons = tuple(float(text) for text in values.epsilons.split(","))
    except ValueError:
        raise UserError(
            f"--epsilons: got {values.epsilons!r}, expected numbers separated by commas, e.g. 0,2,4,8,16"
        ) from None
    attack = AttackConfig(
        epsilons=tuple(dict.fromkeys(epsilons)),
        steps=values.pgd_steps,
        step_size=values.pgd_step_size,
        random_start=values.pgd_random_start,
        targeted=values.pgd_targeted,
        seed=values.seed,
    )
    check_attack(attack)
    return attack


def _network(values: FlagValues, path: str) -> tuple[tuple[ModelConfig, int], Task]:
    """((architecture, pixels), task) of a checkpoint."""
    described = Description.beside(path)
    task = task_of(values, described)
    return network_of(values, task, described), task


def _split(values: FlagValues, task: Task) -> str:
    split = eval_split(values, task)
    if not split:
        raise UserError(_without_test_split(task))
    return split


def _without_test_split(task: Task) -> str:
    published = ", ".join(name for name in PUBLISHED if name != "o")
    return (
        f"--robustness: the data of --task_name={task.name} have no test split; prepare them with test images, or ask for "
        f"published sets alone ({published})"
    )


def _check_same_task(
    checkpoints: Sequence[str], networks: Sequence[tuple[ModelConfig, int]], tasks: Sequence[Task]
) -> None:
    for path, (model, _), task in zip(checkpoints[1:], networks[1:], tasks[1:]):
        first = networks[0][0]
        if model.num_classes != first.num_classes or task.has_other_classes(tasks[0]) or task.name != tasks[0].name:
            raise UserError(
                f"--checkpoints: {checkpoints[0]} is a network of {tasks[0].name} with {first.num_classes} classes, {path} one "
                f"of {task.name} with {model.num_classes}; compare networks of one task"
            )


def names_of(checkpoints: list[str]) -> list[str]:
    """A short name for each network: the folders of its path in which it differs from the others."""
    parts = [path.split("/") for path in checkpoints]
    if len(parts) == 1:
        return [parts[0][-1] or checkpoints[0]]
    common = len(list(itertools.takewhile(lambda folders: len(set(folders)) == 1, zip(*parts))))
    names = ["/".join(each[common:]) or checkpoints[index] for index, each in enumerate(parts)]
    return names if len(set(names)) == len(names) else [f"{name} ({number})" for number, name in enumerate(names, 1)]
