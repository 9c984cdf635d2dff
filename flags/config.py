"""Frozen dataclasses that carry what the flags say to the rooms, so that nothing below reads FLAGS. No TensorFlow here."""

from __future__ import annotations

import dataclasses
from typing import Optional

from data.config import AugmentConfig, DataConfig
from data.tasks import Task
from efficientnet.variants import ModelConfig


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Loss, optimiser and schedule (docs/release.md, sections 5, 6).

    Attributes:
      train_steps: steps of the whole schedule, `train_ratio` already multiplied in.
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
class DeviceConfig:
    """Which devices to run on.

    Attributes:
      use_tpu, tpu, tpu_zone, gcp_project: the flags of the same names.
      bfloat16: activations in bfloat16 (decided by flag and device before a model is built).
      num_shards_per_group: replicas whose batch-norm statistics are averaged together; -1: docs/release.md, section 1.
    """

    use_tpu: bool = True
    tpu: str = ""
    tpu_zone: str = ""
    gcp_project: str = ""
    use_bfloat16: Optional[bool] = None
    num_shards_per_group: int = -1


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training: `train`, `eval` and `train_and_eval`, and each network of `iterate`.

    Attributes:
      teacher: an online teacher's network, with `teacher_path` its checkpoint; None without one.
      init_path: checkpoint whose averages the weights start from; "" for a fresh start.
      reset_head: leave the classifier of `init_path` out.
      unlabeled_dropout, unlabeled_stochastic_depth: False spares the unlabeled images this noise.
      rematerialise: compute each block again in the backward pass instead of keeping its activations.
      train, evaluate: what the mode does.
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
    train: bool = True
    evaluate: bool = True
    eval_batch_size: int = 8
    steps_per_eval: int = 3000
    save_checkpoints_steps: int = 1000
    keep_checkpoint_max: int = 5
    iterations_per_loop: int = 1000
    log_step_count_steps: int = 64
    profile_steps: Optional[tuple[int, int]] = None
    num_eval_images: Optional[int] = None
    eval_split: str = "test"
    use_averages: bool = True


