"""FGSM (Goodfellow et al., 2015) and PGD (Madry et al., 2018) on the pixels 0..255 that enter the network (paper, section 3.4).

The attacker knows the network and its weights. No pixel changes by more than epsilon levels, and none leaves 0..255. What the
paper does not say is chosen as `AttackConfig` states it.

`fgsm` and `pgd` give the pictures, inside any tf.function or `strategy.run`. `Attacks` compiles them and gives the network's
answers to these pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf

from evaluation.robustness.config import LEVELS, STEP_SHARE, AttackConfig

# A network: logits float32 [B, C] of pixels float32 [B, H, W, 3] in 0..255.
Network = Callable[[tf.Tensor], tf.Tensor]

# Whose draws.
_START, _TARGET = 0, 1


def in_range(images: tf.Tensor) -> tf.Tensor:
    """The pictures that are attacked, float32: resizing by a bicubic kernel leaves 0..255, the attacker may not."""
    return tf.clip_by_value(tf.cast(images, tf.float32), 0.0, LEVELS)


def loss_gradient(network: Network, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The gradient of each picture's cross entropy by its pixels, float32 [B, H, W, 3].

    Args:
      network: with a gradient: the compiled inference on a CPU has none.
      images: float32 [B, H, W, 3] in 0..255.
      labels: int32 [B].
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, network(images))
    return tape.gradient(losses, images)  # of their sum, so that a picture's does not depend on how many there are


def signs(gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of a gradient [B, H, W, 3] its signs, float32 of -1, 0 and 1, and the share of each picture's values that have none,
    float32 [B]: they are 0 or no number."""
    up, down = tf.cast(gradient > 0, tf.float32), tf.cast(gradient < 0, tf.float32)
    return up - down, 1.0 - tf.reduce_mean(up + down, [1, 2, 3])


