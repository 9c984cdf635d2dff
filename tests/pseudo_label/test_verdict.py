"""What is said of networks that are no better than what was there before."""

from __future__ import annotations

import pytest

from pseudo_label import verdict


def evaluation(correct, total):
    return {"split": "test", "num_images": total, "correct": correct, "accuracy": correct / max(total, 1)}


@pytest.mark.parametrize(
    ("correct", "total", "commonest", "is_said"),
    [
        (50, 500, 0.1, True),  # as often as by chance
        (58, 500, 0.1, True),
        (65, 500, 0.1, False),
        (65, 500, 0.5, True),  # half of the pictures are of one class
        (300, 500, 0.5, False),
        (0, 500, 0.1, True),
        (3, 3, 0.5, True),  # three pictures say nothing
        (0, 0, 0.1, False),
    ],
)
def test_a_teacher_at_chance(correct, total, commonest, is_said):
    lines = verdict.of_teacher(evaluation(correct, total), commonest)
    assert bool(lines) == is_said
    if is_said:
        (line,) = lines
        assert line.startswith(f"the teacher is right about {correct} of {total} test pictures, not significantly more")
        assert "label more pictures" in line
        assert "--train_steps" in line


@pytest.mark.parametrize(
    ("student", "teacher", "is_said"),
    [
        ((400, 500), (300, 500), False),
        ((305, 500), (300, 500), True),
        ((250, 500), (300, 500), True),
        ((3050, 5000), (3000, 5000), True),
        ((3150, 5000), (3000, 5000), False),
        ((5, 5), (0, 0), False),
    ],
)
def test_a_student_like_its_teacher(student, teacher, is_said):
    lines = verdict.of_student(evaluation(*student), evaluation(*teacher), "round 1 student")
    assert bool(lines) == is_said
    if is_said:
        assert lines[0].startswith("round 1 student is right about ")
        assert "may be chance" in lines[0]
