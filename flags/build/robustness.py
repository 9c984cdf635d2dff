"""From flags to the config of `robustness`. No TensorFlow here."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from absl.flags import FlagValues

from checkpoints.description import Description
from data.tasks import Task
from efficientnet.variants import ModelConfig
from evaluation.robustness.config import OWN, PUBLISHED, AttackConfig, Network, RobustnessConfig, check_attack
from flags.build.evaluation import eval_split, split_config
from flags.build.parts import device_config
from flags.folders import needed
from flags.network import network_of, task_of
from runtime.errors import UserError


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
    data = split_config(values, tasks[0], _split(values, tasks[0])) if set(chosen) & set(OWN) else None
    return RobustnessConfig(
        title="robustness",
        networks=named,
        measures=chosen,
        output_dir=needed(values, "output_dir", "the folder of the page"),
        data=data,
        image_size=named[0].image_size,
        robustness_dir=values.robustness_dir or "",
        every=values.every,
        attack=attack_config(values),
        seed=values.seed,
        num_processes=values.num_processes,
        batch_size=values.eval_batch_size,
        use_averages=values.use_averages,
        device=device_config(values),
        command=command,
    )


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
        raise UserError(
            f"--robustness: the data of --task_name={task.name} have no test split; prepare them with test images, or ask for "
            f"published sets alone ({', '.join(PUBLISHED)})"
        )
    return split


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
