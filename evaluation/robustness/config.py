"""What the robustness suite measures, as frozen dataclasses. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import math
from typing import Optional

from data.config import SplitConfig
from efficientnet.variants import ModelConfig
from runtime.config import DeviceConfig
from runtime.errors import UserError

LEVELS = 255.0
EPSILONS = (0.0, 2.0, 4.0, 8.0, 16.0)
# Of epsilon, all of PGD's steps together: it may go from one end of the ball to the other, and then some (Madry et al.).
STEP_SHARE = 2.5


@dataclasses.dataclass(frozen=True)
class AttackConfig:
    """FGSM and PGD on the pixels 0..255 that enter the network.

    Attributes:
      epsilons: by how many levels of 0..255 a pixel may change; 0 is the clean picture.
      steps: of PGD.
      step_size: of PGD, in levels; None: 2.5 epsilon / steps, so that each epsilon has its own.
      random_start: PGD starts anywhere in the epsilon ball, not at the picture.
      targeted: PGD pulls towards a random wrong class, not merely away from the true one.
      seed: the random starts and target classes follow from it and a picture's position alone.
    """

    epsilons: tuple[float, ...] = EPSILONS
    steps: int = 10
    step_size: Optional[float] = None
    random_start: bool = True
    targeted: bool = False
    seed: int = 0


def check_attack(config: AttackConfig) -> None:
    """Raises UserError for a value that no attack can use."""
    for epsilon in config.epsilons:
        if not 0 <= epsilon <= LEVELS:
            raise UserError(f"--epsilons: got {epsilon:g}, expected 0 to 255: the levels by which a pixel may change")
    if not config.epsilons:
        raise UserError("--epsilons: got none, expected at least one, for example 0,2,4,8,16")
    if config.steps < 1:
        raise UserError(f"--pgd_steps: got {config.steps}, expected 1 or more")
    size = config.step_size
    if size is not None and not (math.isfinite(size) and size > 0):
        raise UserError(
            f"--pgd_step_size: got {size:g}, expected levels of 0..255, above 0; leave it out for 2.5 epsilon / steps"
        )


# What may be asked for: on the task's own test pictures, and the published sets.
OWN, PUBLISHED = ("generated", "fgsm", "pgd"), ("a", "c", "p", "r", "o", "v2", "real", "sketch")


@dataclasses.dataclass(frozen=True)
class Network:
    """One of the networks that are compared.

    Attributes:
      name: for people.
      checkpoint: a checkpoint prefix or a model_dir.
      model: its architecture.
      image_size: pixels at which it sees pictures.
    """

    name: str
    checkpoint: str
    model: ModelConfig
    image_size: int


@dataclasses.dataclass(frozen=True)
class RobustnessConfig:
    """How robust networks are (`--mode=robustness`), all on the same pictures.

    Attributes:
      networks: the first one is what the others are compared with, the teacher.
      measures: which of `OWN` and `PUBLISHED`.
      output_dir: folder of the page, and of what each network answered.
      data: the task's test pictures; None if only published sets are asked for that need none.
      image_size: pixels at which test pictures are corrupted, the same for all networks.
      robustness_dir: folder of the published sets.
      every: only the first picture of each so many.
      attack: how FGSM and PGD attack.
      seed: of all draws.
      num_processes: that generate or decode pictures; 0: one for each core.
      eval_batch_size: pictures of one replica's batch.
      command: the command line to show on the page.
    """

    title: str
    networks: tuple[Network, ...]
    measures: tuple[str, ...]
    output_dir: str
    data: Optional[SplitConfig] = None
    image_size: int = 0
    robustness_dir: str = ""
    every: int = 1
    attack: AttackConfig = AttackConfig()
    seed: int = 0
    num_processes: int = 0
    eval_batch_size: int = 8
    use_averages: bool = True
    device: DeviceConfig = DeviceConfig()
    command: str = ""
