"""From flags to the config of `prepare`. No TensorFlow here."""

from __future__ import annotations

from absl.flags import FlagValues

from data.prepare.config import PrepareConfig
from data.tasks import load_task
from flags.folders import needed
from runtime.errors import UserError


def prepare_config(values: FlagValues) -> PrepareConfig:
    """For `--mode=prepare`.

    Raises:
      UserError: no data_dir.
    """
    task_name = load_task(values.task_name).name
    for name in ("num_labeled", "known_classes", "unlabeled_classes"):
        if values[name].present and task_name != "digits":
            raise UserError(
                f"--{name}: digits alone draws its labeled images, --task_name={task_name} has them already; leave the flag out"
            )
    for name in ("flip", "fit"):
        if values[name].present and task_name != "folder":
            raise UserError(
                f"--{name} is for --task_name=folder; of --task_name={task_name} it is known, so leave it out"
            )
    return PrepareConfig(
        task_name,
        needed(values, "data_dir", "the folder to write to"),
        num_labeled=values.num_labeled,
        known_classes=values.known_classes,
        unlabeled_classes=values.unlabeled_classes,
        num_test_images=values.num_test_images,
        seed=values.seed,
        source_dir=values.source_dir or "",
        download=values.download,
        num_processes=values.num_processes,
        flip=values.flip,
        fit=values.fit,
        **({"num_shards": values.num_shards} if values["num_shards"].present else {}),
    )
