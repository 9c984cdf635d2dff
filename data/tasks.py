"""What a task is: its classes, pixels, statistics and splits. No TensorFlow here.

Known tasks stand in `TASKS`; `--mode=prepare` writes the same fields into `task.json` beside the records, and `load_task`
lets those win, so that a prepared folder describes itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, Optional

from efficientnet.variants import IMAGENET_MEAN, IMAGENET_STD
from runtime.errors import UserError
from runtime.files import read_text

TASK_FILE = "task.json"
# How an image that is no square becomes one: what sticks out is cut off (the release's way); grey is added; it is distorted.
FITS = ("crop", "pad", "stretch")
# True labels (0-based) of the unlabeled images, a shard, where they are known; training never reads them.
TRUE_LABELS_FILE = "labels_for_report.json"


@dataclasses.dataclass(frozen=True)
class Task:
    """One classification task.

    Attributes:
      name: the task's name.
      num_classes: number of classes; labels in records are 1..num_classes.
      mean, std: per RGB channel, in units of 1/255 of the pixel range.
      image_size: input pixels of the small-image model; None where the variant's own size is used.
      small_image_model: whether images enter as they are (no crop, no resize).
      flip: whether a mirrored image keeps its class.
      fit: how an image that is no square becomes one (see FITS).
      num_images: images of each split ("train", "test", ...); a split that is absent is counted when needed.
      eval_split: the split that `eval` uses; "" where there is none.
      class_names: one name a class, or empty.
    """

    name: str
    num_classes: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    image_size: Optional[int] = None
    small_image_model: bool = False
    flip: bool = True
    fit: str = "crop"
    num_images: dict[str, int] = dataclasses.field(default_factory=dict)
    eval_split: str = "test"
    class_names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The task as JSON-able values; `from_json` reads it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Task:
        """Inverse of `to_json`.

        Raises:
          KeyError, TypeError, ValueError: it is none, or its parts do not fit together.
        """
        task = cls(**{**values, **{key: tuple(values[key]) for key in ("mean", "std", "class_names")}})
        if type(task.num_classes) is not int or task.num_classes < 2:
            raise ValueError(f"num_classes is {task.num_classes!r}, expected an integer of at least 2")
        if task.image_size is not None and (type(task.image_size) is not int or task.image_size < 1):
            raise ValueError(f"image_size is {task.image_size!r}, expected an integer of at least 1, or null")
        if task.fit not in FITS:
            raise ValueError(f"fit is {task.fit!r}, expected one of {', '.join(FITS)}")
        if task.class_names and len(task.class_names) != task.num_classes:
            raise ValueError(f"class_names has {len(task.class_names)} names for {task.num_classes} classes")
        if len(task.mean) != 3 or len(task.std) != 3:
            raise ValueError("mean and std need three numbers each, for red, green and blue")
        return task

    def has_other_classes(self, other: Task) -> bool:
        """Whether both name their classes, and differently."""
        return bool(self.class_names and other.class_names) and self.class_names != other.class_names

    def classes(self) -> str:
        """The first names, for messages."""
        return ", ".join(self.class_names[:5]) + (", ..." if len(self.class_names) > 5 else "")


SVHN_MEAN = (0.4376821, 0.4437697, 0.47280442)
SVHN_STD = (0.19803012, 0.20101562, 0.19703614)

TASKS = {
    "imagenet": Task(
        name="imagenet",
        num_classes=1000,
        num_images={"train": 1281167, "validation": 50000},
        eval_split="validation",
    ),
    "svhn": Task(
        name="svhn",
        num_classes=10,
        mean=SVHN_MEAN,
        std=SVHN_STD,
        image_size=32,
        small_image_model=True,
        flip=False,
        num_images={"train": 69257, "dev": 4000, "test": 26032},
        class_names=tuple("0123456789"),
    ),
    # Statistics of all 1,797 digits, white strokes on black, at 16 pixels: fixed, so that a network can be described before
    # its data are prepared.
    "digits": Task(
        name="digits",
        num_classes=10,
        mean=(0.1738, 0.1738, 0.1738),
        std=(0.3038, 0.3038, 0.3038),
        image_size=16,
        small_image_model=True,
        flip=False,
        class_names=tuple("0123456789"),
    ),
    "folder": Task(name="folder", num_classes=0),
}


def load_task(name: str, data_dir: str = "", *, any_task: bool = False) -> Task:
    """The task `name`, completed by `task.json` in `data_dir` where there is one; with `any_task`, whatever that describes.

    Raises:
      UserError: unknown name, or a task.json that is broken or of another task.
    """
    if name not in TASKS:
        raise UserError(f"--task_name: got {name!r}, expected one of {', '.join(TASKS)}")
    path = os.path.join(data_dir, TASK_FILE) if data_dir else ""
    text = read_text(path) if path else None
    if text is None:
        return TASKS[name]
    try:
        task = Task.from_json(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not a task's description ({error}); put it right, or prepare the data again"
        ) from error
    if task.name != name and not any_task:
        raise UserError(f"--task_name: got {name!r}, but {path} describes the task {task.name!r}")
    return task
