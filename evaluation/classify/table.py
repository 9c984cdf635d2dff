"""The answers of `classify`, as a table in the terminal and as a CSV file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

from runtime.errors import UserError, first_line
from runtime.files import write_text
from runtime.text import csv_text, padded, shortened, width

SHOWN_ROWS = 50
SHOWN_PROBLEMS = 20
NAME_WIDTH, CLASS_WIDTH = 48, 24


class Answer(NamedTuple):
    """What is said about one file.

    Attributes:
      name: the file.
      classes: (0-based class, probability), the most probable first; empty where the file cannot be read.
      problem: why it cannot be read; "" where it can.
    """

    name: str
    classes: tuple[tuple[int, float], ...] = ()
    problem: str = ""


def table(answers: list[Answer], names: tuple[str, ...], output_csv: str = "") -> str:
    """The answers as an aligned table, the first `SHOWN_ROWS` of them, and the files that cannot be read."""
    good = [answer for answer in answers if not answer.problem]
    bad = [answer for answer in answers if answer.problem]
    shown = good[:SHOWN_ROWS]
    image_width = max([len("image"), *(min(NAME_WIDTH, width(answer.name)) for answer in shown)])
    labels = {label for answer in shown for label, _ in answer.classes}
    class_width = max([len("class"), *(min(CLASS_WIDTH, width(names[label])) for label in labels)])
    lines = []
    if shown:
        heading = "".join(f"  {'class':<{class_width}} {'%':>6}" for _ in shown[0].classes)
        lines.append(f"{'image':<{image_width}}{heading}")
    for answer in shown:
        cells = (
            f"  {padded(shortened(names[label], class_width), class_width)} {100 * probability:6.2f}"
            for label, probability in answer.classes
        )
        lines.append(f"{padded(shortened(answer.name, image_width, front=True), image_width)}{''.join(cells)}")
    if len(good) > len(shown):
        where = output_csv or "--output_csv=FILE"
        lines.append(f"... and {len(good) - len(shown):,} more images; {where} has them all")
    if bad:
        lines.append(f"{len(bad):,} of {len(answers):,} files could not be read:")
        lines += [f"  {answer.name}: {answer.problem}" for answer in bad[:SHOWN_PROBLEMS]]
        if len(bad) > SHOWN_PROBLEMS:
            lines.append(f"  ... and {len(bad) - SHOWN_PROBLEMS:,} more")
    return "\n".join(lines)


def write_csv(path: str, answers: list[Answer], names: tuple[str, ...], top: int) -> None:
    """Writes a row a file: image, class_1, probability_1, ..., problem."""
    columns = [f"{what}_{rank}" for rank in range(1, top + 1) for what in ("class", "probability")]
    rows = [["image", *columns, "problem"]]
    for answer in answers:
        cells = [value for label, share in answer.classes for value in (names[label], f"{share:.6f}")]
        rows.append([answer.name, *(cells or [""] * len(columns)), answer.problem])
    with csv_faults(path):
        write_text(path, csv_text(rows))


@contextlib.contextmanager
def csv_faults(path: str) -> Iterator[None]:
    """Turns a failure to write into one line; raises UserError."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        raise UserError(f"--output_csv: cannot write {path}: {first_line(error)}; choose another file") from error
