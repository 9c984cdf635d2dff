"""The whole loop (paper, algorithm 1): teacher -> predict -> balance -> student, and the student is the next teacher.

Stages in their order:

  prepare           writes the task's records (a stage if that needs no source files)
  teacher           trains on the labeled images; a ready-made teacher (--teacher_model_path) is copied instead
  teacher/evaluate  measures a ready-made teacher, if there is a test split
  roundN/predict    the teacher labels the unlabeled images
  roundN/balance    filters and balances these labels
  roundN/student    trains on both kinds of images
  roundN/finetune   trains the student further on the labeled images (only with --finetune)
  robustness        measures how robust the teacher and the students are (only with --robustness)

`runtime/work_dir.py` says where the files of each stage lie. `manifest.json` says which stages are done or begun, and with which
settings. At the end of each run the report is written anew.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Optional

import tensorflow as tf

from checkpoints import convert, writing
from checkpoints.config import ConvertConfig
from data.fast import Fast
from data.prepare.run import prepare
from data.streams.evaluation import count_labels
from data.tasks import TASK_FILE
from evaluation.config import EvaluateConfig
from evaluation.robustness.config import RobustnessConfig
from evaluation.run import evaluate, split_files
from pseudo_label import foresight, verdict
from pseudo_label.balance.inputs import data_dir
from pseudo_label.balance.run import balance
from pseudo_label.config import IterateConfig
from pseudo_label.duration import Duration
from pseudo_label.manifest import Manifest, Stage
from pseudo_label.predict.run import predict
from pseudo_label.predict.shards import has_predictions
from pseudo_label.results import collect
from reporting import report
from reporting.numbers import read_json
from runtime import devices as strategies
from runtime.errors import UserError
from runtime.files import remove_unfinished
from runtime.work_dir import EVALUATION_FILE, METRICS_FILE, REPORT_FILE, ROBUSTNESS_FILE, STATS_FILE, report_dir
from training.config import TrainConfig
from training.trainer import train


def stages(config: IterateConfig, fast: Fast = Fast()) -> list[Stage]:
    """All stages in order."""
    found = []
    if config.prepare is not None:
        found.append(Stage("prepare", prepare, config.prepare, _exists(config.prepare.data_dir, TASK_FILE)))
    if config.ready_teacher is None:
        found.append(_training("teacher", config.teacher, fast))
    else:
        has_checkpoint = _has_checkpoint(config.ready_teacher.model_dir)
        found.append(Stage("teacher", take_teacher, config.ready_teacher, has_checkpoint, is_result=True))
        found += _evaluation("teacher/evaluate", config.teacher, fast)
    for number, this in enumerate(config.rounds, start=1):
        has_labels = partial(has_predictions, this.predict)
        found += [
            Stage(f"round{number}/predict", partial(predict, fast=fast), this.predict, has_labels),
            Stage(f"round{number}/balance", balance, this.balance, _exists(this.balance.output_dir, STATS_FILE)),
            _training(f"round{number}/student", this.student, fast),
        ]
        if this.finetune is not None:
            found.append(_training(f"round{number}/finetune", this.finetune, fast))
    if config.robustness is not None:
        has_page = _exists(config.robustness.output_dir, ROBUSTNESS_FILE)
        found.append(
            Stage("robustness", partial(_measure_robustness, fast=fast), config.robustness, has_page, is_result=True)
        )
    return found


def _training(name: str, config: TrainConfig, fast: Fast) -> Stage:
    return Stage(name, partial(train, fast=fast), config, _has_checkpoint(config.model_dir), is_result=True)


def _evaluation(name: str, of: TrainConfig, fast: Fast) -> list[Stage]:
    """The evaluation of a network that is not trained here; none if there is nothing to measure it on."""
    if of.evaluation is None:
        return []
    config = EvaluateConfig(
        of.title, of.model, of.model_dir, of.data.image_size, of.evaluation, of.use_averages, of.device
    )
    run = partial(evaluate, fast=fast)
    return [Stage(name, run, config, _exists(of.model_dir, EVALUATION_FILE), is_result=True)]


def _has_checkpoint(model_dir: str) -> Callable[[], bool]:
    return lambda: writing.latest(model_dir) is not None


def _measure_robustness(config: RobustnessConfig, fast: Fast) -> None:
    from evaluation.robustness.run import measure  # which imports much that nothing else here needs

    measure(config, fast)


def _exists(folder: str, name: str) -> Callable[[], bool]:
    return partial(tf.io.gfile.exists, os.path.join(folder, name))


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
    if writing.latest(config.model_dir) is None:
        convert.convert(config)


def iterate(config: IterateConfig, fast: Fast = Fast()) -> dict[str, Any]:
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
    planned = stages(config, fast)
    for stage in planned:
        manifest.check(stage)
    for folder in own_folders(config):
        remove_unfinished(folder)
    to_do = stages_to_do(planned, manifest)
    checked = False
    duration = Duration([stage for stage in planned if stage.name in to_do], config.teacher.data.task)
    if to_do:
        print(duration.before())
    for number, stage in enumerate(planned, start=1):
        if stage.name not in to_do:
            shorter = (
                " with fewer steps, and stays because others were made with it" if manifest.is_longer(stage) else ""
            )
            print(f"[{number}/{len(planned)}] {stage.name}: done before{shorter}")
            continue
        print(f"[{number}/{len(planned)}] {stage.name}")
        if stage.name != "prepare" and not checked:
            foresight.check(config, to_do, planned)
            checked = True
        manifest.mark_begun(stage)
        if isinstance(stage.config, TrainConfig):
            stage.run(stage.config, paced=duration.paced(stage))
        else:
            stage.run(stage.config)
        manifest.mark_done(stage)
        duration.done(stage.name)
        for line in _verdict(config, stage.name):
            print(f"notice: {line}", file=sys.stderr)
        tf.keras.backend.clear_session()
    return _report(config)


def _verdict(config: IterateConfig, stage: str) -> list[str]:
    """What is to be said of a network that a stage trained or measured, if it is no better than what was there before."""
    split, teacher = config.teacher.evaluation, config.teacher
    if split is None:
        return []
    if stage in ("teacher", "teacher/evaluate"):
        found = _evaluated(teacher)
        counts = count_labels(split_files(split), split.task.num_classes)
        return verdict.of_teacher(found, max(counts) / sum(counts)) if found else []
    for number, this in enumerate(config.rounds, start=1):
        if stage == f"round{number}/student":
            found, before = _evaluated(this.student), _evaluated(teacher)
            return verdict.of_student(found, before, this.student.title) if found and before else []
        teacher = this.outcome
    return []


def _evaluated(training: TrainConfig) -> Optional[dict[str, Any]]:
    return read_json(os.path.join(training.model_dir, EVALUATION_FILE))


def _report(config: IterateConfig) -> dict[str, Any]:
    """Writes the report and prints its table; returns what results.json holds."""
    data = config.teacher.data
    results = collect(
        config.work_dir,
        len(config.rounds),
        data.task.class_names,
        os.path.dirname(data.label_data_dir.split(";")[0]),
        finetuned=[number for number, this in enumerate(config.rounds, start=1) if this.finetune is not None],
        robustness=config.robustness is not None,
    )
    results = report.write_report(config.work_dir, results, command=config.command, seed=data.seed)
    print(report.summary_table(results))
    print(f"report: {os.path.join(report_dir(config.work_dir), REPORT_FILE)}")
    return results


def own_folders(config: IterateConfig) -> list[str]:
    """Every folder that the loop writes files to as they become whole."""
    folders = [config.work_dir, report_dir(config.work_dir), config.teacher.model_dir]
    for this in config.rounds:
        folders += [this.predict.output_dir, this.balance.output_dir, data_dir(this.balance), this.student.model_dir]
        folders += [] if this.finetune is None else [this.finetune.model_dir]
    return folders


def stages_to_do(planned: Sequence[Stage], manifest: Manifest) -> set[str]:
    """Names of the stages that are not done, or whose outputs are gone while something still needs them: a network always
    (the report measures it), labels and records where the stage after them is to be done. And of a training that is to have
    more steps than it had, if nothing was made with it yet."""
    to_do: set[str] = set()
    needed = used = False
    for stage in reversed(planned):
        needed = not manifest.is_done(stage) or ((needed or stage.is_result) and not stage.is_there())
        needed |= manifest.is_longer(stage) and not used
        used |= manifest.has_begun(stage)
        to_do |= {stage.name} if needed else set()
    return to_do
