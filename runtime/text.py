"""Text in columns of a terminal, and in cells of a CSV file that a spreadsheet opens."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

# With one of these at its beginning a spreadsheet takes a cell for a formula (=, +, -, @), also behind white space.
_BEGIN_FORMULAS = tuple("=+-@\t\r\n\0＝＋－＠")


def width(text: str) -> int:
    """Columns of a terminal: letters of East Asia take two, marks above another none."""
    return sum(map(_width_of, text))


def _width_of(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def padded(text: str, columns: int) -> str:
    """The text with spaces behind it, up to so many columns."""
    return text + " " * (columns - width(text))


def shortened(text: str, columns: int, front: bool = False) -> str:
    """The text in at most so many columns, with `…` for what is left out at its end, or with `front` at its beginning."""
    if width(text) <= columns:
        return text
    kept = ""
    for letter in reversed(text) if front else text:
        if width(kept + letter) > columns - 1:
            break
        kept = letter + kept if front else kept + letter
    return f"…{kept}" if front else f"{kept}…"


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV, whose text no spreadsheet takes for a formula: such a cell gets a `'` before it, which hides there."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([_harmless(cell) for cell in row] for row in rows)
    return file.getvalue()


def _harmless(cell: Any) -> Any:
    text = isinstance(cell, str) and cell.lstrip(" \u00a0")
    return f"'{cell}" if text and text.startswith(_BEGIN_FORMULAS) else cell
