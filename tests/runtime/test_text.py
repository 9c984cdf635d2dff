"""Text in columns and in CSV files."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.text import csv_text, padded, shortened, width

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("cat", 3), ("猫", 2), ("いぬ", 4), ("고양이", 6), ("e\u0301te\u0301", 3), ("a\u200db", 2)],
)
def test_width(text, columns):
    assert width(text) == columns


@given(text=TEXT, columns=st.integers(1, 20), front=st.booleans())
def test_what_is_shortened_fits_and_keeps_an_end(text, columns, front):
    short = shortened(text, columns, front)
    assert width(short) <= columns
    assert width(padded(short, columns)) == columns
    if short != text:
        assert short.replace("…", "", 1) in text
        assert short.startswith("…") if front else short.endswith("…")


@given(rows=st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r")), min_size=1)))
def test_no_cell_is_a_formula_and_every_text_can_be_read_again(rows):
    found = list(csv.reader(io.StringIO(csv_text(rows), newline="")))
    for row, read in zip([row for row in rows if row], found):
        assert len(row) == len(read)
        for cell, shown in zip(row, read):
            assert not shown.strip(" \u00a0").startswith(tuple("=+-@\t\n\0"))
            assert shown in (cell, f"'{cell}")


def test_numbers_stay_numbers():
    assert csv_text([["=1+1", -0.5, "-0.5", " @x", "a=b", None]]) == "'=1+1,-0.5,'-0.5,' @x,a=b,\n"
