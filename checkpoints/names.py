"""The names that variables have in checkpoints, ours and the release's (docs/release.md, section 2)."""

from __future__ import annotations

AVERAGE_SUFFIX = "/ExponentialMovingAverage"
SQUARES_SUFFIX = "/RMSProp"
MOMENTUM_SUFFIX = "/RMSProp_1"
STEP_NAME = "global_step"