@dataclasses.dataclass(frozen=True)
class TeacherNoise:
    """Noise of a teacher that predicts as a student trains: crops, `augment`, dropout and stochastic depth.

    Attributes:
      augment: RandAugment.
      flip: whether a mirrored image keeps its class.
      seed: an image's noise follows from this and from its bytes alone.
    """

    augment: AugmentConfig
    flip: bool
    seed: int


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Soft labels for unlabeled shards (docs/release.md, section 8).

    Attributes:
      checkpoint: a checkpoint prefix or a model_dir.
      input_dir: directory of the images' shards (`;` separates several); `input_flag` gave it, for messages.
      output_dir: where prediction records go (`--output_dir`); with `reassign_label`, the relabeled filtered records.
      info_dir: where the counts go; output_dir where "".
      shard_ids: which of the `num_shards` input shards; None for all.
      total_replicas, worker_id: this process takes every total_replicas-th record, from worker_id on.
      samples_per_class: how many images a class are saved as JPEGs to look at.
      store_top_k: how many classes a soft label keeps (`data/soft_labels.py`); 0 for all.
      noise: what the teacher predicts under; None for the release's way, without noise.
    """

    title: str
    model: ModelConfig
    checkpoint: str
    input_dir: str
    output_dir: str
    image_size: int
    info_dir: str = ""
    file_prefix: str = "train"
    num_shards: int = 128
    shard_ids: Optional[tuple[int, ...]] = (0,)
    total_replicas: int = 1
    worker_id: int = 0
    batch_size: int = 8
    reassign_label: bool = False
    skip_corrupt_records: bool = False
    samples_per_class: int = 30
    store_top_k: int = 0
    noise: Optional[TeacherNoise] = None
    input_flag: str = "unlabel_data_dir"
    class_names: tuple[str, ...] = ()
    use_averages: bool = True
    device: DeviceConfig = DeviceConfig()


@dataclasses.dataclass(frozen=True)
class BalanceConfig:
    """Filter and balance (docs/release.md, section 9).

    Attributes:
      input_dir: directory of the images' shards that were predicted on.
      prediction_dir: directory of the prediction shards.
      output_dir: filtered shards go to `<output_dir>/data/`, statistics to `<output_dir>/stats.json`.
      num_classes: length that every soft label must have.
      num_image: records of every class that has a candidate.
      min_threshold, max_prob: confidence limits of a candidate (>= and <=).
      upsample: duplicate where candidates are fewer than num_image.
      use_all: every candidate once.
      only_get_stats: write statistics and thresholds and stop.
      num_shards: input shards (and output shards); the pattern is `<file_prefix>-SSSSS-of-NNNNN`.
      only_use_num_shards: use only the first so many shards; -1 all.
      beam_args: passed on to Beam.
    """

    title: str
    input_dir: str
    prediction_dir: str
    output_dir: str
    num_classes: int
    num_image: int = 1300
    min_threshold: float = 0.0
    max_prob: float = 2.0
    upsample: bool = True
    use_all: bool = False
    only_get_stats: bool = False
    file_prefix: str = "train"
    num_shards: int = 128
    only_use_num_shards: int = -1
    seed: int = 0
    beam_args: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ConvertConfig:
    """A released checkpoint becomes a model_dir of ours (`--mode=convert`).

    Attributes:
      checkpoint: the released checkpoint's prefix; `flag` gave it, for messages.
      model_dir: receives model.json and the checkpoint.
      image_size: pixels at which the network sees images.
    """

    title: str
    model: ModelConfig
    checkpoint: str
    model_dir: str
    image_size: int
    task: Task
    flag: str = "init_model_path"


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """A checkpoint becomes files that other programs read (`--mode=export`).

    Attributes:
      checkpoint: a checkpoint prefix or a model_dir (`--predict_ckpt_path`).
      output_dir: receives `saved_model/`, `weights.h5` and, with `tf1_checkpoint`, `model.ckpt.*` (`--output_dir`).
      image_size: pixels at which the network sees images.
      task: names the classes in `model.json`.
      use_averages: export the moving averages, not the raw weights.
      tf1_checkpoint: also write a checkpoint with the release's names.
    """

    title: str
    model: ModelConfig
    checkpoint: str
    output_dir: str
    image_size: int
    task: Task
    use_averages: bool = True
    tf1_checkpoint: bool = False


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """Building a task's records.

    Attributes:
      data_dir: receives `task.json`, `labeled/` and `unlabeled/`.
      num_labeled: digits: labeled training images, the same number of every class; the rest of the pool is unlabeled.
      num_test_images: held-out images; None is the task's own choice (digits: 500; folder: none but those in test/).
      num_shards: shards of the unlabeled set (digits, folder; svhn and imagenet have the release's numbers).
      source_dir: the user's own files, for tasks that read some.
      download: fetch the task's official files into source_dir where they are not there (svhn).
      num_processes: processes that decode images; 0 for one a core. Changes nothing in what is written.
    """

    task_name: str
    data_dir: str
    num_labeled: int = 40
    num_test_images: Optional[int] = None
    num_shards: int = 4
    seed: int = 0
    source_dir: str = ""
    download: bool = False
    num_processes: int = 0


@dataclasses.dataclass(frozen=True)
class ClassifyConfig:
    """What a trained network says about image files (`--mode=classify`).

    Attributes:
      checkpoint: a checkpoint prefix or a model_dir.
      inputs: image files, and folders whose images are all taken.
      image_size: pixels at which the network sees images.
      class_names: one name a class; empty shows the classes' numbers, from 0.
      imagenet: the classes are ImageNet's thousand, whose names are known elsewhere.
      output_csv: file for a row an image; "" for none.
      top: how many classes an image.
      batch_size: images of one replica's batch.
    """

    title: str
    model: ModelConfig
    checkpoint: str
    inputs: tuple[str, ...]
    image_size: int
    class_names: tuple[str, ...] = ()
    imagenet: bool = False
    output_csv: str = ""
    top: int = 5
    batch_size: int = 8
    use_averages: bool = True
    device: DeviceConfig = DeviceConfig()


@dataclasses.dataclass(frozen=True)
class RoundConfig:
    """One round: the teacher predicts, the records are balanced, the student trains and is perhaps finetuned."""

    predict: PredictConfig
    balance: BalanceConfig
    student: TrainConfig
    finetune: Optional[TrainConfig] = None

    @property
    def outcome(self) -> TrainConfig:
        """The training whose network is the next round's teacher."""
        return self.finetune or self.student


@dataclasses.dataclass(frozen=True)
class IterateConfig:
    """The whole loop; every stage's folder lies under `work_dir` (see `pseudo_label/rounds.py`).

    Attributes:
      teacher: its training, or only its evaluation where it is ready-made.
      ready_teacher: how a ready-made teacher comes into its folder; None where it is trained.
    """

    work_dir: str
    teacher: TrainConfig
    rounds: tuple[RoundConfig, ...]
    prepare: Optional[PrepareConfig] = None
    ready_teacher: Optional[ConvertConfig] = None
    command: str = ""
