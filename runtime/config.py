"""Which devices to run on, as a frozen dataclass. No TensorFlow here."""

from __future__ import annotations

import dataclasses
from typing import Optional


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
