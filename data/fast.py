"""What a stage that runs a network may be handed to go faster. `fast_cpu/` has it; `Fast()` is the plain way."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable

from data.images.randaugment import randaugment
from data.images.training import Augmenter
from efficientnet.ops import Ops


def _plain(count_up_to: Callable[[int], int]) -> Ops:
    return Ops()


def _nothing(*arguments: Any) -> None:
    pass


@dataclasses.dataclass(frozen=True)
class Fast:
    """Ways to compute; what comes out is the same but for rounding.

    Attributes:
      training: how a network that trains computes.
      inference: how a network that only infers computes. Its argument counts the images: given a number, it returns how many
        there are, or that number if there are more.
      augmenter: RandAugment of a batch, as `data.images.randaugment.randaugment`.
      before_inference: called with a network's config and the shape of a batch before TensorFlow has done anything.
    """

    training: Callable[[], Ops] = Ops
    inference: Callable[[Callable[[int], int]], Ops] = _plain
    augmenter: Augmenter = randaugment
    before_inference: Callable[..., None] = _nothing
