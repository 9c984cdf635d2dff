"""The whole loop (paper, algorithm 1): teacher -> predict -> balance -> student, and the student is the next teacher.

Stages and their folders under the work_dir:

  prepare          data/                  records of the task (only where prepare needs no source files)
  teacher          teacher/               model_dir; of a ready-made one (--teacher_model_path) a copy
  teacher/evaluate teacher/               of a ready-made one, where there is a test split
  roundN/predict   roundN/predictions/    soft labels
  roundN/balance   roundN/balanced/       filtered, balanced records
  roundN/student   roundN/student/        model_dir
  roundN/finetune  roundN/finetuned/      model_dir (only with --finetune)
  report           report/                report.md, results.json, plots

`manifest.json` says which stages are done and with which settings.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any, Optional

import tensorflow as tf

from data import prepare, records
from errors import UserError
from flags.config import ConvertConfig, IterateConfig
from pseudo_label.balance import balance
from pseudo_label.predict import predict
from reporting import report
from training import checkpoints, export, trainer
from training.metrics import METRICS_FILE

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
        return {name: value for name, value in values.items() if name not in IGNORED_SETTINGS}


def stages(config: IterateConfig) -> list[Stage]:
    """All stages in order."""
    found = [] if config.prepare is None else [Stage("prepare", prepare.prepare, config.prepare)]
    if config.ready_teacher is None:
        found.append(Stage("teacher", trainer.run, config.teacher))
    else:
        found.append(Stage("teacher", take_teacher, config.ready_teacher))
        if config.teacher.evaluate:
            found.append(Stage("teacher/evaluate", trainer.run, config.teacher))
    for number, this in enumerate(config.rounds, start=1):
        found += [
            Stage(f"round{number}/predict", predict, this.predict),
            Stage(f"round{number}/balance", balance, this.balance),
            Stage(f"round{number}/student", trainer.run, this.student),
        ]
        if this.finetune is not None:
            found.append(Stage(f"round{number}/finetune", trainer.run, this.finetune))
    return found


def take_teacher(config: ConvertConfig) -> None:
    """Copies a ready-made teacher into its folder, once.

    Raises:
      UserError: no such checkpoint, another network's, or a teacher that is being trained in that folder.
    """
    if tf.io.gfile.exists(os.path.join(config.model_dir, METRICS_FILE)):
        raise UserError(
            f"--work_dir: {config.model_dir} holds a teacher that was being trained; leave --{config.flag} out to continue, or "
            "use another --work_dir"
        )
    if checkpoints.latest(config.model_dir) is None:
        export.convert(config)


def iterate(config: IterateConfig) -> dict[str, Any]:
    """Runs every stage that is not done, then writes the report.

    Returns:
      the report's results (the content of results.json).

    Raises:
      UserError: the work_dir holds stages made with other settings, or a stage failed for a reason of the user's.
    """
    manifest = Manifest(config.work_dir)
    planned = stages(config)
    for stage in planned:
        manifest.check(stage)
    records.remove_unfinished(config.work_dir)
    for number, stage in enumerate(planned, start=1):
        if manifest.is_done(stage):
            print(f"[{number}/{len(planned)}] {stage.name}: done before")
            continue
        print(f"[{number}/{len(planned)}] {stage.name}")
        stage.run(stage.config)
        manifest.mark_done(stage)
        tf.keras.backend.clear_session()
    results = report.write_report(
        config.work_dir,
        len(config.rounds),
        config.teacher.data.task.class_names,
        finetuned=[number for number, this in enumerate(config.rounds, start=1) if this.finetune is not None],
        data_dir=os.path.dirname(config.teacher.data.label_data_dir.split(";")[0]),
        command=config.command,
        seed=config.teacher.data.seed,
    )
    print(report.summary_table(results))
    print(f"report: {os.path.join(config.work_dir, 'report', 'report.md')}")
    return results


class Manifest:
    """Which stages of a work_dir are done, and with which settings."""

    def __init__(self, work_dir: str):
        self._work_dir = work_dir
        self._path = os.path.join(work_dir, MANIFEST)
        self._done: dict[str, dict[str, Any]] = {}
        if tf.io.gfile.exists(self._path):
            with tf.io.gfile.GFile(self._path) as file:
                self._done = json.loads(file.read())["done"]

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage was finished before."""
        return stage.name in self._done

    def check(self, stage: Stage) -> None:
        """Raises UserError if the stage was done with other settings; names the first that differs."""
        before = self._done.get(stage.name)
        if before is None:
            return
        difference = first_difference(before, stage.settings(self._work_dir))
        if difference:
            name, old, new = difference
            raise UserError(
                f"--work_dir: {self._work_dir} has the stage {stage.name} done with {name}={old}, these flags give {new}; "
                "use another --work_dir, or the flags of before"
            )

    def mark_done(self, stage: Stage) -> None:
        """Notes that the stage is finished."""
        self._done[stage.name] = stage.settings(self._work_dir)
        with records.writing(self._path, "work_dir"):
            self._write()

    def _write(self) -> None:
        records.write_text(self._path, json.dumps({"done": self._done}, indent=1, sort_keys=True) + "\n")


def first_difference(old: Any, new: Any, path: str = "") -> Optional[tuple[str, Any, Any]]:
    """(name, old value, new value) of the first setting that differs; None where all are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(set(old) | set(new)):
            found = first_difference(old.get(name), new.get(name), f"{path}.{name}" if path else name)
            if found:
                return found
        return None
    return None if old == new else (path, old, new)
