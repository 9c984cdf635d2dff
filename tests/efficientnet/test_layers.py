from __future__ import annotations

from typing import Optional

import numpy as np
import pytest
import tensorflow as tf

from efficientnet.forward_pass import ForwardPass
from efficientnet.layers import BatchNormalization, StochasticDepth, dropout, dropped

SAMPLES = 64


def _batch(channels: int = 3, dtype: tf.DType = tf.float32) -> tf.Tensor:
    values = np.random.default_rng(0).normal(2.0, 3.0, [4, 2, 2, channels])
    return tf.constant(values, dtype)


def _norm(channels: int = 3) -> BatchNormalization:
    layer = BatchNormalization()
    layer.build([None, None, None, channels])
    return layer


# --- batch norm -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("across_replicas", [False, True])
def test_batch_norm_reports_the_biased_variance_and_normalises_by_it(across_replicas: bool) -> None:
    values = _batch().numpy()
    mean, variance = values.mean((0, 1, 2)), values.var((0, 1, 2))
    forward = ForwardPass(cross_replica_mean=(lambda tensors: tensors) if across_replicas else None)
    outputs = _norm()(values, forward=forward)
    reported = {variable.name.split("/")[-1]: value.numpy() for variable, value in forward.statistics}
    np.testing.assert_allclose(reported["moving_mean:0"], mean, rtol=1e-5)
    np.testing.assert_allclose(reported["moving_variance:0"], variance, rtol=1e-5)
    np.testing.assert_allclose(outputs, (values - mean) / np.sqrt(variance + 1e-3), atol=1e-5)


def test_batch_norm_averages_first_and_second_moments_over_replicas() -> None:
    """Two replicas, one of which saw zeros: the variance is E[x^2] - E[x]^2 of both, not the mean of two variances."""
    values = _batch().numpy()
    forward = ForwardPass(cross_replica_mean=lambda tensors: [tensor / 2 for tensor in tensors])
    _norm()(values, forward=forward)
    both = np.concatenate([values, np.zeros_like(values)])
    np.testing.assert_allclose(forward.statistics[0][1], both.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(forward.statistics[1][1], both.var((0, 1, 2)), rtol=1e-5)


def test_batch_norm_never_assigns_its_statistics() -> None:
    layer = _norm()
    layer(_batch(), forward=ForwardPass())
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(3))
    np.testing.assert_array_equal(layer.moving_variance, np.ones(3))


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norm_uses_the_moving_statistics_in_inference_and_when_frozen(frozen: bool) -> None:
    layer = _norm()
    layer.moving_mean.assign([1.0, 2.0, 3.0])
    layer.moving_variance.assign([4.0, 5.0, 6.0])
    layer.gamma.assign([1.0, 2.0, 1.0])
    layer.beta.assign([0.0, 0.5, 0.0])
    layer.trainable = not frozen
    forward = ForwardPass() if frozen else None
    expected = (_batch().numpy() - [1, 2, 3]) / np.sqrt(np.array([4, 5, 6]) + 1e-3) * [1, 2, 1] + [0, 0.5, 0]
    np.testing.assert_allclose(layer(_batch(), forward=forward), expected, atol=1e-5)
    assert forward is None or not forward.statistics


@pytest.mark.parametrize("across_replicas", [False, True])
def test_batch_norm_keeps_bfloat16_activations_and_float32_variables(across_replicas: bool) -> None:
    layer = BatchNormalization(dtype=tf.keras.mixed_precision.Policy("mixed_bfloat16"))
    layer.build([None, None, None, 3])
    forward = ForwardPass(cross_replica_mean=(lambda tensors: tensors) if across_replicas else None)
    assert layer(_batch(dtype=tf.bfloat16), forward=forward).dtype == tf.bfloat16
    assert layer(_batch(dtype=tf.bfloat16)).dtype == tf.bfloat16
    assert {variable.dtype for variable in layer.variables} == {tf.float32}
    assert {value.dtype for _, value in forward.statistics} == {tf.float32}


def test_batch_norm_of_one_value_is_finite() -> None:
    forward = ForwardPass()
    outputs = _norm()(tf.ones([1, 1, 1, 3]), forward=forward)
    np.testing.assert_allclose(outputs, np.zeros([1, 1, 1, 3]), atol=1e-6)
    assert all(np.all(np.isfinite(value)) for _, value in forward.statistics)


# --- noise ----------------------------------------------------------------------------------------------------------


