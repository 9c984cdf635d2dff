"""The command line from the outside: exit codes, one line an error, and which function each mode calls."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import types
from typing import Any

import pytest
from absl import flags as absl_flags

import main
from flags.definitions import MODES
from runtime.errors import UserError
from runtime.files import whole_file
from tests.flags.parsing import ROOT, parsed


def run(*arguments):
    return subprocess.run(
        [sys.executable, "main.py", *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=bogus"], "error: flag --mode=bogus: value should be one of <prepare|train|"),
        (["--mod=train"], "error: Unknown command line flag 'mod'. Did you mean: mode"),
        (["--flagfile=no/such.flags"], "error: --flagfile: there is no flag file no/such.flags; check the path"),
        (["--flagfile"], "error: --flagfile with no argument; --help lists the flags"),
        (["--flagfile=tests"], "error: tests: Is a directory; check the path"),
        (["train"], "error: got the argument 'train', expected flags alone, as --name=value"),
        ([], "error: --model_dir is missing: --mode=train_and_eval needs it, the folder of checkpoints"),
        (["--task_name=cifar", "--model_dir=x"], "error: --task_name: got 'cifar', expected one of imagenet, svhn,"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(message)


@pytest.mark.parametrize(
    ("arguments", "closed"),
    [
        (["--help"], "stdout"),
        (["--helpfull"], "stdout"),
        (["--mode=bogus"], "stderr"),
        (["--model_dir="], "stderr"),
        (["--mode=prepare", "--task_name=digits", "--num_shards=1", "--data_dir={}"], "stdout"),
    ],
)
def test_output_that_nobody_reads_ends_it_without_a_word(arguments, closed, tmp_path):
    read, write = os.pipe()
    os.close(read)
    with open(tmp_path / "other", "w+") as other:
        streams: dict[str, Any] = {"stdout": other, "stderr": other, closed: write}
        command = [sys.executable, "main.py", *(argument.format(tmp_path / "data") for argument in arguments)]
        code = subprocess.run(command, cwd=ROOT, check=False, **streams).returncode
        os.close(write)
        other.seek(0)
        assert other.read() == ""
    assert code == 141


def test_head_gets_its_lines():
    shell = f"set -o pipefail; {sys.executable} main.py --help | head -n 1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.startswith("Noisy Student self-training: ")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
    assert done.returncode in (0, 141)  # 0: head left when all was written


def test_a_stage_that_takes_it_for_a_fault_of_its_files_does_not_hide_it():
    code = (
        "from runtime.files import write_faults\nfrom runtime.signals import closed_output_ends\n"
        "with closed_output_ends(), write_faults('x', 'model_dir'):\n    print('x', flush=True)\n"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(write)
    assert done.returncode == 141
    assert b"cannot write" not in done.stderr


def test_a_pipe_that_breaks_elsewhere_keeps_its_traceback():
    code = (
        "import os\nfrom runtime.signals import closed_output_ends\n"
        "with closed_output_ends():\n"
        "    read, write = os.pipe()\n    os.close(read)\n    os.write(write, b'x')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "BrokenPipeError: [Errno 32] Broken pipe")


# --- in this process ------------------------------------------------------------------------------------------------

FAST = object()  # the fast ways of computing that main found
PARTS = {
    "prepare": ("--task_name=digits", "--data_dir=x"),
    "train": ("--model_dir=m", "--label_data_dir=l"),
    "eval": ("--model_dir=m", "--label_data_dir=l"),
    "train_and_eval": ("--model_dir=m", "--label_data_dir=l"),
    "predict": ("--predict_ckpt_path=c", "--output_dir=o", "--unlabel_data_dir=u"),
    "balance": ("--input_dir=i", "--prediction_dir=p", "--output_dir=o"),
    "iterate": ("--task_name=digits", "--work_dir=w", "--rounds=efficientnet-b0:4"),
    "classify": ("--predict_ckpt_path=c", "--input_files=f"),
    "convert": ("--init_model_path=c", "--model_dir=m"),
    "export": ("--predict_ckpt_path=c", "--output_dir=o"),
    "robustness": (
        "--checkpoints=c",
        "--robustness=fgsm",
        "--output_dir=o",
        "--label_data_dir=l",
        "--model_name=efficientnet-b0",
    ),
    "study": ("--study=noise", "--work_dir=w"),
}


def start(monkeypatch, function, *arguments):
    """Runs main with `function` in place of what the mode calls; returns (exit code, modules asked for)."""
    asked = []

    def import_module(name):
        asked.append(name)
        return types.SimpleNamespace(**{name: run for _, _, name in main.MODES.values()})

    def run(config, *fast):
        assert fast == ((FAST,) if absl_flags.FLAGS.mode in main.RUN_A_NETWORK else ())
        function(config)

    monkeypatch.setattr(absl_flags, "FLAGS", parsed(*arguments))
    monkeypatch.setattr(main.startup, "imported", import_module)
    monkeypatch.setattr(main.fast, "find", lambda: FAST)
    monkeypatch.setattr(main.startup, "quieten", lambda: None)
    monkeypatch.setattr(main.fast, "prepare_process", lambda: None)
    return main.main(["main.py"]), asked


def test_memory_is_seen_to_before_tensorflow_is_imported(monkeypatch):
    order = []

    def import_module(name):
        order.append(name)
        return types.SimpleNamespace(prepare=lambda config: None)

    monkeypatch.setattr(absl_flags, "FLAGS", parsed("--mode=prepare", *PARTS["prepare"]))
    monkeypatch.setattr(main.startup, "imported", import_module)
    monkeypatch.setattr(main.startup, "quieten", lambda: None)
    monkeypatch.setattr(main.fast, "prepare_process", lambda: order.append("memory"))
    assert main.main(["main.py"]) == 0
    assert order == ["memory", "data.prepare.run"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_hands_its_config_to_one_function(monkeypatch, mode):
    got: list[Any] = []
    code, asked = start(monkeypatch, got.append, f"--mode={mode}", *PARTS[mode])
    assert (code, len(got)) == (0, 1)
    assert asked == [main.MODES[mode][1]]
    assert type(got[0]).__name__ == {"eval": "EvaluateConfig", "train_and_eval": "TrainConfig"}.get(
        mode, f"{mode.capitalize()}Config"
    )


def test_the_table_of_modes_names_what_exists():
    assert list(main.MODES) == list(MODES)
    for _, module, function in main.MODES.values():
        path = ROOT / (module.replace(".", "/") + ".py")
        path = path if path.exists() else ROOT / module.replace(".", "/") / "__init__.py"
        assert re.search(rf"^def {function}\(\s*config: ", path.read_text(), re.M), module


def test_the_report_gets_the_command_line(monkeypatch):
    got: list[Any] = []
    monkeypatch.setattr(sys, "argv", ["main.py", "--work_dir=with space"])
    start(monkeypatch, got.append, "--mode=iterate", *PARTS["iterate"])
    assert got[0].command == "python main.py '--work_dir=with space'"


def test_notices_come_before_the_work(monkeypatch, capsys, tmp_path):
    smaller = ("--width_coefficient=1", f"--rounds=@{tmp_path}/narrow.flags", "--master=x")
    (tmp_path / "narrow.flags").write_text("--unlabel_ratio=4\n--width_coefficient=0.5\n")
    code, _ = start(monkeypatch, lambda config: None, "--mode=iterate", *PARTS["iterate"][:-1], *smaller)
    lines = capsys.readouterr().err.splitlines()
    assert code == 0
    assert lines[0] == "notice: --master is ignored: TensorFlow 2 finds its cluster by --tpu or TF_CONFIG"
    assert lines[1].startswith("notice: --rounds: round 1's student (efficientnet-b0, 16 blocks, 640 head channels) is")


def test_what_the_user_can_put_right_is_one_line(monkeypatch, capsys):
    def fail(config):
        raise UserError("--model_dir: first\nsecond")

    code, _ = start(monkeypatch, fail, *PARTS["train"])
    assert code == 2
    assert capsys.readouterr().err == "error: --model_dir: first second\n"


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    def interrupt(config):
        raise KeyboardInterrupt

    code, _ = start(monkeypatch, interrupt, *PARTS["train"])
    assert code == 130
    assert capsys.readouterr().err == "interrupted; the same command continues\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_is_one_line_and_leaves_nothing_half_written(monkeypatch, capsys, tmp_path, number):
    def be_ended(config):
        with whole_file(str(tmp_path / "shard")) as temporary:
            open(temporary, "w").close()
            os.kill(os.getpid(), number)
            time.sleep(60)

    before = signal.getsignal(number)
    code, _ = start(monkeypatch, be_ended, *PARTS["train"])
    assert code == 128 + number
    assert capsys.readouterr().err == f"ended by {number.name}; the same command continues\n"
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(number) == before


def test_what_a_filesystem_says_is_one_line(monkeypatch, capsys):
    def fail(config):
        open("/nowhere/to/be/found").close()

    code, _ = start(monkeypatch, fail, *PARTS["train"])
    assert code == 2
    assert capsys.readouterr().err.startswith("error: /nowhere/to/be/found: No such file or directory; check the path")


def test_a_storage_out_of_reach_stops_before_tensorflow_is_imported(monkeypatch, capsys):
    monkeypatch.setattr(main.remote.check_reachable, "__defaults__", (socket_that_fails, {}))
    code, asked = start(monkeypatch, lambda config: None, "--model_dir=gs://b/m", "--label_data_dir=l")
    assert (code, asked) == (2, [])
    assert capsys.readouterr().err.startswith("error: --model_dir: cannot reach gs://b/m: no connection to")


def socket_that_fails(*_, **__):
    raise OSError(101, "Network is unreachable")


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(config):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        start(monkeypatch, fail, *PARTS["train"])


def test_main_stays_short():
    assert len((ROOT / "main.py").read_text().splitlines()) <= 80
