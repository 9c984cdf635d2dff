"""Accuracy on a labeled set. Every image counts exactly once."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from efficientnet.model import EfficientNet

TOP = 5
CONFIDENCE_LEVEL = 0.95


class Evaluator:
    """Counts right answers of one network; the step is compiled once for all evaluations of a run.

    Args:
      model: the network whose answers count.
      strategy: where it runs.
    """

    def __init__(self, model: EfficientNet, strategy: tf.distribute.Strategy):
        self._model = model
        self._strategy = strategy
        self._step = tf.function(self._distributed_step, autograph=False)

    def _distributed_step(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        counts = self._strategy.run(self._count, args=(batch,))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, counts, axis=None)

    def _count(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """float32 [3]: images, right answers, right answers among the first five."""
        logits = self._model(batch["image"])
        top = tf.math.top_k(logits, min(TOP, logits.shape[-1])).indices
        hits = tf.cast(tf.equal(top, batch["label"][:, tf.newaxis]), tf.float32) * batch["weight"][:, tf.newaxis]
        return tf.stack([tf.reduce_sum(batch["weight"]), tf.reduce_sum(hits[:, 0]), tf.reduce_sum(hits)])

    def __call__(self, batches: Any) -> dict[str, Any]:
        """Evaluates an iterable of batches (see `data.streams.evaluation`).

        Returns:
          num_images, correct (int), accuracy, top5_accuracy (float in 0..1).
        """
        images = correct = top = 0
        for batch in batches:
            counts = self._step(batch).numpy()
            images, correct, top = images + int(counts[0]), correct + int(counts[1]), top + int(counts[2])
        return {
            "num_images": images,
            "correct": correct,
            "accuracy": correct / max(images, 1),
            "top5_accuracy": top / max(images, 1),
        }


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927), which stays within 0..1 also near its ends.

    Returns:
      (low, high); (0, 1) where there is nothing to go by.
    """
    from scipy.stats import binomtest  # takes a second, which a training would wait for

    if total == 0:
        return 0.0, 1.0
    low, high = binomtest(correct, total).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    return float(low), float(high)
