"""Where everything of an `iterate` run lies: the folders of its stages, and the files that one stage leaves for another.

    WORK_DIR/
      manifest.json          which stages are done or begun, and with which settings
      data/                  the task's records (only if prepare needs no source files)
      teacher/               model_dir; of a ready-made one a copy
      roundN/predictions/    soft labels
      roundN/balanced/       filtered, balanced records under data/, and stats.json
      roundN/student/        model_dir
      roundN/finetuned/      model_dir (only with --finetune)
      robustness/            robustness.md, robustness.json, plots, outcomes/ (only with --robustness)
      report/                report.md, results.json, plots
      recipe/                the numbers of a run on one's own pictures, as flag files (flags/own_pictures.py)

A model_dir holds checkpoints, model.json, metrics.jsonl, evaluations.jsonl (one line each time) and evaluation.json (the last).
"""

from __future__ import annotations

import os

MANIFEST_FILE = "manifest.json"
# in a model_dir
METRICS_FILE = "metrics.jsonl"
EVALUATIONS_FILE = "evaluations.jsonl"
EVALUATION_FILE = "evaluation.json"
# in balanced/
STATS_FILE = "stats.json"
# in robustness/
ROBUSTNESS_FILE = "robustness.json"
# in report/
REPORT_FILE = "report.md"
RESULTS_FILE = "results.json"


def data_dir(work_dir: str) -> str:
    """The task's records."""
    return os.path.join(work_dir, "data")


def teacher_dir(work_dir: str) -> str:
    """The first teacher's model_dir."""
    return os.path.join(work_dir, "teacher")


def predictions_dir(work_dir: str, number: int) -> str:
    """A round's soft labels; rounds count from 1."""
    return os.path.join(_round_dir(work_dir, number), "predictions")


def balanced_dir(work_dir: str, number: int) -> str:
    """A round's records after filtering and balancing."""
    return os.path.join(_round_dir(work_dir, number), "balanced")


def student_dir(work_dir: str, number: int) -> str:
    """A student's model_dir."""
    return os.path.join(_round_dir(work_dir, number), "student")


def finetuned_dir(work_dir: str, number: int) -> str:
    """A finetuned student's model_dir."""
    return os.path.join(_round_dir(work_dir, number), "finetuned")


def model_dir(work_dir: str, number: int, finetuned: bool = False) -> str:
    """The model_dir of a round's network; round 0 is the teacher."""
    if not number:
        return teacher_dir(work_dir)
    return finetuned_dir(work_dir, number) if finetuned else student_dir(work_dir, number)


def robustness_dir(work_dir: str) -> str:
    """How robust the networks are."""
    return os.path.join(work_dir, "robustness")


def recipe_dir(folder: str) -> str:
    """The flag files that say the numbers of a run; `folder` is its work_dir or model_dir."""
    return os.path.join(folder, "recipe")


def report_dir(work_dir: str) -> str:
    """The report of the whole run."""
    return os.path.join(work_dir, "report")


def _round_dir(work_dir: str, number: int) -> str:
    return os.path.join(work_dir, f"round{number}")
