"""Compares variable names, shapes and counts, and learning rates, with tables of the release."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from absl.flags import FlagValues
from tensorflow.python.ops.resource_variable_ops import UninitializedVariable

from efficientnet.model import EfficientNet
from efficientnet.variants import VARIANTS, ModelConfig
from flags import build, command_line
from tests.golden.checks import Checks
from training.config import OptimizerConfig
from training.schedule import learning_rate

NUM_CLASSES = 1000
LEARNING_RATE_TOLERANCE = 1e-6


def describe_variant(name: str) -> dict[str, Any]:
    """`params`, `total_with_bn_stats` and `variables` ([name, shape] in creation order) of our network.

    It is built of variables without memory: the largest variant has 480 M parameters.
    """

    def create(_: Any, **options: Any) -> tf.Variable:
        return UninitializedVariable(**{key: options[key] for key in ("name", "shape", "dtype", "trainable")})

    with tf.variable_creator_scope(create):
        model = EfficientNet(ModelConfig(name, NUM_CLASSES))
    return {
        "params": _count(model.trainable_variables),
        "total_with_bn_stats": _count(model.variables),
        "variables": [[name, variable.shape.as_list()] for name, variable in model.named_variables().items()],
    }


def _count(variables: list[tf.Variable]) -> int:
    return sum(variable.shape.num_elements() for variable in variables)


def compare_variables(reference: dict[str, Any]) -> dict[str, Any]:
    """Compares with the content of a `variables.json`: {variant: {params, total_with_bn_stats, variables}}; exact."""
    checks = Checks()
    for name, expected in reference.items():
        if name not in VARIANTS:
            checks.missing("variants", f"{name} is not one of ours")
            continue
        ours = describe_variant(name)
        for count in ("params", "total_with_bn_stats"):
            if count in expected:
                checks.absolute(count, ours[count], expected[count], 0.0, name)
        theirs = [[variable, list(shape)] for variable, shape in expected["variables"]]
        checks.absolute("number_of_variables", len(ours["variables"]), len(theirs), 0.0, name)
        differing = [pair for pair in zip(ours["variables"], theirs) if pair[0] != pair[1]]
        where = f"{differing[0][0]}, expected {differing[0][1]}" if differing else name
        checks.add("differing_names_or_shapes", len(differing), 0.0, where)
    return checks.report()


def compare_learning_rate(reference: list[dict[str, Any]]) -> dict[str, Any]:
    """Compares with the content of a `learning_rate.json`: [{flags, steps, learning_rate}]; 1e-6 relative."""
    checks = Checks()
    for index, table in enumerate(reference):
        config = optimizer_config(table["flags"])
        for step, expected in zip(table["steps"], table["learning_rate"]):
            ours = float(learning_rate(step, config))
            checks.relative("learning_rate", ours, expected, LEARNING_RATE_TOLERANCE, f"table {index}, step {step}")
    return checks.report()


def optimizer_config(flags: dict[str, Any]) -> OptimizerConfig:
    """What the flags of one table say."""
    given = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    values = command_line.define(FlagValues())
    values(["compare", "--label_data_dir=none", "--model_dir=none", *given])
    return build.train_config(values).optimizer


COMPARISONS: dict[str, Any] = {"variables": compare_variables, "learning_rate": compare_learning_rate}
