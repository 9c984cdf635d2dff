"""One training step: forward through labeled and unlabeled images in one batch, losses, gradients, update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Optional

import tensorflow as tf

from efficientnet.forward_pass import ForwardPass
from efficientnet.model import EfficientNet
from training import losses
from training.config import OptimizerConfig
from training.optimizer import apply_update
from training.schedule import learning_rate
from training.state import TrainingState

Batch = dict[str, dict[str, tf.Tensor]]
CrossReplicaMean = Callable[[list[tf.Tensor]], Sequence[tf.Tensor]]

LABELED_LOSS = "labeled_loss"
UNLABELED_LOSS = "unlabeled_loss"
DATA_LOSS = "data_loss"
LOSS = "loss"
LEARNING_RATE = "learning_rate"
LABELED_ACCURACY = "labeled_accuracy"

STUDENT, TEACHER = 0, 1  # whose noise


class TrainingStep:
    """The step of one training, for `strategy.run`.

    Args:
      state: the variables that it changes.
      config: loss, optimiser and schedule.
      seed: the network's noise follows from (seed, step, replica).
      teacher: an online teacher's network, its weights loaded; None without one.
      cross_replica_mean: averages batch-norm statistics over a group of replicas; None for local statistics.
      rematerialise: see `ForwardPass`.
      unlabeled_dropout, unlabeled_stochastic_depth: False spares the unlabeled images this noise; labeled ones keep it.
      noise_teacher: the online teacher predicts under dropout and stochastic depth.
    """

    def __init__(
        self,
        state: TrainingState,
        config: OptimizerConfig,
        *,
        seed: int = 0,
        teacher: Optional[EfficientNet] = None,
        cross_replica_mean: Optional[CrossReplicaMean] = None,
        rematerialise: bool = False,
        unlabeled_dropout: bool = True,
        unlabeled_stochastic_depth: bool = True,
        noise_teacher: bool = False,
    ):
        self.state = state
        self.config = config
        self.seed = seed
        self.teacher = teacher
        self.cross_replica_mean = cross_replica_mean
        self.rematerialise = rematerialise
        self.unlabeled_dropout = unlabeled_dropout
        self.unlabeled_stochastic_depth = unlabeled_stochastic_depth
        self.noise_teacher = noise_teacher

    @property
    def metric_names(self) -> list[str]:
        """What a step returns."""
        names = [DATA_LOSS, LOSS, LEARNING_RATE]
        names += [] if self.config.unlabeled_only else [LABELED_LOSS, LABELED_ACCURACY]
        return names + ([UNLABELED_LOSS] if self.config.unlabel_ratio else [])

    def __call__(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch (see `data.streams.training`).

        Returns:
          float32 scalars of this replica: data_loss, loss (with weight decay), learning_rate, with labeled images
          labeled_loss and labeled_accuracy, and with unlabeled ones unlabeled_loss.
        """
        model, config, state = self.state.model, self.config, self.state
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        noise = self._noise(STUDENT, model.num_seeds + 1)
        forward = ForwardPass(
            seeds=noise[1:],
            drop_noised=None if self.unlabeled_dropout else _is_labeled(batch),
            depth_noised=None if self.unlabeled_stochastic_depth else _is_labeled(batch),
            cross_replica_mean=self.cross_replica_mean,
            rematerialise=self.rematerialise,
        )
        teacher_logits = None
        if self.teacher is not None and "unlabeled" in batch:
            noised = None
            if self.noise_teacher:
                noised = ForwardPass(seeds=self._noise(TEACHER, self.teacher.num_seeds), moving_statistics=True)
            teacher_logits = self.teacher(batch["unlabeled"]["teacher_image"], forward=noised)
        with tf.GradientTape() as tape:
            logits = model(self._joint_images(batch), forward=forward)
            metrics = self._losses(logits, batch, teacher_logits, noise[0])
            loss = metrics[DATA_LOSS] / replicas
        gradients = tape.gradient(loss, list(state.trainable.values()))
        values = {id(variable): value for variable, value in forward.statistics}
        rate = learning_rate(state.step, config)
        metrics[LEARNING_RATE] = rate
        metrics[LOSS] = metrics[DATA_LOSS] + config.weight_decay * losses.l2_loss(state.decayed())
        apply_update(
            state,
            gradients,
            [values[id(variable)] for variable in state.statistics.values()],
            rate,
            config.weight_decay,
            config.moving_average_decay,
        )
        return metrics

    def _noise(self, purpose: int, count: int) -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step_seed = tf.stack([tf.cast(self.state.step, tf.int32), tf.cast(replica, tf.int32)])
        key = tf.random.experimental.stateless_fold_in(step_seed, self.seed)
        if purpose != STUDENT:
            key = tf.random.experimental.stateless_fold_in(key, purpose)
        return tf.random.stateless_uniform([count], key, minval=None, maxval=None, dtype=tf.int32)

    def _joint_images(self, batch: Batch) -> tf.Tensor:
        images = [stream["image"] for stream in batch.values()]
        return tf.concat(images, 0) if len(images) > 1 else images[0]

    def _unlabeled_loss(
        self, logits: tf.Tensor, unlabeled: dict[str, tf.Tensor], teacher_logits: Optional[tf.Tensor]
    ) -> tf.Tensor:
        temperature = self.config.teacher_softmax_temp
        if temperature < 0:
            labels = unlabeled["label"] if teacher_logits is None else tf.argmax(teacher_logits, -1)
            return losses.labeled_loss(logits, labels, self.config.label_smoothing)
        if teacher_logits is None:
            return losses.soft_loss(logits, losses.sharpen(unlabeled["probabilities"], temperature))
        return losses.soft_loss(logits, tf.nn.softmax(teacher_logits / temperature))

    def _losses(
        self, logits: tf.Tensor, batch: Batch, teacher_logits: Optional[tf.Tensor], mask_seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        metrics, count = {}, 0
        if "labeled" in batch:
            labels = batch["labeled"]["label"]
            count = labels.shape[0]
            metrics = self._labeled_metrics(logits[:count], labels, mask_seed)
        if "unlabeled" in batch:
            unlabeled = self._unlabeled_loss(logits[count:], batch["unlabeled"], teacher_logits)
            weighted = self.config.unlabel_ratio * unlabeled
            metrics[UNLABELED_LOSS] = unlabeled
            metrics[DATA_LOSS] = metrics[DATA_LOSS] + weighted if DATA_LOSS in metrics else weighted
        return metrics

    def _labeled_metrics(self, logits: tf.Tensor, labels: tf.Tensor, mask_seed: tf.Tensor) -> dict[str, tf.Tensor]:
        config, kept = self.config, None
        if config.label_data_sample_prob < 1.0:
            draw = tf.random.stateless_uniform([labels.shape[0]], tf.stack([mask_seed, mask_seed]))
            kept = draw < config.label_data_sample_prob
        labeled = losses.labeled_loss(logits, labels, config.label_smoothing, kept, config.label_data_sample_prob)
        correct = tf.equal(tf.argmax(logits, -1, output_type=tf.int32), labels)
        return {
            LABELED_LOSS: labeled,
            DATA_LOSS: labeled,
            LABELED_ACCURACY: tf.reduce_mean(tf.cast(correct, tf.float32)),
        }


def _is_labeled(batch: Batch) -> tf.Tensor:
    """bool [B]: which rows of the joint batch are labeled images."""
    return tf.constant([name == "labeled" for name, stream in batch.items() for _ in range(stream["image"].shape[0])])
