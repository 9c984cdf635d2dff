from __future__ import annotations

import types
from typing import Any

import numpy as np
import tensorflow as tf

from efficientnet.model import EfficientNet
from tests.efficientnet.tiny import tiny
from training.optimizer import apply_update
from training.state import TrainingState

WEIGHT, GAMMA, MEAN = (
    "net/conv2d/kernel",
    "net/tpu_batch_normalization/gamma",
    "net/tpu_batch_normalization/moving_mean",
)
WEIGHT_DECAY, LIMIT = 0.01, 0.25


def _state() -> Any:
    """Two weights and one statistic, with what `apply_update` asks of a `TrainingState`."""
    trainable = {WEIGHT: tf.Variable([1.0, -2.0]), GAMMA: tf.Variable([1.0])}
    statistics = {MEAN: tf.Variable([0.5])}
    everything = {**trainable, **statistics}
    return types.SimpleNamespace(
        step=tf.Variable(0, dtype=tf.int64),
        trainable=trainable,
        statistics=statistics,
        squares={name: tf.Variable(tf.ones_like(value)) for name, value in trainable.items()},
        momenta={name: tf.Variable(tf.zeros_like(value)) for name, value in trainable.items()},
        averages={name: tf.Variable(value.read_value()) for name, value in everything.items()},
    )


def _expected(updates: list[tuple[list[float], float, float, float]]) -> dict[str, np.ndarray]:
    """docs/release.md, section 6 in numpy, for updates of (gradient of the weight, of gamma, batch mean, rate)."""
    weight, gamma, mean = np.array([1.0, -2.0]), np.array([1.0]), np.array([0.5])
    values = {"weight": weight, "gamma": gamma}
    squares = {name: np.ones_like(value) for name, value in values.items()}
    momenta = {name: np.zeros_like(value) for name, value in values.items()}
    averages = {"weight": weight, "gamma": gamma, "mean": mean}
    for number, (weight_gradient, gamma_gradient, batch_mean, rate) in enumerate(updates, 1):
        gradients = {"weight": np.array(weight_gradient) + WEIGHT_DECAY * values["weight"], "gamma": gamma_gradient}
        for name, gradient in gradients.items():
            squares[name] = 0.9 * squares[name] + 0.1 * np.square(gradient)
            momenta[name] = 0.9 * momenta[name] + rate * gradient / np.sqrt(squares[name] + 1e-3)
            values[name] = values[name] - momenta[name]
        mean = 0.99 * mean + 0.01 * batch_mean
        decay = min(LIMIT, (1 + number) / (10 + number))
        for name, value in {**values, "mean": mean}.items():
            averages[name] = decay * averages[name] + (1 - decay) * value
    return {**values, "mean": mean, "squares": squares["weight"], "momentum": momenta["weight"], **_renamed(averages)}


def _renamed(averages: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"average_{name}": value for name, value in averages.items()}


def test_updates_are_the_formulas_of_the_release() -> None:
    """Three updates, of which the first two are below the limit of the averages' decay and the third is at it."""
    updates = [([0.5, 3.0], 0.2, 2.0, 0.0), ([-1.0, 0.1], -0.4, 4.0, 0.3), ([2.0, 2.0], 0.0, 1.0, 0.1)]
    state = _state()

    @tf.function
    def update(weight: tf.Tensor, gamma: tf.Tensor, mean: tf.Tensor, rate: tf.Tensor) -> None:
        apply_update(state, [weight, gamma], [mean], rate, WEIGHT_DECAY, LIMIT)

    for weight, gamma, mean, rate in updates:
        update(tf.constant(weight), tf.constant([gamma]), tf.constant([mean]), tf.constant(rate))
    expected = _expected(updates)
    ours = {
        "weight": state.trainable[WEIGHT],
        "gamma": state.trainable[GAMMA],
        "mean": state.statistics[MEAN],
        "squares": state.squares[WEIGHT],
        "momentum": state.momenta[WEIGHT],
        "average_weight": state.averages[WEIGHT],
        "average_gamma": state.averages[GAMMA],
        "average_mean": state.averages[MEAN],
    }
    for name, variable in ours.items():
        np.testing.assert_allclose(variable.numpy(), expected[name], rtol=1e-5, err_msg=name)
    assert int(state.step) == 3


def test_a_fresh_state_has_squares_of_one_and_averages_of_the_weights() -> None:
    state = TrainingState(EfficientNet(tiny()))
    assert all(np.all(squares.numpy() == 1) for squares in state.squares.values())
    assert not any(momentum.numpy().any() for momentum in state.momenta.values())
    named = state.model.named_variables()
    assert set(state.averages) == set(named)
    assert all(np.array_equal(average, named[name]) for name, average in state.averages.items())


def test_weight_decay_spares_batch_norms_alone() -> None:
    state = TrainingState(EfficientNet(tiny()))
    decayed = {variable.name.split(":")[0] for variable in state.decayed()}
    spared = set(state.trainable) - decayed
    assert {name.split("/")[-1] for name in spared} == {"gamma", "beta"}
    assert {name.split("/")[-1] for name in decayed} == {"kernel", "depthwise_kernel", "bias"}


def test_frozen_variables_have_neither_average_nor_slot() -> None:
    state = TrainingState(EfficientNet(tiny(fix_layer_num=1)))
    root = ("efficientnet-b0/stem/", "efficientnet-b0/blocks_0/")
    held = [*state.trainable, *state.statistics, *state.squares, *state.momenta, *state.averages]
    assert held
    assert not [name for name in held if name.startswith(root)]
    assert [name for name in state.named_variables() if name.startswith(root)]
