"""Checkpoints: written, found, read and checked.

Ours have the release's format and names (TensorFlow's V2 tensor bundle with `global_step`, weights, averages and RMSProp
slots), so a released checkpoint is read by the same code as one of ours, and one of ours by the release's consumers.
A checkpoint counts only when its `.index` is there, which is written last and deleted first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import uuid
from collections.abc import Iterable
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from data import records
from data.tasks import Task, read_text
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
_FILE_OF_A_CHECKPOINT = re.compile(r"(\.index|\.meta|\.data-\d{5}-of-\d{5})$")
_NAME_FLAGS = {"teacher_model_path": "teacher_model_name"}
# What TensorFlow's reader raises for a damaged file, depending on where the damage is.
_UNREADABLE = (tf.errors.OpError, RuntimeError, ValueError, IndexError)
_DERIVED = (AVERAGE_SUFFIX, MOMENTUM_SUFFIX, SQUARES_SUFFIX)


# --- writing --------------------------------------------------------------------------------------------------------


def write(prefix: str, tensors: dict[str, Any], flag: str = "model_dir") -> None:
    """Writes a checkpoint `prefix` of named tensors that appears only when whole; `flag` gave its place, for messages.

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
        if tf.io.gfile.exists(prefix + INDEX_SUFFIX):
            tf.io.gfile.remove(prefix + INDEX_SUFFIX)  # an old index must never describe the new data
        for suffix in (DATA_SUFFIX, INDEX_SUFFIX):
            tf.io.gfile.rename(temporary + suffix, prefix + suffix, overwrite=True)
    except (tf.errors.OpError, OSError) as error:
        raise UserError(f"--{flag}: cannot write {prefix}: {first_line(error)}") from error
    finally:
        for leftover in _files_of(temporary):
            tf.io.gfile.remove(leftover)


def _files_of(prefix: str) -> list[str]:
    """Every file whose name begins with `prefix`."""
    folder, name = os.path.split(prefix)
    if not tf.io.gfile.isdir(folder or "."):
        return []
    return [os.path.join(folder, found) for found in tf.io.gfile.listdir(folder or ".") if found.startswith(name)]


def save(model_dir: str, state: TrainingState, keep: int) -> str:
    """Writes the training's state as `model.ckpt-STEP`, keeps the last `keep`; returns the prefix."""
    return save_tensors(model_dir, int(state.step.numpy()), dict(state.named_variables()), keep)


def save_tensors(model_dir: str, step: int, tensors: dict[str, Any], keep: int = 0) -> str:
    """Writes named tensors as `model.ckpt-STEP`, keeps the last `keep` (0: all); returns the prefix."""
    prefix = os.path.join(model_dir, f"{PREFIX}-{step}")
    write(prefix, tensors)
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


def check_classes(model_dir: str, task: Task) -> None:
    """Raises UserError where the model_dir's network was trained on classes of other names, as far as both have names."""
    text = read_text(os.path.join(model_dir, MODEL_FILE))
    try:
        before = Task.from_json(json.loads(text or "")["task"])
    except (ValueError, KeyError, TypeError):
        return  # it is written again
    if before.has_other_classes(task):
        raise UserError(
            f"--model_dir: {model_dir} was trained on the classes {before.classes()}; these data have {task.classes()}; "
            "name another --model_dir (--init_model, --init_model_path: start from these weights)"
        )


# --- reading --------------------------------------------------------------------------------------------------------


def resolve(path: str, flag: str) -> str:
    """The checkpoint prefix that `path` means: a prefix itself, or the newest checkpoint of a model_dir.

    Raises:
      UserError: a file of the checkpoint instead of its prefix, a folder without a checkpoint, nothing there.
    """
    match = _FILE_OF_A_CHECKPOINT.search(path)
    if match:
        raise UserError(
            f"--{flag}: got {path}, expected the checkpoint's prefix; leave {match.group()} out: {path[: match.start()]}"
        )
    names = _files_of(path + ".")
    indexed, has_data = path + INDEX_SUFFIX in names, any(name.startswith(path + ".data-") for name in names)
    if indexed != has_data:
        there, missing = (INDEX_SUFFIX, ".data-*") if indexed else (".data-*", INDEX_SUFFIX)
        raise UserError(f"--{flag}: {path}{there} is there but no {path}{missing} beside it; copy the whole checkpoint")
    if indexed:
        return path
    if tf.io.gfile.isdir(path):
        return _resolve_folder(path, flag)
    raise UserError(f"--{flag}: no checkpoint {path} (looked for {path}{INDEX_SUFFIX}); check the path")


def _resolve_folder(path: str, flag: str) -> str:
    """A model_dir's newest checkpoint, or the only one of a downloaded folder (whose `checkpoint` file names a path of
    the machine that it was trained on)."""
    newest = latest(path)
    if newest:
        return newest
    names = tf.io.gfile.listdir(path)
    indexes = sorted(name for name in names if name.endswith(INDEX_SUFFIX) and not records.is_temporary(name))
    if len(indexes) == 1:
        return resolve(os.path.join(path, indexes[0][: -len(INDEX_SUFFIX)]), flag)
    if indexes:
        raise UserError(f"--{flag}: the folder {path} holds {len(indexes)} checkpoints ({indexes[0]}, ...); name one")
    raise UserError(f"--{flag}: {path} is a folder without a checkpoint; give a checkpoint's prefix or a model_dir")


