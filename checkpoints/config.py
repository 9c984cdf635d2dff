"""What `convert` and `export` do, as frozen dataclasses. No TensorFlow here."""

from __future__ import annotations

import dataclasses

from data.tasks import Task
from efficientnet.variants import ModelConfig


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
