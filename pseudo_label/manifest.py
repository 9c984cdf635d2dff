"""`manifest.json` in a work_dir: which stages are done or begun, and with which settings."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any, Optional

import tensorflow as tf

from runtime.errors import UserError
from runtime.files import write_faults, write_text
from runtime.work_dir import MANIFEST_FILE

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
    """One stage: what it does, with which settings.

    Attributes:
      name: what the manifest and the user know it by.
      run: does its work; takes `config`, and if it trains, `paced` (`training.trainer.train`).
      config: its settings, a dataclass.
      is_there: whether what it makes lies in its folder.
      is_result: the run must end with what it makes, so it is made again if it is gone; what others make is made again only
        if a later stage needs it.
    """

    name: str
    run: Callable[..., Any]
    config: Any
    is_there: Callable[[], bool]
    is_result: bool = False

    def settings(self, work_dir: str) -> dict[str, Any]:
        """The settings as JSON-able values, free of where the work_dir lies."""
        values = json.loads(_as_json(self.config))
        return _that_matter(_without_place(values, work_dir.rstrip("/")))


class Manifest:
    """Which stages of a work_dir are done, and with which settings."""

    def __init__(self, work_dir: str):
        self._work_dir = work_dir
        self._path = os.path.join(work_dir, MANIFEST_FILE)
        self._done: dict[str, dict[str, Any]] = {}
        self._begun: dict[str, dict[str, Any]] = {}
        if tf.io.gfile.exists(self._path):
            self._read()

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage was finished before."""
        return stage.name in self._done

    def check(self, stage: Stage) -> None:
        """Raises UserError if the stage was done, or has begun to make something, with other settings; names the first that
        differs."""
        before, how = self._done.get(stage.name), "done"
        if before is None and stage.is_there():
            before, how = self._begun.get(stage.name), "begun"
        if before is None:
            return
        now = stage.settings(self._work_dir)
        difference = first_difference(in_todays_terms(_moved(before), now, stage.config), now)
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


def in_todays_terms(before: dict[str, Any], now: dict[str, Any], config: Any) -> dict[str, Any]:
    """A manifest's settings with today's names: one that was not known then has its default, one that is gone is left out.

    Args:
      before: the settings that the manifest holds.
      now: those of today; what has no default is taken from them.
      config: the dataclass that they describe.
    """
    found = {}
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if name not in now:
            continue
        if name not in before:
            found[name] = now[name] if field.default is dataclasses.MISSING else json.loads(_as_json(field.default))
        elif dataclasses.is_dataclass(value) and isinstance(before[name], dict):
            found[name] = in_todays_terms(before[name], now[name], value)
        else:
            found[name] = before[name]
    return found


def first_difference(old: Any, new: Any, path: str = "") -> Optional[tuple[str, Any, Any]]:
    """(name, old value, new value) of the first setting that differs; None where all are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(set(old) | set(new)):
            found = first_difference(old.get(name), new.get(name), f"{path}.{name}" if path else name)
            if found:
                return found
        return None
    return None if old == new else (path, old, new)


def _moved(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in their places of today: those of evaluation lay among a training's before they had a config of their own."""
    if "eval_split" not in settings:
        return settings
    data = {**settings["data"], "split": settings["eval_split"], "num_images": settings["num_eval_images"]}
    return {**settings, "data": data, "evaluation": data if settings["evaluate"] else None}


def _without_place(settings: dict[str, Any], work_dir: str) -> dict[str, Any]:
    """The same settings, in which paths in the work_dir begin with WORK_DIR; other text that looks like one stays as it is."""
    found = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            value = _without_place(value, work_dir)
        elif isinstance(value, str) and (name.endswith(("_dir", "_path")) or name == "checkpoint"):
            value = ";".join(
                "WORK_DIR" + path[len(work_dir) :] if f"{path}/".startswith(f"{work_dir}/") else path
                for path in value.split(";")
            )
        found[name] = value
    return found


def _that_matter(settings: Any) -> Any:
    if not isinstance(settings, dict):
        return settings
    return {name: _that_matter(value) for name, value in settings.items() if name not in IGNORED_SETTINGS}


def _as_json(value: Any) -> str:
    return json.dumps(value, default=dataclasses.asdict)