def identity(prefix: str) -> str:
    """A checkpoint's name and what it holds, wherever it lies: `model.ckpt-800 (5f2a91c03b77)`."""
    with tf.io.gfile.GFile(prefix + INDEX_SUFFIX, "rb") as file:
        content = hashlib.sha256(file.read()).hexdigest()  # the index has every tensor's checksum
    return f"{os.path.basename(prefix)} ({content[:12]})"


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
        except _UNREADABLE as error:
            raise self._corrupt(error) from error

    def tensor(self, name: str) -> np.ndarray:
        """The value of one variable."""
        try:
            return self._reader.get_tensor(name)
        except _UNREADABLE as error:
            raise self._corrupt(error) from error

    def _corrupt(self, error: Exception) -> UserError:
        return UserError(
            f"--{self.flag}: the checkpoint {self.prefix} is corrupt or cut short ({first_line(error)}); copy it again"
        )

    def check(self, model: EfficientNet, names: Iterable[str]) -> None:
        """Raises UserError at the first of the network's variables `names` that is missing or has another shape (its
        average too), then at the first weight under the network's name that the network does not have."""
        named = model.named_variables()
        for name in names:
            if name not in self.shapes:
                raise self._missing(name, model.config.name)
            for held in (name, name + AVERAGE_SUFFIX):
                shape, expected = self.shapes.get(held), named[name].shape.as_list()
                if shape is not None and list(shape) != expected:
                    raise self._misshapen(held, list(shape), expected)
        for name in sorted(self.shapes):
            if name.startswith(model.config.name + "/") and not name.endswith(_DERIVED) and name not in named:
                raise UserError(
                    f"--{self.flag}: {self.prefix} has the variable {name} left over, which {model.config.name} of these "
                    f"flags does not have; check --{self._name_flag} and --depth_coefficient"
                )

    @property
    def _name_flag(self) -> str:
        return _NAME_FLAGS.get(self.flag, "model_name")

    def _missing(self, name: str, network: str) -> UserError:
        networks = sorted({held.split("/")[0] for held in self.shapes if "/stem/" in held})
        hint = f" (it holds {', '.join(networks)})" if networks and network not in networks else ""
        return UserError(
            f"--{self.flag}: {self.prefix} has no variable {name}{hint}, which {network} needs; check "
            f"--{self._name_flag} and the coefficients"
        )

    def _misshapen(self, name: str, shape: list[int], expected: list[int]) -> UserError:
        remedy = f"--{self._name_flag} and --width_coefficient"
        if HEAD in name and shape[:-1] == expected[:-1]:
            remedy = "--num_label_classes"
            remedy += ", or start a new classifier with --reset_head" if self.flag == "init_model_path" else ""
        return UserError(
            f"--{self.flag}: {self.prefix} has {name} of shape {shape}, expected {expected}; check {remedy}"
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
    reader.check(model, named)
    averaged = {name for name in named if name + AVERAGE_SUFFIX in reader.shapes}
    if use_averages and not averaged:
        raise UserError(
            f"--{flag}: {reader.prefix} holds no moving averages; pass --use_averages=False to take the raw weights"
        )
    for name, variable in named.items():
        variable.assign(reader.tensor(name + AVERAGE_SUFFIX if use_averages and name in averaged else name))
    return reader.prefix


def restore(state: TrainingState, path: str) -> None:
    """Continues a training: every weight, average, slot and the step.

    A converted checkpoint may lack slots or averages (some released ones do), and so may variables that were frozen
    before: those start afresh, with one line of notice.

    Raises:
      UserError: the checkpoint is another network's (names the first differing variable), has no step, is unreadable.
    """
    reader = Reader(path, "model_dir")
    weights = state.model.named_variables()
    reader.check(state.model, weights)
    if STEP_NAME not in reader.shapes:
        raise UserError(
            f"--model_dir: {reader.prefix} has no {STEP_NAME}, so a training cannot continue from it; "
            "pass it as --init_model_path, or convert it with --mode=convert"
        )
    for name, variable in weights.items():
        variable.assign(reader.tensor(name))
    state.restart_from_weights()
    derived = {name: variable for name, variable in state.named_variables().items() if name not in weights}
    fresh = [name for name in derived if name not in reader.shapes]
    for name, variable in derived.items():
        if name in reader.shapes:
            variable.assign(reader.tensor(name))
    if fresh:
        averages = sum(name.endswith(AVERAGE_SUFFIX) for name in fresh)
        logging.warning(
            "--model_dir: %s lacks %d averages and %d optimiser slots: they start afresh",
            reader.prefix,
            averages,
            len(fresh) - averages,
        )


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    text = getattr(error, "message", None) or str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
