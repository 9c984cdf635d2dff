"""What one training does, as frozen dataclasses. No TensorFlow here."""

from __future__ import annotations

import dataclasses
from typing import Optional

from data.config import DataConfig, SplitConfig
from efficientnet.variants import ModelConfig
from runtime.config import DeviceConfig


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Loss, optimiser and schedule (docs/release.md, sections 5, 6).

    Attributes:
      train_steps: steps of the whole schedule; `train_ratio` is already multiplied in, here and in train_last_step_num.
      train_batch_size: labeled images a step, over all replicas.
      num_train_images: labeled images of an epoch.
      train_last_step_num: n > 0 trains only the last n steps of the schedule; -1 all.
      unlabeled_only: leave the labeled images and their part of the loss out.
      (the others: the flags of the same names)
    """

    train_steps: int
    train_batch_size: int
    num_train_images: int
    train_ratio: float = 1.0
    base_learning_rate: float = 0.016
    final_base_lr: Optional[float] = None
    train_last_step_num: int = -1
    weight_decay: float = 1e-5
    label_smoothing: float = 0.1
    moving_average_decay: float = 0.9999
    unlabel_ratio: float = 0.0
    teacher_softmax_temp: float = -1.0
    label_data_sample_prob: float = 1.0
    unlabeled_only: bool = False

    @property
    def steps_to_train(self) -> int:
        """How many steps this run takes from its start."""
        return self.train_last_step_num if self.train_last_step_num > 0 else self.train_steps

    @property
    def first_schedule_step(self) -> int:
        """Where the run enters the schedule."""
        return self.train_steps - self.steps_to_train


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training: `train`, `train_and_eval`, and each network of `iterate`.

    Attributes:
      teacher: an online teacher's network, with `teacher_path` its checkpoint; None without one.
      init_path: checkpoint whose averages the weights start from; "" for a fresh start.
      reset_head: leave the classifier of `init_path` out.
      unlabeled_dropout, unlabeled_stochastic_depth: False spares the unlabeled images this noise.
      rematerialise: compute each block again in the backward pass instead of keeping its activations.
      evaluation: what the network is measured on as it trains, every `steps_per_eval` steps and at the end; None for nothing.
      profile_steps: (first, last), the steps done when a TensorFlow profile begins and ends; None for none.
    """

    title: str
    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    model_dir: str
    device: DeviceConfig = DeviceConfig()
    teacher: Optional[ModelConfig] = None
    teacher_path: str = ""
    init_path: str = ""
    reset_head: bool = False
    unlabeled_dropout: bool = True
    unlabeled_stochastic_depth: bool = True
    rematerialise: bool = False
    evaluation: Optional[SplitConfig] = None
    steps_per_eval: int = 3000
    save_checkpoints_steps: int = 1000
    keep_checkpoint_max: int = 5
    iterations_per_loop: int = 1000
    log_step_count_steps: int = 64
    profile_steps: Optional[tuple[int, int]] = None
    use_averages: bool = True
