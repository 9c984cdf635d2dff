"""From flags to the rooms' frozen configs, one file for each kind of mode, and the rules between flags with their messages.

Every function takes the FlagValues to read, so that two sets of flags can live in one process. Nothing is written, and only
small descriptions are read (task.json, model.json, the names of shards). No TensorFlow here.
"""

from __future__ import annotations

from flags.build.checkpoints import convert_config, export_config
from flags.build.evaluation import classify_config, evaluate_config
from flags.build.prepare import prepare_config
from flags.build.pseudo_labels import balance_config, predict_config, predict_with
from flags.build.robustness import robustness_config, rounds_robustness
from flags.build.training import train_config

__all__ = [
    "balance_config",
    "classify_config",
    "convert_config",
    "evaluate_config",
    "export_config",
    "predict_config",
    "predict_with",
    "prepare_config",
    "robustness_config",
    "rounds_robustness",
    "train_config",
]
