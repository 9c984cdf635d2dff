"""Batch norm over groups of replicas: two devices against sums written out by hand, and the groups that a TPU is given."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from runtime.errors import UserError
from tests.training.replicas import RATE
from training import batch_norm_groups

EPSILON, MOMENTUM, RMS_DECAY, RMS_EPSILON = 1e-3, 0.99, 0.9, 1e-3
CHANNELS = 5
SPACE = (0, 1, 2)


@pytest.fixture(scope="module")
def inputs():
    generator = np.random.default_rng(0)
    # The replicas' images differ in mean and scale, so that shared statistics are far from local ones.
    images = generator.normal([[-1.0], [2.0]], [[0.5], [3.0]], [2, 3 * 4 * 4 * CHANNELS]).reshape(2, 3, 4, 4, CHANNELS)
    values = {"images": images, "weights": generator.normal(size=images.shape)}
    values.update({name: generator.normal(size=[CHANNELS]) for name in ("gamma", "beta", "moving_mean")})
    values["moving_variance"] = generator.uniform(0.5, 2.0, [CHANNELS])
    return {name: value.astype(np.float32) for name, value in values.items()}


def by_hand(inputs, group):
    """What one step gives, in float64: every group of replicas is one batch."""
    values = {name: value.astype(np.float64) for name, value in inputs.items()}
    outputs, input_gradients = np.empty_like(values["images"]), np.empty_like(values["images"])
    gradients = {"gamma": np.zeros(CHANNELS), "beta": np.zeros(CHANNELS)}
    means, variances = [], []
    for first in range(0, 2, group):
        images = np.concatenate(values["images"][first : first + group])
        weights = np.concatenate(values["weights"][first : first + group])
        mean, variance = images.mean(SPACE), images.var(SPACE)
        deviation = np.sqrt(variance + EPSILON)
        normal = (images - mean) / deviation
        shape = outputs[first : first + group].shape
        outputs[first : first + group] = (normal * values["gamma"] + values["beta"]).reshape(shape)
        centred = weights - weights.mean(SPACE) - normal * (weights * normal).mean(SPACE)
        input_gradients[first : first + group] = (values["gamma"] / deviation * centred).reshape(shape)
        gradients["gamma"] += (weights * normal).sum(SPACE)
        gradients["beta"] += weights.sum(SPACE)
        means.append(mean)
        variances.append(variance)
    found = {"outputs": outputs, "input_gradients": input_gradients}
    for name, gradient in gradients.items():
        squares = RMS_DECAY + (1 - RMS_DECAY) * gradient**2
        found[name] = values[name] - RATE * gradient / np.sqrt(squares + RMS_EPSILON)
    found["moving_mean"] = MOMENTUM * values["moving_mean"] + (1 - MOMENTUM) * np.mean(means, 0)
    found["moving_variance"] = MOMENTUM * values["moving_variance"] + (1 - MOMENTUM) * np.mean(variances, 0)
    return found


@pytest.fixture(scope="module")
def on_two_devices(inputs, tmp_path_factory):
    """What one step gives on two devices, by groups of one and of two."""
    folder = tmp_path_factory.mktemp("replicas")
    given, got = str(folder / "inputs.npz"), str(folder / "outputs.npz")
    np.savez(given, **inputs)
    command = [sys.executable, "-m", "tests.training.replicas", given, got, "1", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(got) as found:
        return dict(found)


@pytest.mark.parametrize("group", [1, 2])
def test_two_devices_give_what_the_sums_give(inputs, on_two_devices, group):
    for name, expected in by_hand(inputs, group).items():
        np.testing.assert_allclose(on_two_devices[f"{group}/{name}"], expected, rtol=2e-4, atol=2e-4, err_msg=name)
    assert on_two_devices[f"{group}/global_step"] == 1


class SixteenCores(tf.distribute.TPUStrategy):
    """A TPU strategy without a TPU: all that is asked of it is how many replicas it has."""

    def __init__(self):
        pass

    @property
    def num_replicas_in_sync(self):
        return 16


def test_a_tpu_is_given_the_release_s_groups_forward_and_backward():
    strategy = SixteenCores()
    size = batch_norm_groups.group_size(-1, strategy.num_replicas_in_sync)
    mean = batch_norm_groups.cross_replica_mean(strategy, size)
    assert mean is not None

    @tf.function(autograph=False)
    def gradient(values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            first, second = mean([values, values * 2.0])
            loss = tf.reduce_sum(first * second)
        return tape.gradient(loss, values)

    graph = gradient.get_concrete_function(tf.TensorSpec([3])).graph
    sums = [operation for operation in graph.get_operations() if operation.type == "CrossReplicaSum"]
    assert len(sums) == 4  # two forward, and the gradient of each
    groups = [list(range(8)), list(range(8, 16))]
    for operation in sums:
        assert tf.get_static_value(operation.inputs[1]).tolist() == groups


def test_groups_within_the_replicas_need_a_tpu():
    class FourDevices:
        num_replicas_in_sync = 4

    message = "--num_shards_per_group: groups of 2 of 4 replicas exist on TPUs only; pass 1 or 4"
    with pytest.raises(UserError, match=message):
        batch_norm_groups.cross_replica_mean(FourDevices(), 2)
    assert batch_norm_groups.cross_replica_mean(FourDevices(), 1) is None
