"""What one pass through the network carries beside the images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Optional

import tensorflow as tf


@dataclasses.dataclass
class ForwardPass:
    """What one training pass carries beside the images. Inference passes none.

    Attributes:
      seeds: int32 [layers], one seed for every noise layer of this step and replica; None switches the noise off.
      draws: float32 [B, D] in [0, 1), in place of `seeds` where each image brings noise of its own, so that it does not
        depend on the others in the batch: one number a block, then one a channel that dropout may drop.
      drop_noised, depth_noised: bool [B]: samples that receive dropout and stochastic depth; None for all.
      moving_statistics: an inference with noise: batch norms take the moving statistics, and frozen blocks are noised too.
      cross_replica_mean: averages float32 tensors over the replicas that share batch-norm statistics; None for local ones.
      rematerialise: compute each block again in the backward pass instead of keeping its activations.
      statistics: filled during the pass: (moving variable, batch statistic) of every batch norm that trained.
    """

    seeds: Optional[tf.Tensor] = None
    draws: Optional[tf.Tensor] = None
    drop_noised: Optional[tf.Tensor] = None
    depth_noised: Optional[tf.Tensor] = None
    moving_statistics: bool = False
    cross_replica_mean: Optional[Callable[[list[tf.Tensor]], Sequence[tf.Tensor]]] = None
    rematerialise: bool = False
    statistics: list[tuple[tf.Variable, tf.Tensor]] = dataclasses.field(default_factory=list)
