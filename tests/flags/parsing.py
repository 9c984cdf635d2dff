"""Flags for a test, away from absl's global ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

from absl.flags import FlagValues

from data.tasks import Task
from efficientnet.variants import ModelConfig
from flags import command_line

ROOT = Path(__file__).parents[2]
PRESETS = ROOT / "flags" / "presets"


def parsed(*arguments: str) -> FlagValues:
    values = command_line.define(FlagValues())
    rest = values(["main.py", *command_line.expanded(arguments)])
    assert rest == ["main.py"]
    return values


def describe(folder: Path, model: ModelConfig, image_size: int, task: Task) -> str:
    """Writes a model.json as training does; returns the folder."""
    os.makedirs(folder, exist_ok=True)
    text = json.dumps({"model": model.to_json(), "image_size": image_size, "task": task.to_json()})
    (folder / "model.json").write_text(text)
    return str(folder)