def _drop(rate: float, seed: int, noised: Optional[np.ndarray] = None) -> np.ndarray:
    """What stochastic depth does to a branch of ones: one number a sample."""
    outputs = StochasticDepth(rate)(tf.ones([SAMPLES, 2, 2, 3]), seed=tf.constant(seed), noised=noised).numpy()
    assert np.all(outputs == outputs[:, :1, :1, :1])
    return outputs[:, 0, 0, 0]


def test_stochastic_depth_of_rate_zero_is_identity() -> None:
    np.testing.assert_array_equal(_drop(0.0, 1), np.ones(SAMPLES))


def test_stochastic_depth_drops_whole_samples_and_divides_the_kept_by_the_keep_probability() -> None:
    factors = _drop(0.25, 1)
    kept = factors != 0
    np.testing.assert_allclose(factors[kept], 1 / 0.75, rtol=1e-6)
    assert 30 < kept.sum() < 62  # 48 expected, standard deviation 3.5


def test_stochastic_depth_follows_its_seed() -> None:
    np.testing.assert_array_equal(_drop(0.5, 1), _drop(0.5, 1))
    assert np.any(_drop(0.5, 1) != _drop(0.5, 2))


def test_stochastic_depth_leaves_other_samples_alone() -> None:
    noised = np.arange(SAMPLES) % 2 == 0
    factors = _drop(0.5, 1, noised)
    np.testing.assert_array_equal(factors[~noised], np.ones(SAMPLES // 2))
    assert set(factors[noised]) == {0.0, 2.0}


@pytest.mark.parametrize("jit", [False, True])
def test_masks_differ_between_the_steps_of_one_compiled_function(jit: bool) -> None:
    """keras_cv's own layer, its seed a constant of the graph, would drop the same samples at every step."""
    layer = StochasticDepth(0.5)
    step = tf.function(lambda seed: layer(tf.ones([SAMPLES, 1, 1, 1]), seed=seed), jit_compile=jit)
    drop = tf.function(lambda seed: dropout(tf.ones([SAMPLES, 4]), 0.5, seed), jit_compile=jit)
    for function in (step, drop):
        first, second = function(tf.constant(1)).numpy(), function(tf.constant(2)).numpy()
        assert np.any(first != second)
        np.testing.assert_array_equal(first, function(tf.constant(1)).numpy())
        assert function.experimental_get_tracing_count() == 1


def test_stochastic_depth_round_trips_its_config() -> None:
    layer = StochasticDepth(0.3)
    again = StochasticDepth.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_dropout_scales_what_it_keeps_and_leaves_other_samples_alone() -> None:
    noised = np.arange(SAMPLES) % 2 == 0
    outputs = dropout(tf.ones([SAMPLES, 100]), 0.2, tf.constant(3), noised).numpy()
    np.testing.assert_array_equal(outputs[~noised], np.ones([SAMPLES // 2, 100]))
    np.testing.assert_allclose(np.unique(outputs[noised]), [0.0, 1.25], rtol=1e-6)
    assert abs(np.mean(outputs[noised] == 0) - 0.2) < 0.03


def test_dropout_keeps_bfloat16() -> None:
    assert dropout(tf.ones([2, 3], tf.bfloat16), 0.5, tf.constant(0)).dtype == tf.bfloat16


def test_noise_of_each_image_s_own_draws() -> None:
    """A draw below the rate drops; what is kept is divided by the keep probability. Rows know nothing of each other."""
    draws = tf.constant([0.1, 0.6, 0.24, 0.25])
    kept = StochasticDepth(0.25).drawn(tf.ones([4, 2, 2, 3], tf.bfloat16), draws)
    assert kept.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(kept[:, 0, 0, 0], tf.float32), [0, 4 / 3, 0, 4 / 3], rtol=0.01)
    uniform = tf.random.stateless_uniform([SAMPLES, 100], [1, 2])
    outputs = dropped(tf.ones([SAMPLES, 100]), 0.2, uniform).numpy()
    np.testing.assert_allclose(np.unique(outputs), [0.0, 1.25], rtol=1e-6)
    assert abs(np.mean(outputs == 0) - 0.2) < 0.03


def test_an_inference_with_noise_normalises_by_the_moving_statistics() -> None:
    forward = ForwardPass(moving_statistics=True)
    layer = _norm()
    layer.moving_mean.assign([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(layer(_batch(), forward=forward), layer(_batch()))
    assert not forward.statistics
