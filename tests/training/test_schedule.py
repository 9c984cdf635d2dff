from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import pytest
import tensorflow as tf

from flags import build
from tests.flags.parsing import parsed
from tests.golden.compare_tables import compare_learning_rate
from training.config import OptimizerConfig
from training.schedule import averaging_decay, decay_epochs, learning_rate, steps_per_epoch

REFERENCE = os.path.join(os.path.dirname(__file__), os.pardir, "golden", "learning_rate.json")

# 10 steps an epoch: the warm-up ends at step 50, decays come every 24 steps.
SHORT = OptimizerConfig(train_steps=200, train_batch_size=256, num_train_images=2560, base_learning_rate=0.1)


def test_every_rate_is_the_release_s() -> None:
    with open(REFERENCE) as file:
        result = compare_learning_rate(json.load(file))
    assert result["ok"], result


@pytest.mark.parametrize(
    ("changes", "table"),
    [
        (
            {},
            {0: 0.0, 1: 0.002, 49: 0.098, 50: 0.1 * 0.97**2, 71: 0.1 * 0.97**2, 72: 0.1 * 0.97**3, 199: 0.1 * 0.97**8},
        ),
        ({"train_ratio": 2.0}, {49: 0.098, 50: 0.1 * 0.97, 95: 0.1 * 0.97, 96: 0.1 * 0.97**2}),
        ({"train_batch_size": 128}, {0: 0.0, 99: 0.05 * 0.99, 100: 0.05 * 0.97**2, 144: 0.05 * 0.97**3}),
        # Half of the labeled images stay: the batch counts as 128 of 2560.
        ({"label_data_sample_prob": 0.5}, {99: 0.05 * 0.99, 100: 0.05 * 0.97**2, 143: 0.05 * 0.97**2}),
        ({"train_last_step_num": 150}, {0: 0.1 * 0.97**2, 21: 0.1 * 0.97**2, 22: 0.1 * 0.97**3, 149: 0.1 * 0.97**8}),
        ({"train_last_step_num": 190}, {0: 0.02, 39: 0.098, 40: 0.1 * 0.97**2}),
        # 15 epochs behind the warm-up, 5 decays: one every 3 epochs.
        ({"final_base_lr": 0.1 * 0.97**5}, {49: 0.098, 50: 0.097, 59: 0.097, 61: 0.1 * 0.97**2, 151: 0.1 * 0.97**5}),
    ],
)
def test_rate_on_both_sides_of_each_boundary(changes: dict[str, Any], table: dict[int, float]) -> None:
    config = dataclasses.replace(SHORT, **changes)
    for step, expected in table.items():
        assert float(learning_rate(step, config)) == pytest.approx(expected, rel=1e-5), step


@pytest.mark.parametrize(
    ("flags", "steps_to_train", "table"),
    [
        # 301 steps, entered at 301 - 76 = 225; a decay every 24 x 1.5 = 36 steps: 225 / 36 = 6.25, 252 / 36 = 7, 288 / 36 = 8.
        (
            ("--train_ratio=1.5", "--train_steps=201", "--train_last_step_num=51"),
            76,
            [[0, 0.1 * 0.97**6], [26, 0.1 * 0.97**6], [27, 0.1 * 0.97**7], [62, 0.1 * 0.97**7], [63, 0.1 * 0.97**8]],
        ),
        # 100 steps, entered at 60; a decay every 12 steps.
        (
            ("--train_ratio=0.5", "--train_steps=200", "--train_last_step_num=80"),
            40,
            [[0, 0.1 * 0.97**5], [11, 0.1 * 0.97**5], [12, 0.1 * 0.97**6], [39, 0.1 * 0.97**8]],
        ),
        # 300 steps, all of them.
        (
            ("--train_ratio=1.5", "--train_steps=200"),
            300,
            [[0, 0.0], [49, 0.098], [50, 0.1 * 0.97], [71, 0.1 * 0.97], [72, 0.1 * 0.97**2], [299, 0.1 * 0.97**8]],
        ),
    ],
)
def test_the_ratio_stretches_the_schedule_and_its_last_part(
    flags: tuple[str, ...], steps_to_train: int, table: list[list[float]]
) -> None:
    given = ("--label_data_dir=x", "--model_dir=x", "--num_train_images=2560", "--train_batch_size=256")
    config = build.train_config(parsed(*given, "--base_learning_rate=0.1", *flags)).optimizer
    assert config.steps_to_train == steps_to_train
    for step, expected in table:
        assert float(learning_rate(int(step), config)) == pytest.approx(expected, rel=1e-5), step


def test_rate_is_the_same_in_a_graph_with_the_step_as_a_variable() -> None:
    step = tf.Variable(71, dtype=tf.int64)
    rate = tf.function(lambda: learning_rate(step, SHORT), jit_compile=True)
    assert float(rate()) == pytest.approx(0.1 * 0.97**2, rel=1e-5)
    step.assign_add(1)
    assert float(rate()) == pytest.approx(0.1 * 0.97**3, rel=1e-5)


def test_epochs_between_decays() -> None:
    assert steps_per_epoch(SHORT) == 10.0
    assert decay_epochs(SHORT) == pytest.approx(2.4)
    assert decay_epochs(dataclasses.replace(SHORT, train_ratio=2.0)) == pytest.approx(4.8)
    assert decay_epochs(dataclasses.replace(SHORT, final_base_lr=0.1 * 0.97**5)) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        (1, 2 / 11),
        (2, 3 / 12),
        (100, 101 / 110),
        (89_989, 89_990 / 89_999),
        (89_990, 0.9999),
        (89_991, 0.9999),
        (10_000_000, 0.9999),
    ],
)
def test_averaging_decay_on_both_sides_of_its_limit(updates: int, expected: float) -> None:
    assert 1 - float(averaging_decay(updates, 0.9999)) == pytest.approx(1 - expected, abs=6e-8)


def test_averaging_decay_of_zero_follows_the_weights() -> None:
    assert float(averaging_decay(5, 0.0)) == 0.0
