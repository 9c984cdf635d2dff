"""Signals that end a run, each in a process of its own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

import pytest

from runtime import signals
from tests.flags.parsing import ROOT

TRAINING = """
import sys, time
from runtime import signals
with signals.deferred() as signal:
    print("begun", flush=True)
    while not signal.requested:
        time.sleep(0.01)
    print(signals.name_of(signal.requested), flush=True)
with open(sys.argv[1], "w") as file:
    file.write("saved")
sys.exit(signals.exit_code(signal.requested))
"""


def start(program, *arguments, **options):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize("number", signals.ENDING)
def test_each_is_held_back_until_it_is_asked_for(tmp_path, number):
    process = start(TRAINING, tmp_path / "state", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == (f"{signals.name_of(number)}\n", "", 128 + number)
    assert (tmp_path / "state").read_text() == "saved"


@pytest.mark.parametrize("number", signals.ENDING)
def test_each_is_raised_where_nothing_is_to_be_saved(number):
    before = [signal.getsignal(each) for each in signals.ENDING]
    with pytest.raises(signals.Terminated) as end, signals.raised():
        os.kill(os.getpid(), number)
    assert end.value.number == number
    assert [signal.getsignal(each) for each in signals.ENDING] == before


@pytest.mark.parametrize("handled", [signals.raised, signals.deferred])
def test_what_nohup_has_ignored_stays_so(handled):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handled() as preemption:
            os.kill(os.getpid(), signal.SIGHUP)
        assert preemption is None or preemption.requested is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_is_closed_takes_nothing_with_it(tmp_path):
    ours, theirs = pty.openpty()
    begin = "import fcntl, termios\nfcntl.ioctl(1, termios.TIOCSCTTY, 0)\n"  # the terminal is this process's own
    process = start(begin + TRAINING, tmp_path / "state", stdin=theirs, stdout=theirs, start_new_session=True)
    os.close(theirs)
    assert os.read(ours, 100).startswith(b"begun")
    os.close(ours)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 128 + signal.SIGHUP
    assert (tmp_path / "state").read_text() == "saved"
