from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from efficientnet.forward_pass import ForwardPass
from efficientnet.model import EfficientNet
from tests.efficientnet.tiny import NUM_CLASSES, images, tiny


@pytest.fixture(scope="module")
def model() -> EfficientNet:
    return EfficientNet(tiny(dropout_rate=0.5, stochastic_depth_rate=0.8), seed=1)


def _values(network: EfficientNet) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in network.named_variables().items()}


# --- initial weights ------------------------------------------------------------------------------------------------


def test_kernels_start_normal_with_their_fan_out(model: EfficientNet) -> None:
    for name, kernel in _values(model).items():
        if not name.endswith("kernel") or "dense" in name or kernel.size < 500:
            continue
        fan_out = kernel.shape[0] * kernel.shape[1] * kernel.shape[-1]
        expected = np.sqrt(2 / fan_out)
        assert abs(kernel.std() / expected - 1) < 4 / np.sqrt(2 * kernel.size), name
        assert abs(kernel.mean()) < 4 * expected / np.sqrt(kernel.size), name
        if kernel.size > 10_000:
            assert np.abs(kernel).max() > 2.1 * expected, f"{name} is truncated"


def test_a_depthwise_kernel_s_fan_out_is_its_area(model: EfficientNet) -> None:
    kernels = [kernel for name, kernel in _values(model).items() if name.endswith("depthwise_kernel")]
    for kernel in kernels:
        expected = np.sqrt(2 / (kernel.shape[0] * kernel.shape[1]))
        assert abs(kernel.std() / expected - 1) < 4 / np.sqrt(2 * kernel.size)


def test_dense_starts_uniform_and_the_rest_plain(model: EfficientNet) -> None:
    for name, value in _values(model).items():
        if name.endswith("dense/kernel"):
            assert 0.9 * NUM_CLASSES**-0.5 < np.abs(value).max() <= NUM_CLASSES**-0.5
        elif name.endswith(("bias", "beta", "moving_mean")):
            assert not value.any(), name
        elif name.endswith(("gamma", "moving_variance")):
            assert np.all(value == 1), name


def test_weights_follow_from_the_seed_alone(model: EfficientNet) -> None:
    tf.random.set_seed(99)
    try:
        again, other = _values(EfficientNet(model.config, seed=1)), _values(EfficientNet(model.config, seed=2))
    finally:
        tf.random.set_seed(None)  # tf.data's shuffles would take it up in the tests that follow
    first = _values(model)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    kernels = [name for name in first if name.endswith("kernel")]
    assert not any(np.array_equal(first[name], other[name]) for name in kernels)
    shapes = [first[name].shape for name in kernels]
    same_shape = [
        (a, b) for i, a in enumerate(kernels) for j, b in enumerate(kernels) if i < j and shapes[i] == shapes[j]
    ]
    assert not any(np.array_equal(first[a], first[b]) for a, b in same_shape)


# --- passes ---------------------------------------------------------------------------------------------------------


def test_images_enter_as_pixels_and_are_standardised_inside(model: EfficientNet) -> None:
    plain = EfficientNet(tiny(mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3), seed=1)
    mean, std = np.array(model.config.mean) * 255, np.array(model.config.std) * 255
    pixels = images(2)
    np.testing.assert_allclose(model(pixels), plain(((pixels - mean) / std).astype(np.float32)), atol=1e-4)
    np.testing.assert_array_equal(model(pixels), model(pixels.astype(np.uint8)))


def test_inference_is_the_same_every_time_and_image_by_image(model: EfficientNet) -> None:
    pixels = images(3)
    together = model(pixels).numpy()
    assert together.shape == (3, NUM_CLASSES)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together[1:2], model(pixels[1:2]), atol=1e-5)


