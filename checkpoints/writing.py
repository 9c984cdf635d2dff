"""Checkpoints are written, listed and found. One counts if its `.index` is there, which is written last and deleted first."""

from __future__ import annotations

import os
import re
from typing import Any, Optional

import tensorflow as tf

from runtime.errors import UserError, first_line
from runtime.files import listed, temporary_beside, write_text

PREFIX = "model.ckpt"


DATA_SUFFIX = ".data-00000-of-00001"
INDEX_SUFFIX = ".index"


_OWN = re.compile(rf"^{re.escape(PREFIX)}-(\d+){re.escape(INDEX_SUFFIX)}$")


def write(prefix: str, tensors: dict[str, Any], flag: str = "model_dir") -> None:
    """Writes a checkpoint `prefix` of named tensors that appears only when whole; `flag` gave its place, for messages.

    Raises:
      UserError: the folder cannot be written (also: the disk is full).
    """
    temporary = temporary_beside(prefix)
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
        for leftover in files_of(temporary):
            tf.io.gfile.remove(leftover)


def files_of(prefix: str) -> list[str]:
    """Every file whose name begins with `prefix`."""
    folder, name = os.path.split(prefix)
    return [os.path.join(folder, found) for found in listed(folder) if found.startswith(name)]


def save_tensors(model_dir: str, step: int, tensors: dict[str, Any], keep: int = 0) -> str:
    """Writes named tensors as `model.ckpt-STEP`, keeps the last `keep` (0: all); returns the prefix."""
    prefix = os.path.join(model_dir, f"{PREFIX}-{step}")
    write(prefix, tensors)
    kept = list_own(model_dir)[-keep:] if keep > 0 else list_own(model_dir)
    lines = [f'model_checkpoint_path: "{PREFIX}-{step}"']
    lines += [f'all_model_checkpoint_paths: "{PREFIX}-{number}"' for number in kept]
    write_text(os.path.join(model_dir, "checkpoint"), "\n".join(lines) + "\n")
    for number in set(list_own(model_dir)) - set(kept):
        old = os.path.join(model_dir, f"{PREFIX}-{number}")
        for suffix in (INDEX_SUFFIX, DATA_SUFFIX):
            tf.io.gfile.remove(old + suffix)
    return prefix


def list_own(model_dir: str) -> list[int]:
    """Steps of the whole checkpoints in a model_dir, ascending."""
    names = set(listed(model_dir))
    found = [_OWN.match(name) for name in names]
    return sorted(
        int(match.group(1)) for match in found if match and match.group(0)[: -len(INDEX_SUFFIX)] + DATA_SUFFIX in names
    )


def latest(model_dir: str) -> Optional[str]:
    """Prefix of the newest whole checkpoint in a model_dir; None where there is none."""
    steps = list_own(model_dir)
    return os.path.join(model_dir, f"{PREFIX}-{steps[-1]}") if steps else None
