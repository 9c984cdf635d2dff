"""`model.json` in a model_dir: what a later command needs to know to build the same network. No TensorFlow here."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple, Optional

from data.tasks import Task
from efficientnet.variants import ModelConfig
from runtime.errors import UserError
from runtime.files import read_text, write_text

MODEL_FILE = "model.json"


class Description(NamedTuple):
    """What a model_dir says of itself (model.json, written by training and convert)."""

    path: str
    model: ModelConfig
    image_size: int
    task: Task

    @classmethod
    def beside(cls, checkpoint: str) -> Optional[Description]:
        """The description in a model_dir, or beside a checkpoint's prefix; None for a released checkpoint.

        Raises:
          UserError: a model.json that cannot be read.
        """
        for folder in (checkpoint, os.path.dirname(checkpoint)):
            path = os.path.join(folder, MODEL_FILE)
            text = read_text(path)
            if text is not None:
                break
        else:
            return None
        try:
            found = json.loads(text)
            if type(found["image_size"]) is not int:
                raise TypeError(f"image_size is {found['image_size']!r}, expected an integer")
            return cls(path, ModelConfig.from_json(found["model"]), found["image_size"], Task.from_json(found["task"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a network's description ({error}); copy or train the model again") from error


def write_description(model_dir: str, model: ModelConfig, image_size: int, task: dict[str, Any]) -> None:
    """Writes `model.json`: what a later command needs to build the same network."""
    description = {"model": model.to_json(), "image_size": image_size, "task": task}
    write_text(os.path.join(model_dir, MODEL_FILE), json.dumps(description, indent=1, sort_keys=True) + "\n")


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