def test_a_training_pass_reports_every_statistic_and_changes_nothing(model: EfficientNet) -> None:
    before = _values(model)
    forward = ForwardPass()
    model(images(4), forward=forward)
    reported = {id(variable) for variable, _ in forward.statistics}
    moving = {id(variable) for name, variable in model.named_variables().items() if "moving" in name}
    assert reported == moving
    assert len(forward.statistics) == len(moving)
    after = _values(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_noise_follows_the_seeds_of_the_pass(model: EfficientNet) -> None:
    def logits(seed: int) -> np.ndarray:
        seeds = tf.range(model.num_seeds) + seed
        return model(images(4), forward=ForwardPass(seeds=seeds)).numpy()

    first = logits(1)
    np.testing.assert_array_equal(first, logits(1))
    assert np.any(first != logits(1000))


def test_noise_spares_the_samples_that_it_is_told_to_spare(model: EfficientNet) -> None:
    """Without batch norm's coupling (one image copied, so that its statistics hardly move), spared samples stay equal."""
    seeds = tf.range(model.num_seeds)
    pixels = images(8)
    none = tf.zeros([8], tf.bool)
    spared = model(pixels, forward=ForwardPass(seeds=seeds, drop_noised=none, depth_noised=none))
    np.testing.assert_allclose(spared, model(pixels, forward=ForwardPass()), atol=1e-5)


def test_drop_rates_rise_linearly_from_zero() -> None:
    network = EfficientNet(tiny(depth_coefficient=0.5, stochastic_depth_rate=0.4))
    count = len(network.blocks)
    for index, block in enumerate(network.blocks):
        rate = block.stochastic_depth.rate if block.stochastic_depth else 0.0
        assert rate == pytest.approx(0.4 * index / count if block.has_residual else 0.0)
    assert sum(block.stochastic_depth is not None for block in network.blocks) > 2


# --- precision and freezing -----------------------------------------------------------------------------------------


def test_bfloat16_is_of_the_activations_alone() -> None:
    network = EfficientNet(tiny(), bfloat16=True)
    assert tf.keras.mixed_precision.global_policy().name == "float32"
    assert {variable.dtype for variable in network.named_variables().values()} == {tf.float32}
    features = network.stem(tf.zeros([1, 16, 16, 3], tf.bfloat16))
    assert features.dtype == tf.bfloat16
    assert network.blocks[0](features).dtype == tf.bfloat16
    forward = ForwardPass(seeds=tf.range(network.num_seeds))
    assert network(images(2), forward=forward).dtype == tf.float32
    assert {value.dtype for _, value in forward.statistics} == {tf.float32}
    exact = EfficientNet(tiny())
    np.testing.assert_allclose(network(images(2)), exact(images(2)), atol=0.05)


@pytest.mark.parametrize("fixed", [-1, 0, 2])
def test_fix_layer_num_freezes_the_stem_and_the_first_blocks(fixed: int) -> None:
    network = EfficientNet(tiny(fix_layer_num=fixed, stochastic_depth_rate=0.9))
    root = "efficientnet-b0/"
    frozen_roots = [] if fixed < 0 else ["stem/", *(f"blocks_{index}/" for index in range(fixed))]
    expected = {
        name
        for name in network.named_variables()
        if "moving_" not in name and not name.startswith(tuple(root + frozen for frozen in frozen_roots))
    }
    assert {variable.name.split(":")[0] for variable in network.trainable_variables} == expected
    forward = ForwardPass(seeds=tf.range(network.num_seeds))
    network(images(2), forward=forward)
    reported = [variable.name for variable, _ in forward.statistics]
    assert len(reported) == 2 * sum(norm.trainable for norm in network.batch_norms())
    assert not any(
        name.startswith(tuple(root + frozen for frozen in frozen_roots)) for name in reported if frozen_roots
    )


def test_a_frozen_block_runs_as_in_inference() -> None:
    network = EfficientNet(tiny(depth_coefficient=0.5, fix_layer_num=4, stochastic_depth_rate=0.9))
    index = next(i for i, block in enumerate(network.blocks[:4]) if block.has_residual)
    block, features = network.blocks[index], tf.random.stateless_normal([6, 8, 8, 8], [1, 2])
    trained = block(features, forward=ForwardPass(), noise=tf.constant(3))
    np.testing.assert_array_equal(trained, block(features))


def test_draws_of_an_image_s_own_noise_it_whatever_the_batch() -> None:
    """And frozen blocks too: a network that was finetuned may be a noised teacher."""
    overrides = {"depth_coefficient": 0.5, "stochastic_depth_rate": 0.9, "dropout_rate": 0.5, "fix_layer_num": 20}
    network = EfficientNet(tiny(**{**overrides, "fix_layer_num": len(tiny(**overrides).blocks())}))
    draws = tf.random.stateless_uniform([6, network.num_draws], [3, 4])

    def noised(rows: slice) -> np.ndarray:
        forward = ForwardPass(draws=draws[rows], moving_statistics=True)
        return network(images(6)[rows], forward=forward).numpy()

    together = noised(slice(0, 6))
    np.testing.assert_allclose(
        np.concatenate([noised(slice(0, 1)), noised(slice(1, 6))]), together, rtol=1e-3, atol=1e-5
    )
    quiet = network(images(6)).numpy()
    assert np.all(np.abs(together - quiet).max(1) > 1e-4)
    nothing = ForwardPass(draws=tf.zeros_like(draws) + 0.999, moving_statistics=True)
    assert np.all(np.isfinite(network(images(6), forward=nothing)))
