"""Numbers that stages left as JSON, read and rounded. None of them is computed here."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf

from runtime.work_dir import METRICS_FILE

DECIMALS = 6


def training_log(model_dir: str) -> list[dict[str, Any]]:
    """Logged steps in order; of a step that was logged twice (before and after a restart) the later line."""
    lines = read_json_lines(os.path.join(model_dir, METRICS_FILE))
    by_step = {line["step"]: line for line in lines}
    return [by_step[step] for step in sorted(by_step)]


def rounded(value: Any) -> Any:
    """Rounds every float inside to DECIMALS, so that files compare equal."""
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return value


def read_json(path: str) -> Any:
    """A JSON file's content, None where there is none."""
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)


def read_json_lines(path: str) -> list[dict[str, Any]]:
    """A JSON-lines file's objects, empty where there is none; a last line cut short by a crash is left out."""
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        lines = file.read().split("\n")
    # Only what ends in a newline was written to its end.
    return [json.loads(line) for line in lines[:-1] if line.strip()]
