"""The EfficientNet variants as data, and the arithmetic that turns one into layer widths (docs/release.md, section 1).

No TensorFlow here: flags, reports and tools may read it for free.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple, Optional

from runtime.errors import UserError


class Variant(NamedTuple):
    """Scaling of one variant: width and depth multipliers, native input pixels, dropout rate before the classifier."""

    width: float
    depth: float
    pixels: int
    dropout_rate: float


VARIANTS = {
    "efficientnet-b0": Variant(1.0, 1.0, 224, 0.2),
    "efficientnet-b1": Variant(1.0, 1.1, 240, 0.2),
    "efficientnet-b2": Variant(1.1, 1.2, 260, 0.3),
    "efficientnet-b3": Variant(1.2, 1.4, 300, 0.3),
    "efficientnet-b4": Variant(1.4, 1.8, 380, 0.4),
    "efficientnet-b5": Variant(1.6, 2.2, 456, 0.4),
    "efficientnet-b6": Variant(1.8, 2.6, 528, 0.5),
    "efficientnet-b7": Variant(2.0, 3.1, 600, 0.5),
    "efficientnet-l2": Variant(4.3, 5.3, 800, 0.5),
}

DEFAULT_STOCHASTIC_DEPTH_RATE = 0.2
SQUEEZE_EXCITE_RATIO = 0.25
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Stage(NamedTuple):
    """One stage of b0; channels are unscaled."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    input_channels: int
    output_channels: int


STAGES = (
    Stage(1, 3, 1, 1, 32, 16),
    Stage(2, 3, 2, 6, 16, 24),
    Stage(2, 5, 2, 6, 24, 40),
    Stage(3, 3, 2, 6, 40, 80),
    Stage(3, 5, 1, 6, 80, 112),
    Stage(4, 5, 2, 6, 112, 192),
    Stage(1, 3, 1, 6, 192, 320),
)


class Block(NamedTuple):
    """One MBConv block after scaling, in channels."""

    kernel: int
    stride: int
    expansion: int
    input_channels: int
    output_channels: int
    squeeze_channels: int

    @property
    def has_residual(self) -> bool:
        """Whether the block's input is added to its output (and stochastic depth applies)."""
        return self.stride == 1 and self.input_channels == self.output_channels


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes a network: variant, overrides, classes and input statistics.

    Attributes:
      name: a key of `VARIANTS`.
      num_classes: width of the classifier.
      mean, std: per RGB channel, in units of 1/255 of the pixel range.
      small_image_model: strides of stages 2 and 3 become 1 (32-pixel tasks).
      width_coefficient, depth_coefficient, dropout_rate, stochastic_depth_rate: override the variant's where not None.
      fix_layer_num: k >= 0 freezes the stem and blocks 0..k-1; -1 freezes nothing.
    """

    name: str
    num_classes: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    small_image_model: bool = False
    width_coefficient: Optional[float] = None
    depth_coefficient: Optional[float] = None
    dropout_rate: Optional[float] = None
    stochastic_depth_rate: Optional[float] = None
    fix_layer_num: int = -1

    @property
    def variant(self) -> Variant:
        """The variant with this config's overrides applied; raises UserError for an unknown name."""
        if self.name not in VARIANTS:
            raise UserError(f"--model_name: got {self.name!r}, expected one of {', '.join(VARIANTS)}")
        base = VARIANTS[self.name]
        return base._replace(
            width=base.width if self.width_coefficient is None else self.width_coefficient,
            depth=base.depth if self.depth_coefficient is None else self.depth_coefficient,
            dropout_rate=base.dropout_rate if self.dropout_rate is None else self.dropout_rate,
        )

    @property
    def depth_drop_rate(self) -> float:
        """Stochastic depth's drop rate at the (virtual) block after the last one."""
        rate = self.stochastic_depth_rate
        return DEFAULT_STOCHASTIC_DEPTH_RATE if rate is None else rate

    @property
    def stem_channels(self) -> int:
        """Output channels of the stem."""
        return round_channels(STEM_CHANNELS, self.variant.width)

    @property
    def head_channels(self) -> int:
        """Output channels of the head's convolution."""
        return round_channels(HEAD_CHANNELS, self.variant.width)

    def blocks(self) -> list[Block]:
        """All MBConv blocks in order."""
        variant = self.variant
        blocks = []
        for index, stage in enumerate(STAGES):
            stride = 1 if self.small_image_model and index in (1, 2) else stage.stride
            channels_in = round_channels(stage.input_channels, variant.width)
            channels_out = round_channels(stage.output_channels, variant.width)
            for repeat in range(math.ceil(variant.depth * stage.repeats)):
                first = repeat == 0
                width_in = channels_in if first else channels_out
                blocks.append(
                    Block(
                        kernel=stage.kernel,
                        stride=stride if first else 1,
                        expansion=stage.expansion,
                        input_channels=width_in,
                        output_channels=channels_out,
                        squeeze_channels=max(1, int(width_in * SQUEEZE_EXCITE_RATIO)),
                    )
                )
        return blocks

    @property
    def num_values(self) -> int:
        """Weights and batch-norm statistics of the network, as many as a checkpoint has of each kind."""
        blocks, norm = self.blocks(), 4  # a batch norm's values for each channel
        total = 27 * self.stem_channels + norm * self.stem_channels
        for block in blocks:
            width = block.input_channels * block.expansion
            total += (block.input_channels + norm) * width if block.expansion > 1 else 0
            total += (block.kernel**2 + norm) * width
            total += 2 * block.squeeze_channels * width + block.squeeze_channels + width
            total += (width + norm) * block.output_channels
        total += (blocks[-1].output_channels + norm) * self.head_channels
        return total + (self.head_channels + 1) * self.num_classes

    def to_json(self) -> dict[str, Any]:
        """The config as JSON-able values; `from_json` reads it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelConfig:
        """Inverse of `to_json`."""
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


def round_channels(channels: int, width: float) -> int:
    """Scales by `width` and rounds to the nearest multiple of 8, at least 8, never losing more than 10 %."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    if rounded < 0.9 * scaled:
        rounded += 8
    return int(rounded)
