"""Checkpoints are read and checked: a released one by the same code as one of ours, because both have one format."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from checkpoints.names import AVERAGE_SUFFIX, MOMENTUM_SUFFIX, SQUARES_SUFFIX, STEP_NAME
from checkpoints.writing import INDEX_SUFFIX, files_of, latest
from efficientnet.model import EfficientNet
from runtime.errors import UserError, first_line
from runtime.files import is_temporary, listed

HEAD = "head/dense"


_FILE_OF_A_CHECKPOINT = re.compile(r"(\.index|\.meta|\.data-\d{5}-of-\d{5})$")
_NAME_FLAGS = {"teacher_model_path": "teacher_model_name"}
# What TensorFlow's reader raises for a damaged file, depending on where the damage is.
_UNREADABLE = (tf.errors.OpError, RuntimeError, ValueError, IndexError)
SIGNS_OF_PATTERNS = re.compile(r"[][*?\\]")
_DERIVED = (AVERAGE_SUFFIX, MOMENTUM_SUFFIX, SQUARES_SUFFIX)


def resolve(path: str, flag: str) -> str:
    """The checkpoint prefix that `path` means: a prefix itself, or the newest checkpoint of a model_dir.

    Raises:
      UserError: a file of the checkpoint instead of its prefix, a folder without a checkpoint, nothing there.
    """
    match = _FILE_OF_A_CHECKPOINT.search(path)
    if match and not tf.io.gfile.isdir(path):
        raise UserError(
            f"--{flag}: got {path}, expected the checkpoint's prefix; leave {match.group()} out: {path[: match.start()]}"
        )
    names = files_of(path + ".")
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
    indexes = [name for name in listed(path) if name.endswith(INDEX_SUFFIX) and not is_temporary(name)]
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
            self._reader = tf.train.load_checkpoint(self._as_no_pattern())
            self.shapes: dict[str, list[int]] = self._reader.get_variable_to_shape_map()
        except _UNREADABLE as error:
            raise self._corrupt(error) from error

    def _as_no_pattern(self) -> str:
        """The prefix, or that of links to its files if it has a sign that TensorFlow's reader takes for part of a pattern."""
        if not SIGNS_OF_PATTERNS.search(self.prefix):
            return self.prefix
        folder = tempfile.mkdtemp(prefix="checkpoint-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for path in files_of(self.prefix + "."):
            link = os.path.join(folder, "checkpoint" + path[len(self.prefix) :])
            if "://" in path:
                tf.io.gfile.copy(path, link)
            else:
                os.symlink(os.path.abspath(path), link)
        return os.path.join(folder, "checkpoint")

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


def step_of(prefix: str, flag: str) -> int:
    """Updates that a checkpoint's training had done; 0 if the checkpoint does not say."""
    reader = Reader(prefix, flag)
    return int(reader.tensor(STEP_NAME)) if STEP_NAME in reader.shapes else 0
