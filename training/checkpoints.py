"""Checkpoints: written, found, read and checked.

Ours have the release's format and names (TensorFlow's V2 tensor bundle with `global_step`, weights, averages and RMSProp
slots), so a released checkpoint is read by the same code as one of ours, and one of ours by the release's consumers.
A checkpoint counts only when its `.index` is there, which is written last and deleted first.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from data import records
from efficientnet.model import EfficientNet
from efficientnet.variants import ModelConfig
from errors import UserError
from training.state import AVERAGE_SUFFIX, MOMENTUM_SUFFIX, SQUARES_SUFFIX, STEP_NAME, TrainingState

PREFIX = "model.ckpt"
MODEL_FILE = "model.json"
DATA_SUFFIX = ".data-00000-of-00001"
INDEX_SUFFIX = ".index"
HEAD = "head/dense"
_OWN = re.compile(rf"^{re.escape(PREFIX)}-(\d+){re.escape(INDEX_SUFFIX)}$")
_DERIVED = (AVERAGE_SUFFIX, MOMENTUM_SUFFIX, SQUARES_SUFFIX)


# --- writing --------------------------------------------------------------------------------------------------------


def write(prefix: str, tensors: dict[str, Any]) -> None:
    """Writes a checkpoint `prefix` of named tensors that appears only when whole.

    Raises:
      UserError: the folder cannot be written (also: the disk is full).
    """
    temporary = f"{prefix}.writing-{uuid.uuid4().hex[:12]}"
    names = sorted(tensors)
    try:
        tf.io.gfile.makedirs(os.path.dirname(prefix))
        tf.raw_ops.SaveV2(
            prefix=temporary,
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.convert_to_tensor(tensors[name]) for name in names],
        )
        for suffix in (DATA_SUFFIX, INDEX_SUFFIX):
            tf.io.gfile.rename(temporary + suffix, prefix + suffix, overwrite=True)
    except (tf.errors.OpError, OSError) as error:
        raise UserError(f"--model_dir: cannot write {prefix}: {first_line(error)}") from error
    finally:
        for leftover in tf.io.gfile.glob(temporary + "*"):
            tf.io.gfile.remove(leftover)


def save(model_dir: str, state: TrainingState, keep: int) -> str:
    """Writes the training's state as `model.ckpt-STEP`, keeps the last `keep`; returns the prefix."""
    step = int(state.step.numpy())
    prefix = os.path.join(model_dir, f"{PREFIX}-{step}")
    write(prefix, dict(state.named_variables()))
    kept = list_own(model_dir)[-keep:] if keep > 0 else list_own(model_dir)
    lines = [f'model_checkpoint_path: "{PREFIX}-{step}"']
    lines += [f'all_model_checkpoint_paths: "{PREFIX}-{number}"' for number in kept]
    records.write_text(os.path.join(model_dir, "checkpoint"), "\n".join(lines) + "\n")
    for number in set(list_own(model_dir)) - set(kept):
        old = os.path.join(model_dir, f"{PREFIX}-{number}")
        for suffix in (INDEX_SUFFIX, DATA_SUFFIX):
            tf.io.gfile.remove(old + suffix)
    return prefix


def list_own(model_dir: str) -> list[int]:
    """Steps of the whole checkpoints in a model_dir, ascending."""
    if not tf.io.gfile.isdir(model_dir):
        return []
    names = set(tf.io.gfile.listdir(model_dir))
    found = [_OWN.match(name) for name in names]
    return sorted(
        int(match.group(1)) for match in found if match and match.group(0)[: -len(INDEX_SUFFIX)] + DATA_SUFFIX in names
    )


def latest(model_dir: str) -> Optional[str]:
    """Prefix of the newest whole checkpoint in a model_dir; None where there is none."""
    steps = list_own(model_dir)
    return os.path.join(model_dir, f"{PREFIX}-{steps[-1]}") if steps else None


def write_description(model_dir: str, model: ModelConfig, image_size: int, task: dict[str, Any]) -> None:
    """Writes `model.json`: what a later command needs to build the same network."""
    description = {"model": model.to_json(), "image_size": image_size, "task": task}
    records.write_text(os.path.join(model_dir, MODEL_FILE), json.dumps(description, indent=1, sort_keys=True) + "\n")


# --- reading --------------------------------------------------------------------------------------------------------


