"""`--mode=prepare`: builds the records of a task in one folder, which then describes itself.

data_dir/task.json                          the Task, with its statistics and the number of images of each split
data_dir/labeled/train-SSSSS-of-NNNNN       and beside it test-, dev- or validation-
data_dir/unlabeled/train-SSSSS-of-NNNNN     (extra-SSSSS-of-NNNNN for svhn)
data_dir/unlabeled/labels_for_report.json   {shard: true labels from 0}, if they are known; training never reads them
data_dir/unreadable.txt                     the user's images that could not be used, with the reason
data_dir/noted.txt                          those that are used although something is odd about them, with what it is
data_dir/duplicates.csv                     those that are there more than once, with what became of them
data_dir/prepare/                           what went into each shard; an interrupted run continues from it
data_dir/prepare.json                       the settings, and whether the folder is whole; written last
"""

from __future__ import annotations

import importlib
import json
import os
from types import ModuleType
from typing import Any

from data.prepare.config import PrepareConfig
from data.tasks import TASK_FILE, TASKS
from runtime.errors import UserError

MARKER = "prepare.json"
WRITTEN = (TASK_FILE, "labeled", "unlabeled", "unreadable.txt", "noted.txt", "duplicates.csv")
OWN_FOLDERS = ("", "labeled", "unlabeled", "prepare/labeled", "prepare/unlabeled")

# Each module has `SETTINGS`, the names of the config's fields that decide what is written; `check(config)`, which raises
# UserError before anything is written; and `write(config)`, which returns the shards that it wrote: {path below data_dir:
# number of records}. One that reads the user's own images also has `fingerprint(config)`, to see whether they changed.
PREPARERS = {
    "digits": "data.prepare.digits",
    "folder": "data.prepare.folder",
    "svhn": "data.prepare.svhn",
    "imagenet": "data.prepare.imagenet",
}


def prepare(config: PrepareConfig) -> None:
    """Writes the task's records under `config.data_dir`, or says that they are there already.

    A run that was interrupted is taken up again by the same command.

    Raises:
      UserError: a task that cannot be prepared; a folder that holds something else or cannot be written to; a number
        that does not fit the task.
    """
    from data.prepare import shards
    from runtime import files

    if config.task_name not in PREPARERS:
        known = "" if config.task_name in TASKS else " (an unknown task)"
        raise UserError(
            f"--task_name: got {config.task_name!r}{known}, but --mode=prepare can build only {', '.join(PREPARERS)}"
        )
    module = importlib.import_module(PREPARERS[config.task_name])
    settings = {name: getattr(config, name) for name in ("task_name", *module.SETTINGS)}
    earlier = _earlier(config.data_dir, settings)
    if earlier.get("finished") and shards.all_there(config.data_dir, [TASK_FILE, *earlier["records"]]):
        _check_same_source(module, config, earlier)
        print(f"{config.data_dir}: {config.task_name} is already prepared with these settings, nothing to do")
        return
    module.check(config)
    marker = os.path.join(config.data_dir, MARKER)
    begun = {"settings": settings, "source": _source(module, config)}
    with shards.writing_to(config.data_dir):
        files.write_text(marker, _as_text({**begun, "finished": False}))
        for folder in OWN_FOLDERS:
            files.remove_unfinished(os.path.join(config.data_dir, folder))
        written = module.write(config)
        shards.verify(config.data_dir, written)
        files.write_text(marker, _as_text({**begun, "finished": True, "records": written}))
    print(f"{config.data_dir}: prepared {config.task_name}, {sum(written.values()):,} images in {len(written)} shards")


def _source(module: ModuleType, config: PrepareConfig) -> Any:
    return module.fingerprint(config) if hasattr(module, "fingerprint") else None


def _check_same_source(module: ModuleType, config: PrepareConfig, earlier: dict[str, Any]) -> None:
    """Raises UserError where the user's files are there but no longer those that the records were made of."""
    if os.path.isdir(config.source_dir) and _source(module, config) != earlier.get("source"):
        raise UserError(
            f"--source_dir: the files in {config.source_dir} are no longer those that {config.data_dir} was prepared from; "
            "choose another --data_dir"
        )


def _earlier(data_dir: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What the marker of an earlier run says; raises UserError where the folder must not be written to."""
    import tensorflow as tf

    marker = os.path.join(data_dir, MARKER)
    if not tf.io.gfile.exists(marker):
        others = [name for name in WRITTEN if tf.io.gfile.exists(os.path.join(data_dir, name))]
        if others:
            raise UserError(
                f"--data_dir: {os.path.join(data_dir, others[0])} was not written by --mode=prepare and would be "
                "overwritten; choose an empty folder"
            )
        return {}
    try:
        with tf.io.gfile.GFile(marker) as file:
            earlier = json.load(file)
        before = earlier["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{marker}: not what --mode=prepare writes ({error}); choose an empty --data_dir") from error
    for key, value in settings.items():
        had = before.get(key, getattr(PrepareConfig, key, None))  # an earlier version did not know every setting
        if had != value:
            raise UserError(
                f"--data_dir: {data_dir} was prepared with {key}={had!r}, got --{key}={value!r}; "
                "choose another folder or the same settings"
            )
    return earlier


def _as_text(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, sort_keys=True) + "\n"
