"""EfficientNet b0-b7 and l2 (docs/release.md, section 1; Tan and Le, 2019; l2: Xie et al., 2020, appendix).

Every variable bears the name that it has in the release's checkpoints, so that no map between names is needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from efficientnet.factory import BFLOAT16, FLOAT32, LayerFactory
from efficientnet.forward_pass import ForwardPass
from efficientnet.layers import BatchNormalization, StochasticDepth, dense, dropout, dropped
from efficientnet.ops import Ops
from efficientnet.variants import Block, ModelConfig


class Stem(tf.keras.layers.Layer):
    """3x3 stride-2 convolution, batch norm, swish."""

    def __init__(self, make: LayerFactory, scope: str, channels: int, ops: Ops):
        super().__init__(name="stem", dtype=make.policy)
        self.ops = ops
        self.convolution = make.convolution(f"{scope}/stem", "conv2d", 3, channels, kernel=3, stride=2)
        self.norm = make.batch_norm(f"{scope}/stem", channels)

    def call(self, images: tf.Tensor, forward: Optional[ForwardPass] = None) -> tf.Tensor:
        """[B, H, W, 3] -> [B, H/2, W/2, C]."""
        return self.ops.normalized(self.convolution, self.norm, images, forward)


class MBConv(tf.keras.layers.Layer):
    """Inverted bottleneck with squeeze-and-excite; residual and stochastic depth where shapes allow."""

    def __init__(self, make: LayerFactory, scope: str, index: int, block: Block, drop_rate: float, ops: Ops):
        super().__init__(name=f"blocks_{index}", dtype=make.policy)
        scope = f"{scope}/blocks_{index}"
        width = block.input_channels * block.expansion
        self.ops = ops
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

    def call(
        self, inputs: tf.Tensor, forward: Optional[ForwardPass] = None, noise: Optional[tf.Tensor] = None
    ) -> tf.Tensor:
        """[B, H, W, C] -> [B, H/stride, W/stride, C']; `noise` is stochastic depth's: a seed (int32 scalar), or with
        `forward.draws` the block's draws (float32 [B])."""
        features = self.ops.bottleneck(self, inputs, forward)
        if not self.has_residual:
            return features
        if self.stochastic_depth is not None and forward is not None and noise is not None:
            if forward.draws is not None:
                features = self.stochastic_depth.drawn(features, noise)
            elif self.trainable or forward.moving_statistics:
                features = self.stochastic_depth(features, seed=noise, noised=forward.depth_noised)
        return features + inputs

    def bottleneck(self, inputs: tf.Tensor, forward: Optional[ForwardPass]) -> tf.Tensor:
        """The block without its residual."""
        normalized, features = self.ops.normalized, inputs
        if self.expands:
            features = normalized(self.expand, self.expand_norm, features, forward)
        features, pooled = self.ops.normalized_and_pooled(self.depthwise, self.depthwise_norm, features, forward)
        squeezed = tf.nn.silu(dense(self.squeeze, pooled))
        gate = tf.nn.sigmoid(dense(self.excite, squeezed))
        return normalized(self.project, self.project_norm, features, forward, activate=False, gate=gate)


class Head(tf.keras.layers.Layer):
    """1x1 convolution, batch norm, swish, global average pool, dropout, dense."""

    def __init__(self, make: LayerFactory, scope: str, inputs: int, config: ModelConfig, ops: Ops):
        super().__init__(name="head", dtype=make.policy)
        self.ops = ops
        self.dropout_rate = config.variant.dropout_rate
        self.convolution = make.convolution(f"{scope}/head", "conv2d", inputs, config.head_channels)
        self.norm = make.batch_norm(f"{scope}/head", config.head_channels)
        self.dense = make.dense(f"{scope}/head", config.head_channels, config.num_classes)

    def call(
        self, inputs: tf.Tensor, forward: Optional[ForwardPass] = None, noise: Optional[tf.Tensor] = None
    ) -> tf.Tensor:
        """[B, H, W, C] -> float32 logits [B, classes]; `noise` is dropout's: a seed (int32 scalar), or with `forward.draws`
        the draws of the channels (float32 [B, channels])."""
        features = self.ops.normalized(self.convolution, self.norm, inputs, forward)
        features = tf.reduce_mean(features, [1, 2])
        if forward is not None and noise is not None and self.dropout_rate > 0:
            if forward.draws is not None:
                features = dropped(features, self.dropout_rate, noise)
            else:
                features = dropout(features, self.dropout_rate, noise, forward.drop_noised)
        return tf.cast(self.dense(features), tf.float32)


class EfficientNet(tf.keras.Model):
    """The network of a `ModelConfig`. All variables exist after construction.

    Args:
      config: variant, overrides, classes, input statistics.
      seed: the initial weights follow from it alone.
      bfloat16: activations in bfloat16, variables in float32 (Keras's mixed_bfloat16).
      ops: how it computes; by default plainly.
    """

    def __init__(self, config: ModelConfig, *, seed: int = 0, bfloat16: bool = False, ops: Ops = Ops()):
        super().__init__(name=config.name)
        self.config = config
        self.ops = ops
        make = LayerFactory(seed, BFLOAT16 if bfloat16 else FLOAT32)
        self.compute_type = tf.bfloat16 if bfloat16 else tf.float32
        blocks = config.blocks()
        rate = config.depth_drop_rate
        self.stem = Stem(make, config.name, config.stem_channels, ops)
        self.blocks = [
            MBConv(make, config.name, index, block, rate * index / len(blocks), ops)
            for index, block in enumerate(blocks)
        ]
        self.head = Head(make, config.name, blocks[-1].output_channels, config, ops)
        if config.fix_layer_num >= 0:
            self.stem.trainable = False
            for block in self.blocks[: config.fix_layer_num]:
                block.trainable = False
        # The factory, not its dict: Keras would track a dict of variables, and count frozen ones as trainable.
        self._factory = make
        self.built = True

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
        return self.ops.logits(self, images, forward)

    def logits(self, images: tf.Tensor, forward: Optional[ForwardPass]) -> tf.Tensor:
        """What `call` returns, of these images as one batch."""
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
        return tf.cast(self.ops.standardised(images, mean, std), self.compute_type)

    def named_variables(self) -> dict[str, tf.Variable]:
        """Every variable by the release's name, batch-norm statistics included, in creation order."""
        return dict(self._factory.variables)

    def batch_norms(self) -> list[BatchNormalization]:
        """Every batch norm."""
        return [layer for layer in self._flatten_layers() if isinstance(layer, BatchNormalization)]


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
        inner = dataclasses.replace(forward, statistics=[])
        outputs = block(inputs, forward=inner, noise=noise)
        moving[:] = [variable for variable, _ in inner.statistics]
        # Their gradient is zero, which would be carried back through the batch norms all the same.
        return (outputs, *[tf.stop_gradient(value) for _, value in inner.statistics])

    outputs, *statistics = run(features)
    forward.statistics += list(zip(moving, statistics))
    return outputs
