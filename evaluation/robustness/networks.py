"""Networks that answer pictures, batch by batch, under any strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from checkpoints.reading import identity, load_weights
from efficientnet.model import EfficientNet
from efficientnet.ops import Ops
from evaluation.robustness.attacks import Answers, Attacks
from evaluation.robustness.config import AttackConfig, Network
from runtime import devices
from runtime.config import DeviceConfig

CHECKPOINT_FLAG = "checkpoints"


class AnsweringNetwork:
    """A network with its weights, which answers any number of pictures.

    Args:
      network: which.
      strategy: where it runs.
      device: whether it computes in bfloat16.
      ops: how it infers.
      batch_size: pictures of one replica's batch.
      use_averages: take the moving averages of the weights.
      attack: how it is attacked; None if it is not.

    Raises:
      UserError: no such checkpoint, or another network's.
    """

    def __init__(
        self,
        network: Network,
        strategy: tf.distribute.Strategy,
        device: DeviceConfig,
        ops: Ops,
        batch_size: int,
        use_averages: bool,
        attack: Optional[AttackConfig],
    ):
        self.network = network
        self._strategy = strategy
        self._batch = batch_size * strategy.num_replicas_in_sync
        bfloat16 = devices.uses_bfloat16(device, strategy)
        with strategy.scope():
            model = EfficientNet(network.model, bfloat16=bfloat16, ops=ops)
            prefix = load_weights(model, network.checkpoint, CHECKPOINT_FLAG, use_averages=use_averages)
            self.identity = identity(prefix)
            self._attacks = None
            if attack is not None:
                # In float32, whose gradients have a sign where bfloat16's are 0; the fast inference has none at all.
                plain = EfficientNet(network.model)
                load_weights(plain, network.checkpoint, CHECKPOINT_FLAG, use_averages=use_averages)
                self._attacks = Attacks(plain, attack, network.model.num_classes, strategy)
        self._step = tf.function(lambda images: strategy.run(model, args=(images,)), autograph=False)

    @property
    def batch_size(self) -> int:
        """Pictures that are answered at a time, over all replicas."""
        return self._batch

    def logits(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, C] of uint8 or float32 [N, S, S, 3] in 0..255, N at most `batch_size`."""
        answers = self._step(self._distributed(self._resized(images)))
        return self._local(answers)[: len(images)]

    def attacked(
        self, how: str, images: np.ndarray, labels: np.ndarray, positions: np.ndarray, epsilons: Sequence[float]
    ) -> Answers:
        """The answers under an attack, `fgsm` or `pgd`; N at most `batch_size`."""
        assert self._attacks is not None
        batch = {
            "image": self._distributed(self._resized(images)),
            "label": self._distributed(labels.astype(np.int32)),
            "position": self._distributed(positions.astype(np.int32)),
        }
        found = (self._attacks.fgsm if how == "fgsm" else self._attacks.pgd)(batch, epsilons)
        return Answers(found.logits[: len(images)], found.zeros[: len(images)])

    def _resized(self, images: np.ndarray) -> np.ndarray:
        """float32, at the size at which the network sees pictures."""
        size, values = self.network.image_size, np.asarray(images, np.float32)
        if values.shape[1] == size:
            return values
        return tf.raw_ops.ResizeBicubic(
            images=values, size=[size, size], align_corners=False, half_pixel_centers=False
        ).numpy()

    def _distributed(self, values: np.ndarray) -> Any:
        """The batch, filled up with its first element, a part for each replica."""
        missing = self._batch - len(values)
        whole = np.concatenate([values, np.repeat(values[:1], missing, axis=0)]) if missing else values
        replicas = self._strategy.num_replicas_in_sync
        if replicas == 1:
            return tf.constant(whole)
        parts = np.split(whole, replicas)
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    def _local(self, value: Any) -> np.ndarray:
        return np.concatenate([part.numpy() for part in self._strategy.experimental_local_results(value)])
