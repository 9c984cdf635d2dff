"""Which replicas share their batch-norm statistics, and how (docs/release.md, section 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, Optional

import tensorflow as tf

from runtime.errors import UserError

LOCAL_REPLICAS = 8


def group_size(num_shards_per_group: int, replicas: int) -> int:
    """Replicas that share batch-norm statistics: -1 means 1 up to 8 replicas, then max(8, replicas // 8).

    Raises:
      UserError: the replicas do not divide into such groups.
    """
    size = num_shards_per_group
    if size == -1:
        size = 1 if replicas <= LOCAL_REPLICAS else max(LOCAL_REPLICAS, replicas // 8)
    if size < 1 or replicas % size:
        raise UserError(
            f"--num_shards_per_group: got {num_shards_per_group}, expected -1 or a divisor of the {replicas} replicas"
        )
    return size


def cross_replica_mean(
    strategy: tf.distribute.Strategy, size: int
) -> Optional[Callable[[list[tf.Tensor]], Sequence[tf.Tensor]]]:
    """Averages tensors over groups of `size` replicas, in replica context and with gradients; None for size 1.

    Raises:
      UserError: groups smaller than all replicas on hardware other than a TPU.
    """
    replicas = strategy.num_replicas_in_sync
    if size == 1:
        return None
    if isinstance(strategy, tf.distribute.TPUStrategy):
        groups = [list(range(first, first + size)) for first in range(0, replicas, size)]

        def group_mean(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
            return [tf.raw_ops.CrossReplicaSum(input=value / size, group_assignment=groups) for value in tensors]

        return group_mean
    if size != replicas:
        raise UserError(
            f"--num_shards_per_group: groups of {size} of {replicas} replicas exist on TPUs only; pass 1 or {replicas}"
        )

    def mean(tensors: list[tf.Tensor]) -> Sequence[tf.Tensor]:
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, tensors)

    return mean
