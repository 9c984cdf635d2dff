"""`--mode=study`: trains every arm with every seed, keeps each result, and writes each study's answer.

WORK_DIR/
  seedN/STUDY/ARM/     the work_dir of one arm's run; a stage that another arm has run with the same settings is linked
  results/             one small file for each arm and seed: what has one is not trained again (--results_dir)
  STUDY/               study.md, study.json, the plot
  logs/                with --parallel, what each process prints
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from data.fast import Fast
from evaluation.run import right_answers
from flags.build.studies import StudyConfig
from pseudo_label.manifest import Manifest, Stage
from runtime import errors
from runtime.errors import UserError
from runtime.files import read_text, write_text
from studies import page, results
from studies.answer import Answer
from studies.definition import Study, load, names
from studies.plan import Run, check_distinct, runs
from studies.results import Result

ALL = "all"
SHARED_FILE = "shared.json"  # in seedN/: {what a stage depends on: where it lies}


def run(config: StudyConfig, fast: Fast = Fast()) -> dict[str, Answer]:
    """Runs what has no result yet, then writes every study's page.

    Returns:
      each study's answer by its name.

    Raises:
      UserError: anything wrong with a study, an arm or the flags; before anything is trained.
    """
    chosen = _chosen(config.studies)
    planned = {study.name: list(runs(study, config.flags, config.seeds, fast)) for study in chosen}
    for of_study in planned.values():
        check_distinct(of_study)
    to_do = _without_result([each for of_study in planned.values() for each in of_study], config.results_dir)
    print(
        f"{len(chosen)} studies, {len(to_do)} runs to do of {sum(map(len, planned.values()))}; results: {config.results_dir}"
    )
    if config.parallel > 1 and len({each.seed for each in to_do}) > 1:
        _in_processes(to_do, config)
    else:
        _one_after_another(to_do, config.results_dir)
    answers = {}
    for study in chosen:
        kept = {(each.arm, each.seed): results.load(config.results_dir, each) for each in planned[study.name]}
        answers[study.name] = page.write(os.path.join(config.work_dir, study.name), study, config.seeds, kept)
        print(page.in_words(answers[study.name]))
    return answers


def _chosen(given: Sequence[str]) -> list[Study]:
    found: list[Study] = []
    for name in given:
        found += [load(each) for each in (names() if name == ALL else [name])]
    if len({study.name for study in found}) < len(found):
        raise UserError("--study: one study is given twice; leave one out")
    return found


def _without_result(planned: Sequence[Run], folder: str) -> list[Run]:
    """Each run once, though several studies have it; seed by seed."""
    to_do: dict[str, Run] = {}
    for each in planned:
        kept = results.load(folder, each)
        if kept is None or kept.error:
            to_do.setdefault(each.digest, each)
    return sorted(to_do.values(), key=lambda each: each.seed)


def _one_after_another(to_do: Sequence[Run], folder: str) -> None:
    began = time.monotonic()
    for number, each in enumerate(to_do, start=1):
        print(
            f"[{number}/{len(to_do)}] {each.study}, {each.arm}, seed {each.seed}{_time_left(began, number - 1, len(to_do))}"
        )
        started = time.monotonic()
        try:
            correct, labels = _answers(each)
            result = Result(correct, results.digest_of(labels), time.monotonic() - started)
        except (UserError, tf.errors.OpError, ArithmeticError, ValueError) as error:
            result = Result(None, error=errors.one_line(error) or f"{type(error).__name__}: {errors.first_line(error)}")
            print(f"failed: {result.error}", file=sys.stderr)
        results.save(folder, each, result)
        tf.keras.backend.clear_session()


def _time_left(began: float, done: int, total: int) -> str:
    if not done:
        return ""
    minutes = (time.monotonic() - began) / done * (total - done) / 60
    return f" (about {minutes:.0f} min left)"


def _in_processes(to_do: Sequence[Run], config: StudyConfig) -> None:
    """Deals the seeds out to processes; each runs its own as if they were all."""
    seeds = sorted({each.seed for each in to_do})
    shares = [seeds[number :: config.parallel] for number in range(min(config.parallel, len(seeds)))]
    os.makedirs(os.path.join(config.work_dir, "logs"), exist_ok=True)
    processes = []
    for share in shares:
        own = ",".join(map(str, share))
        log = os.path.join(config.work_dir, "logs", f"seeds-{own.replace(',', '-')}.txt")
        command = [sys.executable, *sys.argv, f"--seeds={own}", "--parallel=1"]
        with open(log, "w") as file:
            processes.append((own, log, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)))
        print(f"seeds {own}: {log}")
    for own, log, process in processes:
        if process.wait():
            print(f"seeds {own}: ended with code {process.returncode}; {log} says why", file=sys.stderr)


# --- one run --------------------------------------------------------------------------------------------------------


def _answers(each: Run) -> tuple[np.ndarray, np.ndarray]:
    manifest = Manifest(each.work_dir)
    for stage in each.stages:
        manifest.check(stage)
    for number, stage in enumerate(each.stages):
        if manifest.is_done(stage) and stage.is_there():
            continue
        depends = _depends(each.stages[: number + 1], each.work_dir)
        print(f"  {stage.name}", end="", flush=True)
        manifest.mark_begun(stage)
        if _link(depends, stage, each.work_dir):
            print(": as in an arm before")
        else:
            print()
            stage.run(stage.config)
        manifest.mark_done(stage)
        _share(depends, stage, each.work_dir)
    return right_answers(each.network)


def _depends(so_far: Sequence[Stage], work_dir: str) -> str:
    """A digest of everything that a stage's outcome follows from: its settings and those of all stages before it."""
    settings = [(stage.name, stage.settings(work_dir)) for stage in so_far]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _output(stage: Stage) -> str:
    """The folder that a stage writes."""
    return next(
        getattr(stage.config, name) for name in ("model_dir", "output_dir", "data_dir") if hasattr(stage.config, name)
    )


def _shared_path(work_dir: str) -> str:
    return os.path.join(os.path.dirname(os.path.dirname(work_dir)), SHARED_FILE)


def _link(depends: str, stage: Stage, work_dir: str) -> bool:
    """Gives the stage the files of another arm's that is the same; whether there is one."""
    known = json.loads(read_text(_shared_path(work_dir)) or "{}")
    root = os.path.dirname(_shared_path(work_dir))
    if depends not in known or not os.path.isdir(os.path.join(root, known[depends])):
        return False
    target = _output(stage)
    if os.path.isdir(target):
        shutil.rmtree(target)  # what a killed run left here
    shutil.copytree(os.path.join(root, known[depends]), target, copy_function=_linked)
    return True


def _linked(source: str, target: str) -> str:
    """A second name of a file, which is never written to again; a copy if the filesystem has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _share(depends: str, stage: Stage, work_dir: str) -> None:
    path = _shared_path(work_dir)
    known = json.loads(read_text(path) or "{}")
    known.setdefault(depends, os.path.relpath(_output(stage), os.path.dirname(path)))
    write_text(path, json.dumps(known, indent=1, sort_keys=True) + "\n")
