"""A released checkpoint becomes a model_dir of ours (`--mode=convert`)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from checkpoints import description, writing
from checkpoints.config import ConvertConfig
from checkpoints.names import AVERAGE_SUFFIX, STEP_NAME
from checkpoints.reading import Reader
from efficientnet.model import EfficientNet
from runtime.errors import UserError


def convert(config: ConvertConfig) -> str:
    """Writes a released checkpoint as a model_dir: everything that it holds of this network (weights, averages, slots,
    step) and model.json. Returns the new checkpoint's prefix.

    Raises:
      UserError: missing, corrupt, or another network's checkpoint; a model_dir that holds a checkpoint already.
    """
    existing = writing.latest(config.model_dir)
    if existing:
        raise UserError(f"--model_dir: got {config.model_dir}, which holds {existing} already; give an empty folder")
    reader = Reader(config.checkpoint, config.flag)
    tensors = tensors_of(reader, EfficientNet(config.model))
    tensors.setdefault(STEP_NAME, tf.constant(0, tf.int64))
    description.write_description(config.model_dir, config.model, config.image_size, config.task.to_json())
    prefix = writing.save_tensors(config.model_dir, int(tensors[STEP_NAME]), tensors)
    averages = sum(name.endswith(AVERAGE_SUFFIX) for name in tensors)
    print(f"{config.title}: {reader.prefix} is now {prefix} ({len(tensors)} tensors, {averages} of them averages)")
    return prefix


def tensors_of(reader: Reader, model: EfficientNet) -> dict[str, Any]:
    """Every tensor of the checkpoint that is the network's own, checked against it; an online teacher's are left out."""
    reader.check(model, model.named_variables())
    root = model.config.name + "/"
    return {name: reader.tensor(name) for name in sorted(reader.shapes) if name == STEP_NAME or name.startswith(root)}
