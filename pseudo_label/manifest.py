"""`manifest.json` in a work_dir: which stages are done or begun, and with which settings."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any, Optional

import tensorflow as tf

from checkpoints import writing
from checkpoints.config import ConvertConfig
from data.records.examples import prediction_name
from pseudo_label.balance.run import STATS_FILE
from pseudo_label.config import BalanceConfig, PredictConfig
from runtime.errors import UserError
from runtime.files import write_faults, write_text
from training.config import TrainConfig

MANIFEST = "manifest.json"
# They change how a stage runs, not what it makes.
IGNORED_SETTINGS = (
    "device",
    "beam_args",
    "keep_checkpoint_max",
    "num_processes",
    "download",
    "rematerialise",
    "profile_steps",
    "log_step_count_steps",
    "eval_batch_size",
    "iterations_per_loop",
)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage: what it does, with which settings."""

    name: str
    run: Callable[[Any], Any]
    config: Any

    def settings(self, work_dir: str) -> dict[str, Any]:
        """The settings as JSON-able values, free of where the work_dir lies."""
        values = json.loads(json.dumps(dataclasses.asdict(self.config)).replace(json.dumps(work_dir)[1:-1], "WORK_DIR"))
        return _that_matter(values)

    def has_begun(self) -> bool:
        """Whether a training has saved anything; what other stages have made, they check themselves."""
        return isinstance(self.config, TrainConfig) and self.config.train and self.is_there()

    def is_there(self) -> bool:
        """Whether what the stage makes lies in its folder."""
        if isinstance(self.config, (TrainConfig, ConvertConfig)):
            return writing.latest(self.config.model_dir) is not None
        if isinstance(self.config, PredictConfig):
            count = self.config.num_shards
            names = [prediction_name(self.config.file_prefix, shard, count, worker=0) for shard in range(count)]
            return all(tf.io.gfile.exists(os.path.join(self.config.output_dir, name)) for name in names)
        if isinstance(self.config, BalanceConfig):
            return tf.io.gfile.exists(os.path.join(self.config.output_dir, STATS_FILE))
        return True


def _that_matter(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in IGNORED_SETTINGS}


class Manifest:
    """Which stages of a work_dir are done, and with which settings."""

    def __init__(self, work_dir: str):
        self._work_dir = work_dir
        self._path = os.path.join(work_dir, MANIFEST)
        self._done: dict[str, dict[str, Any]] = {}
        self._begun: dict[str, dict[str, Any]] = {}
        if tf.io.gfile.exists(self._path):
            self._read()

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage was finished before."""
        return stage.name in self._done

    def check(self, stage: Stage) -> None:
        """Raises UserError if the stage was done, or begun, with other settings; names the first that differs."""
        before, how = self._done.get(stage.name), "done"
        if before is None and stage.has_begun():
            before, how = self._begun.get(stage.name), "begun"
        if before is None:
            return
        difference = first_difference(_that_matter(before), stage.settings(self._work_dir))
        if difference:
            name, old, new = difference
            raise UserError(
                f"--work_dir: {self._work_dir} has the stage {stage.name} {how} with {name}={old}, these flags give {new}; "
                "use another --work_dir, or the flags of before"
            )

    def mark_begun(self, stage: Stage) -> None:
        """Notes that the stage begins, or continues, with its settings."""
        self._begun[stage.name] = stage.settings(self._work_dir)
        self._done.pop(stage.name, None)
        self._write()

    def mark_done(self, stage: Stage) -> None:
        """Notes that the stage is finished."""
        self._done[stage.name] = self._begun.pop(stage.name)
        self._write()

    def _read(self) -> None:
        with tf.io.gfile.GFile(self._path) as file:
            try:
                found = json.loads(file.read())
                self._done, self._begun = dict(found["done"]), dict(found.get("begun", {}))
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{self._path}: not a manifest ({type(error).__name__}: {error}); copy it again, or use another --work_dir"
                ) from error

    def _write(self) -> None:
        with write_faults(self._path, "work_dir"):
            text = json.dumps({"done": self._done, "begun": self._begun}, indent=1, sort_keys=True) + "\n"
            write_text(self._path, text)


def first_difference(old: Any, new: Any, path: str = "") -> Optional[tuple[str, Any, Any]]:
    """(name, old value, new value) of the first setting that differs; None where all are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(set(old) | set(new)):
            found = first_difference(old.get(name), new.get(name), f"{path}.{name}" if path else name)
            if found:
                return found
        return None
    return None if old == new else (path, old, new)
