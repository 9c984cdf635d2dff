"""What predict, balance and the whole loop do, as frozen dataclasses. No TensorFlow here."""

from __future__ import annotations

import dataclasses
from typing import Optional

from checkpoints.config import ConvertConfig
from data.config import TeacherNoise
from data.prepare.config import PrepareConfig
from efficientnet.variants import ModelConfig
from evaluation.robustness.config import RobustnessConfig
from runtime.config import DeviceConfig
from training.config import TrainConfig


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
      store_top_k: how many classes a soft label keeps (`data/records/soft_labels.py`); 0 for all.
      fit: how an image that is no square becomes one (`data.tasks.FITS`).
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
    fit: str = "crop"
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
      label_names: one a class, for people; empty where they are not known.
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
    label_names: tuple[str, ...] = ()

    def name_of(self, label: int) -> str:
        """What people call a class; its number, from 0, where no name is known."""
        return self.label_names[label] if self.label_names else str(label)


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
    """The whole loop; every stage's folder lies under `work_dir` (see `runtime/work_dir.py`).

    Attributes:
      teacher: the first teacher's training.
      ready_teacher: a checkpoint that is copied into the teacher's folder instead; None if it is trained.
      robustness: how the networks' robustness is measured at the end; None if it is not.
    """

    work_dir: str
    teacher: TrainConfig
    rounds: tuple[RoundConfig, ...]
    prepare: Optional[PrepareConfig] = None
    ready_teacher: Optional[ConvertConfig] = None
    robustness: Optional[RobustnessConfig] = None
    command: str = ""