def fgsm(images: tf.Tensor, sign: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    """One step of the size epsilon.

    Args:
      images: float32 [B, H, W, 3] in 0..255.
      sign: float32 [B, H, W, 3], of their `loss_gradient`; one serves every epsilon.
      epsilon: float32 scalar, levels.

    Returns:
      float32 [B, H, W, 3] in 0..255.
    """
    return tf.clip_by_value(images + epsilon * sign, 0.0, LEVELS)


def pgd(
    network: Network,
    images: tf.Tensor,
    labels: tf.Tensor,
    epsilon: tf.Tensor,
    *,
    steps: int,
    step_size: Optional[Any] = None,
    start: Optional[tf.Tensor] = None,
    targeted: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Steps by the gradient's sign, each brought back into the epsilon ball and into 0..255.

    Args:
      network: see `loss_gradient`.
      images: float32 [B, H, W, 3] in 0..255.
      labels: int32 [B], the classes to get away from, or with `targeted` to get to.
      epsilon: float32 scalar, levels; 0 takes no step.
      steps, step_size: see `AttackConfig`.
      start: float32 [B, H, W, 3] in -1..1, where in the ball it starts; None for its centre.

    Returns:
      float32 [B, H, W, 3] in 0..255; and the share of each picture's gradients that are 0 or no number, float32 [B], over all
      steps.
    """
    lowest, highest = tf.maximum(images - epsilon, 0.0), tf.minimum(images + epsilon, LEVELS)
    step = STEP_SHARE * epsilon / steps if step_size is None else tf.cast(step_size, tf.float32)
    step = -step if targeted else step

    def one(count: tf.Tensor, attacked: tf.Tensor, zeros: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        sign, without = signs(loss_gradient(network, attacked, labels))
        return count + 1, tf.clip_by_value(attacked + step * sign, lowest, highest), zeros + without / steps

    first = images if start is None else tf.clip_by_value(images + epsilon * start, lowest, highest)
    count = tf.where(epsilon > 0, steps, 0)
    state = (tf.constant(0), first, tf.zeros_like(labels, tf.float32))
    _, attacked, zeros = tf.while_loop(
        lambda taken, *_: taken < count, one, state, parallel_iterations=1, maximum_iterations=steps
    )
    return attacked, zeros


def random_starts(positions: tf.Tensor, shape: Sequence[int], seed: int) -> tf.Tensor:
    """Uniform in -1..1, float32 [B, *shape], of (seed, position) alone."""
    return tf.map_fn(
        lambda position: tf.random.stateless_uniform(shape, _seed(seed, position, _START), -1.0, 1.0, alg="philox"),
        positions,
        fn_output_signature=tf.float32,
    )


def random_targets(labels: tf.Tensor, positions: tf.Tensor, num_classes: int, seed: int) -> tf.Tensor:
    """A class other than the label for each picture, int32 [B], all equally probable, of (seed, position) alone."""
    further = tf.map_fn(
        lambda position: tf.random.stateless_uniform(
            [], _seed(seed, position, _TARGET), 1, num_classes, tf.int32, alg="philox"
        ),
        positions,
        fn_output_signature=tf.int32,
    )
    return (tf.cast(labels, tf.int32) + further) % num_classes


def _seed(seed: int, position: tf.Tensor, purpose: int) -> tf.Tensor:
    pair = tf.stack([tf.constant(seed, tf.int32), tf.cast(position, tf.int32)])
    return tf.random.experimental.stateless_fold_in(pair, purpose, alg="philox")


# --- compiled -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a network says to attacked pictures; of several replicas, theirs one after the other.

    Attributes:
      logits: float32 [B, E, C], for each epsilon.
      zeros: float32 [B], the share of each picture's gradients that are 0 or no number.
    """

    logits: np.ndarray
    zeros: np.ndarray


class Attacks:
    """FGSM and PGD on one network, each compiled once for a batch's shape and a number of epsilons.

    Args:
      model: a network with a gradient: `EfficientNet(config)` with plain `Ops()`.
      config: how it is attacked.
      num_classes: of the network.
      strategy: where it runs.
    """

    def __init__(
        self,
        model: Network,
        config: AttackConfig,
        num_classes: int,
        strategy: Optional[tf.distribute.Strategy] = None,
    ):
        self.config = config
        self._model = model
        self._num_classes = num_classes
        self._strategy = strategy or tf.distribute.get_strategy()
        self._compiled_fgsm = tf.function(self._distributed(self._fgsm), autograph=False)
        self._compiled_pgd = tf.function(self._distributed(self._pgd), autograph=False)

    def fgsm(self, batch: Mapping[str, Any], epsilons: Optional[Sequence[float]] = None) -> Answers:
        """The answers under FGSM, untargeted.

        Args:
          batch: {"image" float [B, H, W, 3], "label" int32 [B]}, of each replica its own; clipped to 0..255 first.
          epsilons: by default the config's.
        """
        return self._answers(self._compiled_fgsm, batch, ("image", "label"), epsilons)

    def pgd(self, batch: Mapping[str, Any], epsilons: Optional[Sequence[float]] = None) -> Answers:
        """The answers under PGD; as `fgsm`, but the batch also has "position" int32 [B]: the picture's in the whole set."""
        return self._answers(self._compiled_pgd, batch, ("image", "label", "position"), epsilons)

    def _answers(
        self, compiled: Any, batch: Mapping[str, Any], names: Sequence[str], epsilons: Optional[Sequence[float]]
    ) -> Answers:
        chosen = tf.constant(self.config.epsilons if epsilons is None else epsilons, tf.float32)
        logits, zeros = compiled({name: batch[name] for name in names}, chosen)
        return Answers(self._local(logits), self._local(zeros))

    def _local(self, value: Any) -> np.ndarray:
        return np.concatenate([part.numpy() for part in self._strategy.experimental_local_results(value)])

    def _distributed(self, attack: Callable[..., Any]) -> Callable[..., Any]:
        return lambda batch, epsilons: self._strategy.run(attack, args=(batch, epsilons))

    def _fgsm(self, batch: Mapping[str, tf.Tensor], epsilons: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = in_range(batch["image"])
        sign, zeros = signs(loss_gradient(self._model, images, batch["label"]))
        logits = _of_each(lambda epsilon: self._model(fgsm(images, sign, epsilon)), epsilons, tf.float32)
        return tf.transpose(logits, [1, 0, 2]), zeros

    def _pgd(self, batch: Mapping[str, tf.Tensor], epsilons: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        config, images, labels = self.config, in_range(batch["image"]), batch["label"]
        positions, start = batch["position"], None
        if config.random_start:
            start = random_starts(positions, images.shape[1:], config.seed)
        if config.targeted:
            labels = random_targets(labels, positions, self._num_classes, config.seed)

        def answer(epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            attacked, zeros = pgd(
                self._model,
                images,
                labels,
                epsilon,
                steps=config.steps,
                step_size=config.step_size,
                start=start,
                targeted=config.targeted,
            )
            return self._model(attacked), zeros

        logits, zeros = _of_each(answer, epsilons, (tf.float32, tf.float32))
        attacked = tf.math.count_nonzero(epsilons > 0, dtype=tf.float32)
        return tf.transpose(logits, [1, 0, 2]), tf.math.divide_no_nan(tf.reduce_sum(zeros, 0), attacked)


def _of_each(answer: Callable[[tf.Tensor], Any], epsilons: tf.Tensor, types: Any) -> Any:
    """One epsilon after the other, so that no more than one batch is held at a time."""
    return tf.map_fn(answer, epsilons, fn_output_signature=types, parallel_iterations=1)
