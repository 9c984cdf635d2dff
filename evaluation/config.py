"""What `eval` and `classify` do, as frozen dataclasses. No TensorFlow here."""

from __future__ import annotations

import dataclasses

from data.config import SplitConfig
from efficientnet.variants import ModelConfig
from runtime.config import DeviceConfig


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """A checkpoint's accuracy on labeled images (`--mode=eval`).

    Attributes:
      checkpoint: a checkpoint prefix or a model_dir.
      image_size: pixels at which the network sees images.
      data: the images.
      use_averages: take the moving averages, not the raw weights.
    """

    title: str
    model: ModelConfig
    checkpoint: str
    image_size: int
    data: SplitConfig
    use_averages: bool = True
    device: DeviceConfig = DeviceConfig()


@dataclasses.dataclass(frozen=True)
class ClassifyConfig:
    """What a trained network says about image files (`--mode=classify`).

    Attributes:
      checkpoint: a checkpoint prefix or a model_dir.
      inputs: image files, and folders whose images are all taken.
      image_size: pixels at which the network sees images.
      fit: how an image that is no square becomes one (`data.tasks.FITS`).
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
    fit: str = "crop"
    class_names: tuple[str, ...] = ()
    imagenet: bool = False
    output_csv: str = ""
    top: int = 5
    batch_size: int = 8
    use_averages: bool = True
    device: DeviceConfig = DeviceConfig()
