from __future__ import annotations

import io

import pytest

from runtime.progress import SWITCH, progress


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _switched_on(monkeypatch):
    monkeypatch.delenv(SWITCH, raising=False)


def test_a_log_gets_a_line_every_ten_seconds_and_a_closing_one():
    stream, clock = io.StringIO(), Clock()
    with progress("teacher", 100, "steps", stream=stream, clock=clock) as bar:
        for _ in range(20):
            clock.seconds += 1
            bar.update(5, loss=1.23456, learning_rate=0.00012345)
    assert stream.getvalue().splitlines() == [
        "teacher: 50/100 steps (50 %), 5 steps/s, 0:10 left, loss 1.235, learning rate 0.0001234",
        "teacher: 100/100 steps (100 %), 5 steps/s, loss 1.235, learning rate 0.0001234",
        "teacher: 100 steps in 0:20, 5 steps/s, loss 1.235, learning rate 0.0001234",
    ]


def test_what_an_earlier_run_did_is_shown_but_not_counted_in_the_rate():
    stream, clock = io.StringIO(), Clock()
    with progress("predict", 100_000, "images", initial=50_000, stream=stream, clock=clock) as bar:
        clock.seconds += 20
        bar.update(10_000)
    assert stream.getvalue().splitlines() == [
        "predict: 60,000/100,000 images (60 %), 500 images/s, 1:20 left",
        "predict: 60,000 images in 0:20, 500 images/s",
    ]


def test_an_unknown_total_has_no_time_left():
    stream, clock = io.StringIO(), Clock()
    with progress("reading", None, "files", stream=stream, clock=clock) as bar:
        clock.seconds += 3700
        bar.update(37)
        bar.note("3 unreadable")
    assert stream.getvalue().splitlines() == [
        "reading: 37 files, 0.01 files/s",
        "reading: 3 unreadable",
        "reading: 37 files in 1:01:40, 0.01 files/s",
    ]


def test_an_error_is_not_reported_as_finished():
    stream = io.StringIO()
    display = progress("predict", 10, "images", stream=stream, clock=Clock())
    display.__enter__().update(3)
    assert not display.__exit__(KeyError, KeyError(), None)
    assert stream.getvalue() == "predict: stopped at 3/10 images (30 %) in 0:00, 0 images/s\n"


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    with progress("teacher", 10, "steps", initial=2, stream=stream) as bar:
        bar.update(8, loss=0.5)
        bar.note("saved checkpoint")
    assert "teacher: 100%" in stream.getvalue()
    assert "10/10" in stream.getvalue()
    assert "loss=0.5" in stream.getvalue()
    assert "saved checkpoint\n" in stream.getvalue()


def test_off_is_silent(monkeypatch):
    monkeypatch.setenv(SWITCH, "off")
    stream = io.StringIO()
    with progress("teacher", 10, "steps", stream=stream) as bar:
        bar.update(10)
        bar.note("nothing")
    assert stream.getvalue() == ""