def resolve(path: str, flag: str) -> str:
    """The checkpoint prefix that `path` means: a prefix itself, or the newest checkpoint of a model_dir.

    Raises:
      UserError: a file of the checkpoint instead of its prefix, a folder without a checkpoint, nothing there.
    """
    for suffix in (INDEX_SUFFIX, DATA_SUFFIX):
        if path.endswith(suffix):
            raise UserError(
                f"--{flag}: got {path}, expected the checkpoint's prefix; leave {suffix} out: {path[: -len(suffix)]}"
            )
    if tf.io.gfile.exists(path + INDEX_SUFFIX):
        if not tf.io.gfile.glob(path + ".data-*"):
            raise UserError(
                f"--{flag}: {path}{INDEX_SUFFIX} is there but no {path}.data-* beside it; copy the whole checkpoint"
            )
        return path
    if tf.io.gfile.isdir(path):
        found = latest(path) or tf.train.latest_checkpoint(path)
        if found:
            return found
        raise UserError(f"--{flag}: {path} is a folder without a checkpoint; give a checkpoint's prefix or a model_dir")
    raise UserError(f"--{flag}: no checkpoint {path} (looked for {path}{INDEX_SUFFIX})")


class Reader:
    """One checkpoint's names, shapes and tensors.

    Args:
      path: a prefix or a model_dir.
      flag: the flag that gave it, for messages.

    Raises:
      UserError: missing, truncated or corrupt.
    """

    def __init__(self, path: str, flag: str):
        self.flag = flag
        self.prefix = resolve(path, flag)
        try:
            self._reader = tf.train.load_checkpoint(self.prefix)
            self.shapes: dict[str, list[int]] = self._reader.get_variable_to_shape_map()
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            raise self._corrupt(error) from error

    def tensor(self, name: str) -> np.ndarray:
        """The value of one variable."""
        try:
            return self._reader.get_tensor(name)
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            raise self._corrupt(error) from error

    def _corrupt(self, error: Exception) -> UserError:
        return UserError(
            f"--{self.flag}: the checkpoint {self.prefix} is corrupt or cut short ({first_line(error)}); copy it again"
        )

    def check(self, expected: dict[str, list[int]], root: str, ignore_head: bool = False) -> None:
        """Raises UserError at the first variable of `expected` that is missing or has another shape, then at the first
        weight under the network's name `root` that is left over."""
        for name, shape in expected.items():
            if name not in self.shapes:
                held = sorted({held.split("/")[0] for held in self.shapes if "/stem/" in held})
                hint = f" (it holds {', '.join(held)})" if held and root not in held else ""
                raise UserError(
                    f"--{self.flag}: {self.prefix} has no variable {name}{hint}, which {root} needs; check --model_name "
                    "and the coefficients"
                )
            if list(self.shapes[name]) != list(shape):
                raise UserError(
                    f"--{self.flag}: {self.prefix} has {name} of shape {list(self.shapes[name])}, expected "
                    f"{list(shape)}; check --model_name, its coefficients and --num_label_classes"
                    + (" (--reset_head starts a new classifier)" if HEAD in name else "")
                )
        for name in self.shapes:
            if not name.startswith(root + "/") or name.endswith(_DERIVED) or (ignore_head and HEAD in name):
                continue
            if name not in expected:
                raise UserError(
                    f"--{self.flag}: {self.prefix} has the variable {name}, which {root} of these flags does not; check "
                    "--model_name and --depth_coefficient"
                )


def load_weights(
    model: EfficientNet, path: str, flag: str, *, use_averages: bool = True, reset_head: bool = False
) -> str:
    """Gives `model` the weights of a checkpoint, a released one or ours; returns its prefix.

    Args:
      model: the network; its name and shapes must be the checkpoint's.
      path: a prefix or a model_dir.
      flag: the flag that gave it, for messages.
      use_averages: take the moving averages. A variable that was frozen in training has none: its raw value is taken.
      reset_head: leave the classifier as it was initialised.

    Raises:
      UserError: missing or corrupt, another variant or class count (names the first mismatch), no averages in it.
    """
    reader = Reader(path, flag)
    named = {name: variable for name, variable in model.named_variables().items() if not (reset_head and HEAD in name)}
    reader.check({name: variable.shape.as_list() for name, variable in named.items()}, model.config.name, reset_head)
    averaged = {name for name in named if name + AVERAGE_SUFFIX in reader.shapes}
    if use_averages and not averaged:
        raise UserError(
            f"--{flag}: {reader.prefix} holds no moving averages; pass --use_averages=False to take the raw weights"
        )
    for name, variable in named.items():
        variable.assign(reader.tensor(name + AVERAGE_SUFFIX if use_averages and name in averaged else name))
    return reader.prefix


def restore(state: TrainingState, path: str) -> None:
    """Continues a training from one of its own checkpoints: every variable, slot, average and the step.

    Raises:
      UserError: the checkpoint is another network's (names the first differing variable), or unreadable.
    """
    reader = Reader(path, "model_dir")
    named = state.named_variables()
    reader.check(
        {name: variable.shape.as_list() for name, variable in named.items() if name != STEP_NAME},
        state.model.config.name,
    )
    for name, variable in named.items():
        variable.assign(reader.tensor(name))


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    text = getattr(error, "message", None) or str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
