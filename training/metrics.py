"""What a training leaves to look at: metrics.jsonl, evaluations.jsonl and TensorBoard's event files."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf

from runtime.errors import UserError
from runtime.files import write_text
from runtime.work_dir import EVALUATIONS_FILE, METRICS_FILE


class MetricsLog:
    """Appends metrics of a model_dir. What an earlier run logged after `first_step` is left out: it is trained again.

    Args:
      model_dir: where the files go.
      first_step: updates done when the run starts.
    """

    def __init__(self, model_dir: str, first_step: int):
        self._paths = {name: os.path.join(model_dir, name) for name in (METRICS_FILE, EVALUATIONS_FILE)}
        self._lines = {name: _read_until(path, first_step) for name, path in self._paths.items()}
        self._train = tf.summary.create_file_writer(model_dir)
        self._eval = tf.summary.create_file_writer(os.path.join(model_dir, "eval"))

    def add(self, step: int, metrics: dict[str, float]) -> None:
        """Logs training metrics (means since the last line) at `step`."""
        self._lines[METRICS_FILE].append(json.dumps({"step": step, **metrics}, sort_keys=True))
        _summarize(self._train, step, metrics)

    def add_evaluation(self, step: int, result: dict[str, Any]) -> None:
        """Logs one evaluation."""
        self._lines[EVALUATIONS_FILE].append(json.dumps({**result, "step": step}, sort_keys=True))
        _summarize(self._eval, step, {name: value for name, value in result.items() if isinstance(value, float)})

    def write(self) -> None:
        """Brings the files up to date; called with every checkpoint, so that both tell of the same steps."""
        for name, lines in self._lines.items():
            if lines:
                write_text(self._paths[name], "\n".join(lines) + "\n")
        self._train.flush()
        self._eval.flush()


def _read_until(path: str, step: int) -> list[str]:
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        lines = file.read().splitlines()
    try:
        return [line for line in lines if json.loads(line)["step"] <= step]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: a line of it is damaged ({error}); put the file right, or remove it") from error


def _summarize(writer: tf.summary.SummaryWriter, step: int, values: dict[str, float]) -> None:
    with writer.as_default(step=step):
        for name, value in values.items():
            tf.summary.scalar(name, value)
