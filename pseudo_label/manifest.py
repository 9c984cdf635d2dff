"""`manifest.json` in a work_dir: which stages are done or begun, and with which settings.

A run goes on if its folder or its data were moved or are named otherwise (`runtime/places.py`), and with more --train_steps.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any, Optional

import tensorflow as tf

from checkpoints.reading import resolve
from checkpoints.writing import INDEX_SUFFIX
from data.records.shards import contents_of
from runtime import places
from runtime.errors import UserError
from runtime.files import write_faults, write_text
from runtime.work_dir import MANIFEST_FILE

# They change how a stage runs, not what it makes.
IGNORED_SETTINGS = (
    "device",
    "beam_args",
    "label_names",
    "keep_checkpoint_max",
    "num_processes",
    "download",
    "rematerialise",
    "profile_steps",
    "log_step_count_steps",
    "eval_batch_size",
    "batch_size",
    "iterations_per_loop",
)
WORK_DIR = "WORK_DIR"  # stands for the work_dir's own path
_TRAIN_STEPS = "train_steps"


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
        values = _that_matter(json.loads(_as_json(self.config)))
        work_dir = places.one_spelling(work_dir)
        return _with_places(values, lambda name, value: _without_place(value, work_dir))


class Manifest:
    """Which stages of a work_dir are done, and with which settings."""

    def __init__(self, work_dir: str):
        self._work_dir = work_dir
        self._path = os.path.join(work_dir, MANIFEST_FILE)
        self._done: dict[str, dict[str, Any]] = {}
        self._begun: dict[str, dict[str, Any]] = {}
        self._contents: dict[str, str] = {}  # of the places outside that settings name
        if tf.io.gfile.exists(self._path):
            self._read()

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage was finished before."""
        return stage.name in self._done

    def has_begun(self, stage: Stage) -> bool:
        """Whether the stage was finished or at least begun before."""
        return stage.name in self._done or stage.name in self._begun

    def is_longer(self, stage: Stage) -> bool:
        """Whether the stage is a training that was finished with fewer steps than it is to have now."""
        before = self._done.get(stage.name, {})
        return _is_longer(before, stage.settings(self._work_dir))

    def check(self, stage: Stage) -> None:
        """Raises UserError if the stage was done, or has begun to make something, with other settings; names the first that
        differs."""
        before, how = self._done.get(stage.name), "done"
        if before is None and stage.is_there():
            before, how = self._begun.get(stage.name), "begun"
        if before is None:
            return
        now = stage.settings(self._work_dir)
        before = self._in_todays_places(in_todays_terms(_moved(before), now, stage.config), now)
        if _is_longer(before, now):
            before["optimizer"][_TRAIN_STEPS] = now["optimizer"][_TRAIN_STEPS]
        difference = first_difference(before, now)
        if difference:
            name, old, new = difference
            raise UserError(
                f"--work_dir: {self._work_dir} has the stage {stage.name} {how} with {name}={old}, these flags give {new}; "
                "use another --work_dir, or the flags of before"
            )

    def _in_todays_places(self, before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
        """Settings of before, in which a place that is the same as today's is spelled as today."""
        found = {}
        for name, value in before.items():
            today = now.get(name)
            if isinstance(value, dict) and isinstance(today, dict):
                value = self._in_todays_places(value, today)
            elif (
                _is_place(name) and isinstance(value, str) and isinstance(today, str) and self._same(name, value, today)
            ):
                value = today
            found[name] = value
        return found

    def _same(self, name: str, before: str, today: str) -> bool:
        if _respelled(before) == today:
            return True
        known = self._contents.get(before)
        return bool(known) and known == _contents(name, today)

    def mark_begun(self, stage: Stage) -> None:
        """Notes that the stage begins, or continues, with its settings."""
        settings = stage.settings(self._work_dir)
        self._begun[stage.name] = settings
        self._done.pop(stage.name, None)
        self._contents.update(_contents_outside(settings))
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
                self._contents = dict(found.get("contents", {}))
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{self._path}: not a manifest ({type(error).__name__}: {error}); copy it again, or use another --work_dir"
                ) from error

    def _write(self) -> None:
        with write_faults(self._path, "work_dir"):
            values = {"done": self._done, "begun": self._begun, "contents": self._contents}
            write_text(self._path, json.dumps(values, indent=1, sort_keys=True) + "\n")


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


def _is_longer(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether settings of a training differ in that it has more steps now."""
    old, new = (settings.get("optimizer") or {} for settings in (before, now))
    if "train_last_step_num" not in new or max(old.get("train_last_step_num", -1), new["train_last_step_num"]) > 0:
        return False  # these steps are the end of a schedule, which would begin elsewhere
    return bool(old) and new[_TRAIN_STEPS] > old.get(_TRAIN_STEPS, new[_TRAIN_STEPS])


# --- places ---------------------------------------------------------------------------------------------------------


def _is_place(name: str) -> bool:
    return name.endswith(("_dir", "_path")) or name == "checkpoint"


def _with_places(settings: dict[str, Any], change: Callable[[str, str], str]) -> dict[str, Any]:
    """The same settings with the text of every place changed; other text that looks like one stays as it is."""
    found = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            value = _with_places(value, change)
        elif isinstance(value, str) and _is_place(name):
            value = change(name, value)
        found[name] = value
    return found


def _without_place(paths: str, work_dir: str) -> str:
    """Paths in one spelling; those in the work_dir begin with WORK_DIR."""
    found = places.one_spelling(paths).split(";")
    return ";".join(
        WORK_DIR + path[len(work_dir.rstrip("/")) :] if places.inside(path, work_dir) else path for path in found
    )


def _respelled(paths: str) -> str:
    """Paths of a manifest, which an earlier version spelled as they were given, in one spelling."""
    found = paths.split(";")
    return ";".join(path if places.inside(path, WORK_DIR) else places.one_spelling(path) for path in found)


def _contents_outside(settings: dict[str, Any]) -> dict[str, str]:
    """{place outside the work_dir: digest of what lies there}, for all that can be known again."""
    found: dict[str, str] = {}

    def note(name: str, value: str) -> str:
        if value and not any(places.inside(path, WORK_DIR) for path in value.split(";")):
            found[value] = _contents(name, value)
        return value

    _with_places(settings, note)
    return {place: digest for place, digest in found.items() if digest}


def _contents(name: str, place: str) -> str:
    """A digest of a folder's shards, or of a checkpoint; "" for what cannot be known again."""
    if name.endswith("_dir"):
        return contents_of(place)
    try:
        return places.contents([resolve(place, name) + INDEX_SUFFIX])
    except (UserError, OSError):
        return ""


def _that_matter(settings: Any) -> Any:
    if not isinstance(settings, dict):
        return settings
    return {name: _that_matter(value) for name, value in settings.items() if name not in IGNORED_SETTINGS}


def _as_json(value: Any) -> str:
    return json.dumps(value, default=dataclasses.asdict)
