"""From what the networks answered to robustness.json: which sections there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from evaluation.bootstrap import LEVEL, RESAMPLES
from evaluation.robustness.config import RobustnessConfig
from evaluation.robustness.own_results import fgsm, generated_corruptions, generated_perturbations, pgd
from evaluation.robustness.published_results import (
    accuracies,
    outside,
    published_corruptions,
    published_perturbations,
    real,
    subset,
)
from evaluation.robustness.sections import Measured

_SECTIONS: Mapping[str, Sequence[Callable[[RobustnessConfig, Mapping[str, Measured]], dict[str, Any]]]] = {
    "generated": (generated_corruptions, generated_perturbations),
    "fgsm": (fgsm,),
    "pgd": (pgd,),
    "c": (published_corruptions,),
    "p": (published_perturbations,),
    "a": (subset("a"),),
    "r": (subset("r"),),
    "o": (outside,),
    "v2": (accuracies("v2"),),
    "sketch": (accuracies("sketch"),),
    "real": (real,),
}


def collect(config: RobustnessConfig, measured: Mapping[str, Measured]) -> dict[str, Any]:
    """The content of robustness.json, from what was measured in each part."""
    sections = [section(config, measured) for name in config.measures for section in _SECTIONS[name]]
    return {
        "networks": [
            {
                "name": network.name,
                "checkpoint": network.checkpoint,
                "model": network.model.name,
                "image_size": network.image_size,
            }
            for network in config.networks
        ],
        "task": config.data.task.name if config.data else None,
        "every": config.every,
        "seed": config.seed,
        "level": LEVEL,
        "resamples": RESAMPLES,
        "command": config.command,
        "sections": sections,
    }
