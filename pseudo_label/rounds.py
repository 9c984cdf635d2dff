"""The whole loop (paper, algorithm 1): teacher -> predict -> balance -> student, and the student is the next teacher.

Stages and their folders in the work_dir:

  prepare          data/                  records of the task (a stage if prepare needs no source files)
  teacher          teacher/               model_dir; a ready-made teacher (--teacher_model_path) is copied here
  teacher/evaluate teacher/               a ready-made teacher, if there is a test split
  roundN/predict   roundN/predictions/    soft labels
  roundN/balance   roundN/balanced/       filtered, balanced records
  roundN/student   roundN/student/        model_dir
  roundN/finetune  roundN/finetuned/      model_dir (only with --finetune)
  report           report/                report.md, results.json, plots

`manifest.json` says which stages are done or begun, and with which settings.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, Optional

import tensorflow as tf

from data import prepare, records
from errors import UserError
from flags.config import BalanceConfig, ConvertConfig, IterateConfig, PredictConfig, TrainConfig
from pseudo_label.balance import STATS_FILE, balance
from pseudo_label.predict import find_shards, predict
from reporting import report
from training import checkpoints, export, trainer
from training import strategy as strategies
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
            return checkpoints.latest(self.config.model_dir) is not None
        if isinstance(self.config, PredictConfig):
            count = self.config.num_shards
            names = [records.prediction_name(self.config.file_prefix, shard, count, worker=0) for shard in range(count)]
            return all(tf.io.gfile.exists(os.path.join(self.config.output_dir, name)) for name in names)
        if isinstance(self.config, BalanceConfig):
            return tf.io.gfile.exists(os.path.join(self.config.output_dir, STATS_FILE))
        return True


def _that_matter(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in IGNORED_SETTINGS}


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
    processes = strategies.place_in_cluster().count
    if processes > 1:
        raise UserError(
            f"{strategies.CLUSTER} names {processes} processes, but --mode=iterate runs its stages in one; run the single modes "
            f"on every worker (docs/cloud_tpu.md), or unset {strategies.CLUSTER}"
        )
    manifest = Manifest(config.work_dir)
    planned = stages(config)
    for stage in planned:
        manifest.check(stage)
    records.remove_unfinished(config.work_dir)
    to_do = stages_to_do(planned, manifest)
    for number, stage in enumerate(planned, start=1):
        if stage.name not in to_do:
            print(f"[{number}/{len(planned)}] {stage.name}: done before")
            continue
        print(f"[{number}/{len(planned)}] {stage.name}")
        if stage.name == "teacher":
            _check_images(config)
        manifest.mark_begun(stage)
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


def stages_to_do(planned: Sequence[Stage], manifest: Manifest) -> set[str]:
    """Names of the stages that are not done, or whose outputs are gone while something still needs them: a network always
    (the report measures it), labels and records where the stage after them is to be done."""
    to_do: set[str] = set()
    needed = False
    for stage in reversed(planned):
        needed = not manifest.is_done(stage) or (
            (needed or isinstance(stage.config, TrainConfig)) and not stage.is_there()
        )
        to_do |= {stage.name} if needed else set()
    return to_do


def _check_images(config: IterateConfig) -> None:
    """Raises UserError where the first students will have no images, before a teacher is trained for them."""
    try:
        for this in config.rounds[:1]:
            find_shards(this.predict)
    except UserError as error:
        raise UserError(
            f"{error}; a student learns from unlabeled images (--unlabel_data_dir): to train the teacher alone, use "
            "--mode=train_and_eval"
        ) from error


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
        with records.writing(self._path, "work_dir"):
            text = json.dumps({"done": self._done, "begun": self._begun}, indent=1, sort_keys=True) + "\n"
            records.write_text(self._path, text)


def first_difference(old: Any, new: Any, path: str = "") -> Optional[tuple[str, Any, Any]]:
    """(name, old value, new value) of the first setting that differs; None where all are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(set(old) | set(new)):
            found = first_difference(old.get(name), new.get(name), f"{path}.{name}" if path else name)
            if found:
                return found
        return None
    return None if old == new else (path, old, new)
