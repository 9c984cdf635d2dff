"""Whether what was trained is better than what was there before: a teacher than a guess, a student than its teacher."""

from __future__ import annotations

from typing import Any

LEVEL = 0.05  # of significance

Evaluation = dict[str, Any]  # evaluation.json: num_images, correct, accuracy, ...


def of_teacher(evaluation: Evaluation, commonest: float) -> list[str]:
    """One line if the teacher is not significantly better than always giving the commonest class, and what to do.

    Args:
      evaluation: of the teacher.
      commonest: the share of the test pictures that are of their commonest class.
    """
    from scipy.stats import binomtest

    right, total = evaluation["correct"], evaluation["num_images"]
    if total == 0 or binomtest(right, total, commonest, alternative="greater").pvalue < LEVEL:
        return []
    return [
        f"the teacher is right about {right:,} of {total:,} {evaluation['split']} pictures, not significantly more than the "
        f"{100 * commonest:.0f} % that always naming the commonest class would have, so its labels are worth nothing and its "
        "students learn nothing: label more pictures, look whether they lie in the right class folders, train longer "
        "(--train_steps), or begin with a trained network (--init_model, --init_model_path, --reset_head)"
    ]


def of_student(student: Evaluation, teacher: Evaluation, name: str) -> list[str]:
    """One line if a student is not significantly better than its teacher.

    Of both only the number of right answers is known here, so Fisher's exact test compares two proportions; a test of paired
    answers is sharper.
    """
    from scipy.stats import fisher_exact

    tables = [[each["correct"], each["num_images"] - each["correct"]] for each in (student, teacher)]
    if 0 in (student["num_images"], teacher["num_images"]) or fisher_exact(tables, "greater").pvalue < LEVEL:
        return []
    return [
        f"{name} is right about {100 * student['accuracy']:.1f} % of the {student['split']} pictures, its teacher about "
        f"{100 * teacher['accuracy']:.1f} %: with {student['num_images']:,} pictures that may be chance. More unlabeled "
        "pictures, more steps, or a teacher that is right more often may help; more test pictures would show smaller gains"
    ]
