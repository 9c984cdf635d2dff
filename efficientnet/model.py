"""EfficientNet b0-b7 and l2 (RELEASE section 1; Tan and Le, 2019; l2: Xie et al., 2020, appendix).

Every variable bears the name that it has in the release's checkpoints, so that no map between names is needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from efficientnet import layers
from efficientnet.factory import BFLOAT16, FLOAT32, LayerFactory
from efficientnet.forward_pass import ForwardPass
from efficientnet.layers import BatchNormalization, StochasticDepth
from efficientnet.variants import Block, ModelConfig
from fast_cpu import inference, kernels


class Stem(tf.keras.layers.Layer):
    """3x3 stride-2 convolution, batch norm, swish."""

    def __init__(self, make: LayerFactory, scope: str, channels: int):
        super().__init__(name="stem", dtype=make.policy)
        self.convolution = make.convolution(f"{scope}/stem", "conv2d", 3, channels, kernel=3, stride=2)
        self.norm = make.batch_norm(f"{scope}/stem", channels)

    def call(self, images: tf.Tensor, forward: Optional[ForwardPass] = None) -> tf.Tensor:
        """[B, H, W, 3] -> [B, H/2, W/2, C]."""
        return layers.normalized(self.convolution, self.norm, images, forward)


class MBConv(tf.keras.layers.Layer):
    """Inverted bottleneck with squeeze-and-excite; residual and stochastic depth where shapes allow."""

    def __init__(self, make: LayerFactory, scope: str, index: int, block: Block, drop_rate: float):
        super().__init__(name=f"blocks_{index}", dtype=make.policy)
        scope = f"{scope}/blocks_{index}"
        width = block.input_channels * block.expansion
        self.has_residual = block.has_residual
        self.expands = block.expansion != 1
        norms = 0
        if self.expands:
            self.expand = make.convolution(scope, "conv2d", block.input_channels, width)
            self.expand_norm = make.batch_norm(scope, width)
            norms = 1
        self.depthwise = make.depthwise(scope, width, block.kernel, block.stride)
        self.depthwise_norm = make.batch_norm(scope, width, norms)
        self.squeeze = make.convolution(f"{scope}/se", "conv2d", width, block.squeeze_channels, bias=True)
        self.excite = make.convolution(f"{scope}/se", "conv2d_1", block.squeeze_channels, width, bias=True)
        self.project = make.convolution(scope, "conv2d_1" if norms else "conv2d", width, block.output_channels)
        self.project_norm = make.batch_norm(scope, block.output_channels, norms + 1)
        drops = block.has_residual and drop_rate > 0
        self.stochastic_depth = StochasticDepth(drop_rate, dtype=make.policy) if drops else None
        self.infers_many = True

    def call(
        self, inputs: tf.Tensor, forward: Optional[ForwardPass] = None, noise: Optional[tf.Tensor] = None
    ) -> tf.Tensor:
        """[B, H, W, C] -> [B, H/stride, W/stride, C']; `noise` is stochastic depth's: a seed (int32 scalar), or with
        `forward.draws` the block's draws (float32 [B])."""
        # A frozen block in training is one as well, but XLA would not compile its gradient.
        is_inference = forward is None or forward.moving_statistics
        if is_inference and self.infers_many and inference.pays(inputs, self.project.kernel.shape[2]):
            weights, stride = self._folded(), self.depthwise.strides[0]

            def block(part: tf.Tensor) -> tf.Tensor:
                return inference.bottleneck(part, weights, stride)

            # Without noise the images are in parts already.
            features = block(inputs) if forward is None else inference.in_parts(block, inputs)
        else:
            features = self._bottleneck(inputs, forward)
        if not self.has_residual:
            return features
        if self.stochastic_depth is not None and forward is not None and noise is not None:
            if forward.draws is not None:
                features = self.stochastic_depth.drawn(features, noise)
            elif self.trainable or forward.moving_statistics:
                features = self.stochastic_depth(features, seed=noise, noised=forward.depth_noised)
        return features + inputs

    def _bottleneck(self, inputs: tf.Tensor, forward: Optional[ForwardPass]) -> tf.Tensor:
        features = inputs
        if self.expands:
            features = layers.normalized(self.expand, self.expand_norm, features, forward)
        features, pooled = layers.normalized_and_pooled(self.depthwise, self.depthwise_norm, features, forward)
        squeezed = tf.nn.silu(layers.dense(self.squeeze, pooled))
        gate = tf.nn.sigmoid(layers.dense(self.excite, squeezed))
        return layers.normalized(self.project, self.project_norm, features, forward, activate=False, gate=gate)

    def _folded(self) -> inference.Bottleneck:
        """The weights of an inference."""

        def linear(convolution: tf.keras.layers.Conv2D, norm: Optional[BatchNormalization] = None) -> inference.Linear:
            kernel, offset = layers.folded(convolution, norm) if norm else (convolution.kernel, convolution.bias)
            is_depthwise = convolution is self.depthwise
            return inference.Linear(tf.squeeze(kernel, [3] if is_depthwise else [0, 1]), tf.convert_to_tensor(offset))

        return inference.Bottleneck(
            depthwise=linear(self.depthwise, self.depthwise_norm),
            squeeze=linear(self.squeeze),
            excite=linear(self.excite),
            project=linear(self.project, self.project_norm),
            expand=linear(self.expand, self.expand_norm) if self.expands else None,
        )


class Head(tf.keras.layers.Layer):
    """1x1 convolution, batch norm, swish, global average pool, dropout, dense."""

    def __init__(self, make: LayerFactory, scope: str, inputs: int, config: ModelConfig):
        super().__init__(name="head", dtype=make.policy)
        self.dropout_rate = config.variant.dropout_rate
        self.convolution = make.convolution(f"{scope}/head", "conv2d", inputs, config.head_channels)
        self.norm = make.batch_norm(f"{scope}/head", config.head_channels)
        self.dense = make.dense(f"{scope}/head", config.head_channels, config.num_classes)

    def call(
        self, inputs: tf.Tensor, forward: Optional[ForwardPass] = None, noise: Optional[tf.Tensor] = None
    ) -> tf.Tensor:
        """[B, H, W, C] -> float32 logits [B, classes]; `noise` is dropout's: a seed (int32 scalar), or with `forward.draws`
        the draws of the channels (float32 [B, channels])."""
        features = layers.normalized(self.convolution, self.norm, inputs, forward)
        features = tf.reduce_mean(features, [1, 2])
        if forward is not None and noise is not None and self.dropout_rate > 0:
            if forward.draws is not None:
                features = layers.dropped(features, self.dropout_rate, noise)
            else:
                features = layers.dropout(features, self.dropout_rate, noise, forward.drop_noised)
        return tf.cast(self.dense(features), tf.float32)


class EfficientNet(tf.keras.Model):
    """The network of a `ModelConfig`. All variables exist after construction.

    Args:
      config: variant, overrides, classes, input statistics.
      seed: the initial weights follow from it alone.
      bfloat16: activations in bfloat16, variables in float32 (Keras's mixed_bfloat16).
    """

    def __init__(self, config: ModelConfig, *, seed: int = 0, bfloat16: bool = False):
        super().__init__(name=config.name)
        self.config = config
        make = LayerFactory(seed, BFLOAT16 if bfloat16 else FLOAT32)
        self.compute_type = tf.bfloat16 if bfloat16 else tf.float32
        blocks = config.blocks()
        rate = config.depth_drop_rate
        self.stem = Stem(make, config.name, config.stem_channels)
        self.blocks = [
            MBConv(make, config.name, index, block, rate * index / len(blocks)) for index, block in enumerate(blocks)
        ]
        self.head = Head(make, config.name, blocks[-1].output_channels, config)
        if config.fix_layer_num >= 0:
            self.stem.trainable = False
            for block in self.blocks[: config.fix_layer_num]:
                block.trainable = False
        self.infers_many = True
        # The factory, not its dict: Keras would track a dict of variables, and count frozen ones as trainable.
        self._factory = make
        self.built = True

    def expect_inference_of(self, images: int) -> None:
        """Says, before the first image, how many there are: for a few, a CPU does not compile what makes many faster.

        Where it is not called there are many: what is computed must not depend on how much a continued run has left to do.
        """
        self.infers_many = images >= inference.MANY_IMAGES
        for block in self.blocks:
            block.infers_many = self.infers_many

    @property
    def num_seeds(self) -> int:
        """How many noise seeds a training pass needs: one a block, one for dropout."""
        return len(self.blocks) + 1

    @property
    def num_draws(self) -> int:
        """How many draws an image's own noise needs: one a block, one a channel before the classifier."""
        return len(self.blocks) + self.config.head_channels

    def call(self, images: tf.Tensor, forward: Optional[ForwardPass] = None) -> tf.Tensor:
        """Logits of a batch.

        Args:
          images: float [B, H, W, 3] in 0..255.
          forward: given for a training pass (batch statistics, noise), None for inference.

        Returns:
          float32 [B, classes].
        """
        many_on_cpu = self.infers_many and kernels.on_cpu() and self.compute_type == tf.float32
        if forward is None and many_on_cpu and takes_parts(self.config, images.shape):
            return inference.in_parts(self._logits, images)
        return self._logits(images, forward)

    def _logits(self, images: tf.Tensor, forward: Optional[ForwardPass] = None) -> tf.Tensor:
        features = self.stem(self.standardised(images), forward=forward)
        noises = self._noises(forward)
        for block, noise in zip(self.blocks, noises):
            features = _run_block(block, features, forward, noise)
        return self.head(features, forward=forward, noise=noises[-1])

    def _noises(self, forward: Optional[ForwardPass]) -> Sequence[Optional[tf.Tensor]]:
        """Each block's noise and the head's: seeds, draws, or none."""
        if forward is not None and forward.draws is not None:
            count = len(self.blocks)
            return [*tf.unstack(forward.draws[:, :count], count, axis=1), forward.draws[:, count:]]
        if forward is not None and forward.seeds is not None:
            return tf.unstack(forward.seeds, self.num_seeds)
        return [None] * self.num_seeds

    def standardised(self, images: tf.Tensor) -> tf.Tensor:
        """Pixels of 0..255 less the mean, by the standard deviation, in the type of the activations."""
        mean = tf.constant(self.config.mean) * 255.0
        std = tf.constant(self.config.std) * 255.0
        return tf.cast(kernels.elementwise(_standardised, images, mean, std), self.compute_type)

    def named_variables(self) -> dict[str, tf.Variable]:
        """Every variable by the release's name, batch-norm statistics included, in creation order."""
        return dict(self._factory.variables)

    def batch_norms(self) -> list[BatchNormalization]:
        """Every batch norm."""
        return [layer for layer in self._flatten_layers() if isinstance(layer, BatchNormalization)]


def takes_parts(config: ModelConfig, images: Sequence[Optional[int]]) -> bool:
    """Whether many images [B, H, W, 3] are inferred in parts, one for each core, where there is no accelerator."""
    widest = max(block.input_channels * block.expansion for block in config.blocks()[:2])
    return inference.part_pays(images, widest)


def _standardised(images: tf.Tensor, mean: tf.Tensor, std: tf.Tensor) -> tf.Tensor:
    return (tf.cast(images, tf.float32) - mean) / std


def _run_block(
    block: MBConv, features: tf.Tensor, forward: Optional[ForwardPass], noise: Optional[tf.Tensor]
) -> tf.Tensor:
    """Runs a block; with `forward.rematerialise` its activations are computed again in the backward pass."""
    if forward is None or not forward.rematerialise:
        return block(features, forward=forward, noise=noise)
    moving = list[tf.Variable]()

    @tf.recompute_grad
    def run(inputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # A pass of its own, so that what the block reports comes out as outputs: this function is traced twice.
        inner = dataclasses.replace(forward, statistics=[], again={})
        outputs = block(inputs, forward=inner, noise=noise)
        moving[:] = [variable for variable, _ in inner.statistics]
        # Their gradient is zero, which would be carried back through the batch norms all the same.
        return (outputs, *[tf.stop_gradient(value) for _, value in inner.statistics])

    outputs, *statistics = run(features)
    forward.statistics += list(zip(moving, statistics))
    return outputs
