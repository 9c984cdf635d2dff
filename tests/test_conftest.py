"""`make test` is the same run every time, and `make fuzz` decides how long it looks."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, strategies


def draws() -> list[int]:
    drawn: list[int] = []

    @given(strategies.integers())
    def look(number: int) -> None:
        drawn.append(number)

    look()
    return drawn


def test_property_tests_draw_the_same_every_time():
    assert draws() == draws()


def test_no_property_test_has_a_number_of_examples_of_its_own():
    here = Path(__file__)
    files = [path for path in here.parent.rglob("*.py") if path not in (here, here.with_name("conftest.py"))]
    assert not [path for path in files if "max_examples" in path.read_text()]
