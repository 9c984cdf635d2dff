from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from efficientnet.model import EfficientNet
from evaluation.robustness.attacks import (
    Attacks,
    fgsm,
    in_range,
    loss_gradient,
    pgd,
    random_starts,
    random_targets,
    signs,
)
from evaluation.robustness.config import AttackConfig, check_attack
from runtime.errors import UserError
from tests.efficientnet.tiny import NUM_CLASSES, images, tiny

BATCH, SIDE, CLASSES = 3, 4, 5
EPSILONS = st.floats(0, 255, width=32)
STEPS = st.integers(1, 4)
SEEDS = st.integers(0, 2**31 - 1)


def smooth(pixels: tf.Tensor) -> tf.Tensor:
    """A network whose logits are linear, so that its loss is convex: no step against it can lower the loss."""
    weights = np.random.default_rng(1).normal(size=[SIDE * SIDE * 3, CLASSES]) / 255
    return tf.matmul(tf.reshape(pixels, [-1, SIDE * SIDE * 3]), tf.constant(weights, tf.float32))


def losses(pixels: tf.Tensor, labels: tf.Tensor) -> np.ndarray:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, smooth(pixels)).numpy()


# Compiled once for all examples.
@functools.cache
def attack(steps: int, starts: bool, targeted: bool, step_size: bool) -> Callable[..., tf.Tensor]:
    @functools.partial(tf.function, autograph=False)
    def run(pixels: tf.Tensor, labels: tf.Tensor, epsilon: tf.Tensor, start: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        options: dict[str, Any] = {"start": start if starts else None, "step_size": size if step_size else None}
        return pgd(smooth, pixels, labels, epsilon, steps=steps, targeted=targeted, **options)[0]

    return run


def drawn(seed: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Pixels, also 0 and 255 themselves, labels, and where to start."""
    generator = np.random.default_rng(seed)
    pixels = generator.uniform(-30, 285, [BATCH, SIDE, SIDE, 3])
    start = generator.uniform(-1, 1, [BATCH, SIDE, SIDE, 3])
    labels = generator.integers(0, CLASSES, BATCH)
    return in_range(tf.constant(pixels)), tf.constant(labels, tf.int32), tf.constant(start, tf.float32)


def one_fgsm(pixels: tf.Tensor, labels: tf.Tensor, epsilon: float) -> tf.Tensor:
    return fgsm(pixels, signs(loss_gradient(smooth, pixels, labels))[0], tf.constant(epsilon))


@given(SEEDS, EPSILONS, STEPS, st.booleans(), st.booleans(), st.booleans(), st.floats(0.125, 600, width=32))
def test_pgd_stays_in_the_ball_and_in_0_to_255(seed, epsilon, steps, starts, targeted, with_size, size):
    pixels, labels, start = drawn(seed)
    attacked = attack(steps, starts, targeted, with_size)(
        pixels, labels, tf.constant(epsilon), start, tf.constant(size)
    ).numpy()
    assert attacked.min() >= 0
    assert attacked.max() <= 255
    assert (
        np.abs(attacked.astype(np.float64) - pixels.numpy()).max() <= epsilon + 2e-5
    )  # half a float32's last bit at 255


@given(SEEDS, EPSILONS)
def test_fgsm_stays_in_the_ball_and_in_0_to_255_and_the_loss_does_not_fall(seed, epsilon):
    pixels, labels, _ = drawn(seed)
    attacked = one_fgsm(pixels, labels, epsilon)
    assert attacked.numpy().min() >= 0
    assert attacked.numpy().max() <= 255
    assert np.abs(attacked.numpy().astype(np.float64) - pixels.numpy()).max() <= epsilon + 2e-5
    assert (losses(attacked, labels) >= losses(pixels, labels) - 1e-4).all()


@given(SEEDS, STEPS, st.booleans(), st.booleans())
def test_epsilon_0_changes_nothing(seed, steps, starts, targeted):
    pixels, labels, start = drawn(seed)
    attacked = attack(steps, starts, targeted, False)(pixels, labels, tf.constant(0.0), start, tf.constant(1.0))
    np.testing.assert_array_equal(attacked, pixels)
    np.testing.assert_array_equal(one_fgsm(pixels, labels, 0.0), pixels)


@given(SEEDS, EPSILONS)
def test_pgd_of_one_step_of_epsilon_from_the_picture_is_fgsm(seed, epsilon):
    pixels, labels, start = drawn(seed)
    size = max(epsilon, 1.0)  # a step must have a size; with epsilon below 1 the ball cuts it
    attacked = attack(1, False, False, True)(pixels, labels, tf.constant(epsilon), start, tf.constant(size))
    np.testing.assert_allclose(attacked, one_fgsm(pixels, labels, epsilon), rtol=0, atol=2e-5)


@given(SEEDS, EPSILONS, STEPS)
def test_pgd_does_not_lower_the_loss_and_targeted_does_not_raise_the_target_s(seed, epsilon, steps):
    pixels, labels, start = drawn(seed)
    # A step that cannot leap over the target's minimum.
    arguments = (pixels, labels, tf.constant(min(epsilon, 8.0)), start, tf.constant(0.25))
    assert (losses(attack(steps, False, False, True)(*arguments), labels) >= losses(pixels, labels) - 1e-4).all()
    assert (losses(attack(steps, False, True, True)(*arguments), labels) <= losses(pixels, labels) + 1e-4).all()


def test_the_gradient_is_that_of_each_picture_s_own_loss():
    pixels, labels, _ = drawn(0)
    values = loss_gradient(smooth, pixels, labels)
    alone = loss_gradient(smooth, pixels[1:2], labels[1:2])
    np.testing.assert_allclose(values[1:2], alone, rtol=1e-5)
    moved = pixels.numpy().copy()
    moved[1, 2, 1, 0] += 1e-1
    slope = (losses(tf.constant(moved), labels) - losses(pixels, labels))[1] / 1e-1
    assert slope == pytest.approx(values.numpy()[1, 2, 1, 0], abs=2e-4)


def test_values_without_a_gradient_are_counted_and_stay():
    gradient = tf.constant([[[[1.0, -2.0, 0.0]]], [[[float("nan"), 1e-30, -1e-30]]], [[[0.0, 0.0, 0.0]]]])
    sign, zeros = signs(gradient)
    np.testing.assert_array_equal(sign, [[[[1, -1, 0]]], [[[0, 1, -1]]], [[[0, 0, 0]]]])
    np.testing.assert_allclose(zeros, [1 / 3, 1 / 3, 1], rtol=1e-6)


def test_draws_follow_from_seed_and_position_alone():
    starts = random_starts(tf.constant([7, 8, 9]), [SIDE, SIDE, 3], seed=3).numpy()
    assert np.abs(starts).max() <= 1
    assert np.abs(starts).max() > 0.9
    np.testing.assert_array_equal(random_starts(tf.constant([9]), [SIDE, SIDE, 3], seed=3)[0], starts[2])
    assert not np.array_equal(starts[0], starts[1])
    assert not np.array_equal(random_starts(tf.constant([9]), [SIDE, SIDE, 3], seed=4)[0], starts[2])


def test_targets_are_all_the_other_classes_and_never_the_label():
    positions = tf.range(400)
    labels = positions % CLASSES
    targets = random_targets(labels, positions, CLASSES, seed=0).numpy()
    counts = np.bincount((targets - labels.numpy()) % CLASSES, minlength=CLASSES)
    assert counts[0] == 0
    assert counts[1:].min() > 60
    np.testing.assert_array_equal(random_targets(labels[30:31], positions[30:31], CLASSES, seed=0)[0], targets[30])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            AttackConfig(epsilons=(0, -2)),
            "--epsilons: got -2, expected 0 to 255: the levels by which a pixel may change",
        ),
        (
            AttackConfig(epsilons=(256,)),
            "--epsilons: got 256, expected 0 to 255: the levels by which a pixel may change",
        ),
        (AttackConfig(epsilons=(float("nan"),)), "--epsilons: got nan, expected 0 to 255: the levels"),
        (AttackConfig(epsilons=()), "--epsilons: got none, expected at least one, for example 0,2,4,8,16"),
        (AttackConfig(steps=0), "--pgd_steps: got 0, expected 1 or more"),
        (AttackConfig(step_size=0.0), "--pgd_step_size: got 0, expected levels of 0..255, above 0; leave it out for"),
        (AttackConfig(step_size=float("inf")), "--pgd_step_size: got inf, expected levels of 0..255, above 0"),
    ],
)
def test_a_value_that_no_attack_can_use_is_one_line(config, message):
    with pytest.raises(UserError) as caught:
        check_attack(config)
    assert str(caught.value).startswith(message)
    check_attack(AttackConfig())


# --- compiled -------------------------------------------------------------------------------------------------------


def batch(count: int = 3) -> dict[str, Any]:
    return {
        "image": images(count),
        "label": (np.arange(count) % NUM_CLASSES).astype(np.int32),
        "position": np.arange(10, 10 + count, dtype=np.int32),
    }


@pytest.fixture(scope="module")
def network() -> EfficientNet:
    return EfficientNet(tiny())


def test_attacks_answer_for_each_epsilon_and_are_traced_once(network: EfficientNet) -> None:
    traces = []

    def counted(pixels: tf.Tensor) -> tf.Tensor:
        traces.append(pixels.shape)
        return network(pixels)

    attacks = Attacks(counted, AttackConfig(epsilons=(0, 4, 16), steps=2), NUM_CLASSES)
    one, two = batch(), {**batch(), "label": np.zeros(3, np.int32)}
    for attack_of in (attacks.fgsm, attacks.pgd):
        traces.clear()
        answers = attack_of(one)
        traced = len(traces)
        attack_of(two)
        attack_of(two, epsilons=(1, 2, 255))
        assert len(traces) == traced
        assert (answers.logits.shape, answers.logits.dtype) == ((3, 3, NUM_CLASSES), np.float32)
        np.testing.assert_allclose(answers.logits[:, 0], network(one["image"]), atol=1e-5)
        np.testing.assert_array_equal(answers.zeros, np.zeros(3))
    functions = [loss_of(attacks.fgsm(one).logits[:, i], one["label"]) for i in range(3)]
    assert functions[0].mean() < functions[1].mean() < functions[2].mean()
    stronger = loss_of(attacks.pgd(one).logits[:, 2], one["label"])
    assert stronger.mean() > functions[0].mean()


def loss_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits).numpy()


def test_a_picture_s_answer_does_not_depend_on_its_batch(network: EfficientNet) -> None:
    attacks = Attacks(network, AttackConfig(epsilons=(8,), steps=2, seed=5), NUM_CLASSES)
    whole = attacks.pgd(batch()).logits
    alone = attacks.pgd({name: value[1:2] for name, value in batch().items()}).logits
    np.testing.assert_allclose(alone, whole[1:2], atol=1e-4)


def test_targeted_pgd_raises_the_target_s_probability(network: EfficientNet) -> None:
    config = AttackConfig(epsilons=(0, 8), steps=4, targeted=True, random_start=False)
    one = batch(4)
    targets = random_targets(one["label"], one["position"], NUM_CLASSES, config.seed).numpy()
    logits = Attacks(network, config, NUM_CLASSES).pgd(one).logits
    assert (loss_of(logits[:, 1], targets) < loss_of(logits[:, 0], targets)).all()


def test_a_network_of_bfloat16_is_attacked_too() -> None:
    attacks = Attacks(EfficientNet(tiny(), bfloat16=True), AttackConfig(epsilons=(0, 16), steps=2), NUM_CLASSES)
    one = batch()
    logits = attacks.fgsm(one).logits
    assert logits.dtype == np.float32
    assert loss_of(logits[:, 1], one["label"]).mean() > loss_of(logits[:, 0], one["label"]).mean()
    assert attacks.pgd(one).logits.shape == (3, 2, NUM_CLASSES)


@pytest.mark.more
def test_two_replicas_answer_as_one_does() -> None:
    """In a process of its own, whose processor counts as two devices."""
    subprocess.run([sys.executable, "-m", "tests.evaluation.robustness.attacked_replicas"], check=True)
