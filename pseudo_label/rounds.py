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

import functools
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from checkpoints import convert, writing
from checkpoints.config import ConvertConfig
from data.fast import Fast
from data.prepare.run import prepare
from pseudo_label.balance.run import balance
from pseudo_label.config import IterateConfig
from pseudo_label.manifest import Manifest, Stage
from pseudo_label.predict.run import predict
from pseudo_label.predict.shards import find_shards
from reporting import report
from runtime import devices as strategies
from runtime.errors import UserError
from runtime.files import remove_unfinished
from training import trainer
from training.config import TrainConfig
from training.metrics import METRICS_FILE


def stages(config: IterateConfig, fast: Fast = Fast()) -> list[Stage]:
    """All stages in order."""
    train, make_labels = functools.partial(trainer.run, fast=fast), functools.partial(predict, fast=fast)
    found = [] if config.prepare is None else [Stage("prepare", prepare, config.prepare)]
    if config.ready_teacher is None:
        found.append(Stage("teacher", train, config.teacher))
    else:
        found.append(Stage("teacher", take_teacher, config.ready_teacher))
        if config.teacher.evaluate:
            found.append(Stage("teacher/evaluate", train, config.teacher))
    for number, this in enumerate(config.rounds, start=1):
        found += [
            Stage(f"round{number}/predict", make_labels, this.predict),
            Stage(f"round{number}/balance", balance, this.balance),
            Stage(f"round{number}/student", train, this.student),
        ]
        if this.finetune is not None:
            found.append(Stage(f"round{number}/finetune", train, this.finetune))
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
    remove_unfinished(config.work_dir)
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
