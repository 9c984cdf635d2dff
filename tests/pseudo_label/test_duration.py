"""How long a run is said to take."""

from __future__ import annotations

import dataclasses

import pytest

from data.config import DataConfig, SplitConfig
from data.tasks import TASKS
from efficientnet.variants import ModelConfig
from pseudo_label.config import PredictConfig
from pseudo_label.duration import TO_BEGIN, Duration, in_words
from pseudo_label.manifest import Stage
from training import speed
from training.config import OptimizerConfig, TrainConfig

TASK = dataclasses.replace(TASKS["folder"], num_classes=3, num_images={"train": 12, "unlabeled": 500, "test": 60})
MODEL = ModelConfig("efficientnet-b0", 3, width_coefficient=0.2)
DATA = DataConfig(TASK, "labeled", image_size=32)


def training(steps=100, ratio=0.0, **changes):
    return TrainConfig("teacher", MODEL, DATA, OptimizerConfig(steps, 8, 12, unlabel_ratio=ratio), "model", **changes)


def stage(name, config):
    return Stage(name, lambda config: None, config, lambda: False)


def test_work_grows_with_steps_and_pictures():
    assert speed.work_of(training(200)) == 2 * speed.work_of(training(100))
    assert speed.work_of(training(100, ratio=3.0)) == 4 * speed.work_of(training(100))
    measured = training(evaluation=SplitConfig(TASK, "labeled"), steps_per_eval=50)
    extra = speed.work_of(measured, 60) - speed.work_of(training())
    assert extra == pytest.approx(2 * 60 * speed.work_of_image(MODEL, 32))


def test_the_estimate_is_put_right_by_the_first_steps(capsys):
    first, labels, second = (
        stage("teacher", training()),
        stage("round1/predict", PredictConfig("predict", MODEL, "model", "unlabeled", "out", 32)),
        stage("round1/student", training(ratio=3.0)),
    )
    now = [0.0]
    work = speed.work_of(first.config) * 5 + 500 * speed.work_of_image(MODEL, 32)
    duration = Duration([first, labels, second], TASK, second=work / 120, clock=lambda: now[0])
    assert duration.before().startswith("this run takes about 2 minutes (an estimate")
    now[0] = 60.0
    # Ten times as slow: 5 x 100 steps of as many pictures, and those to label.
    duration.paced(first)(speed.work_of_step(first.config) / (work / 1200))
    left = 1200 + 3 * TO_BEGIN
    expected = f"teacher: the whole run takes about {in_words(60 + left)}, {in_words(left)} from now\n"
    assert capsys.readouterr().out == expected
    duration.done("teacher")
    duration.done("round1/predict")
    duration.done("round1/student")
    assert duration.before().startswith("this run takes about 10 seconds")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "10 seconds"), (44, "40 seconds"), (50, "1 minute"), (100, "2 minutes"), (5000, "83 minutes"),
     (6000, "2 hours"), (200_000, "2 days")],
)  # fmt: skip
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


def test_this_machine_s_speed_is_a_speed():
    assert 1e7 < speed.estimate() < 1e15
