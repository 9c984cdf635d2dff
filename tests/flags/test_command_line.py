"""The command line: flag files, which of two flags counts, `--help` and what it costs, and what is wrong, on one line."""

from __future__ import annotations

import subprocess
import sys

import pytest
from absl import flags as absl_flags

from flags import command_line
from runtime.errors import UserError
from tests.flags.parsing import ROOT, parsed


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a flag file below the current folder; returns its name."""
    monkeypatch.chdir(tmp_path)

    def write_file(name, *lines):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return name

    return write_file


# --- flag files -----------------------------------------------------------------------------------------------------


def test_a_flag_file_stands_where_it_is_named(write):
    write("a.flags", "# comment", "// comment", "", "--train_steps=1  ", "--seed=2")
    assert command_line.expanded(["--seed=1", "--flagfile=a.flags", "--noupsample"]) == [
        "--seed=1",
        "--train_steps=1",
        "--seed=2",
        "--noupsample",
    ]
    assert parsed("--seed=1", "--flagfile=a.flags").seed == 2
    assert parsed("--flagfile=a.flags", "--seed=1").seed == 1
    assert parsed("-flagfile", "a.flags").train_steps == 1


def test_a_flag_file_names_another(write):
    write("sub/a.flags", "--flagfile=sub/b.flags", "--seed=1")
    write("sub/b.flags", "--seed=2", "--train_steps=2")
    values = parsed("--flagfile=sub/a.flags")
    assert (values.seed, values.train_steps) == (1, 2)


@pytest.mark.parametrize("value", ["a b", "it's", "été", "a#b", "x=y", "a\u2028b", '"half', "gs://b/c//d"])
def test_a_value_is_taken_as_it_stands(write, value):
    write("a.flags", f"--model_dir={value}")
    assert parsed("--flagfile=a.flags").model_dir == value
    assert command_line.read_flag_file("a.flags").said == {"model_dir": value}


def test_a_file_of_windows_lines(write, tmp_path):
    (tmp_path / "a.flags").write_bytes(b"# comment\r\n--model_dir=a b\r\n--seed=1\r\n")
    assert parsed("--flagfile=a.flags").model_dir == "a b"


def test_names_of_flag_files_count_from_the_file_that_holds_them(write, tmp_path):
    write("sub/a.flags", "--rounds=efficientnet-b0:4,@b.flags", "--rounds=@/c.flags", "--finetune=../d.flags")
    values = parsed("--flagfile=sub/a.flags")
    assert values.rounds == ["efficientnet-b0:4,@sub/b.flags", "@/c.flags"]
    assert values.finetune == "sub/../d.flags"
    write("sub/a.flags", "--finetune=", "--rounds", "@b.flags", "--rounds=@gs://bucket/c.flags")
    values = parsed(f"--flagfile={tmp_path}/sub/a.flags")
    assert (values.finetune, values.rounds) == ("", [f"@{tmp_path}/sub/b.flags", "@gs://bucket/c.flags"])
    assert parsed("--rounds=@b.flags", "--finetune=d.flags").rounds == ["@b.flags"]


def test_of_the_rounds_of_two_places_the_later_ones_count(write):
    write("a.flags", "--rounds=efficientnet-b0:1", "--rounds=efficientnet-b0:2")
    write("b.flags", "--rounds=efficientnet-b0:3", "--flagfile=a.flags")
    first, second = ["efficientnet-b0:1", "efficientnet-b0:2"], ["efficientnet-b1:1", "efficientnet-b1:2"]
    given = [f"--rounds={each}" for each in second]
    assert parsed("--flagfile=a.flags").rounds == first
    assert parsed(*given).rounds == second
    assert parsed("--flagfile=a.flags", *given).rounds == second
    assert parsed(*given, "--flagfile=a.flags").rounds == first
    assert parsed("--flagfile=a.flags", "--flagfile=a.flags").rounds == first
    assert parsed("--flagfile=b.flags").rounds == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flagfile=none"], "--flagfile: there is no flag file none; check the path"),
        (["--flagfile=a.flags"], "a.flags, line 2: there is no flag file none; check the path"),
        (["--flagfile=b.flags"], "c.flags, line 1: got --flagfile=b.flags, which leads back to that file; leave it out"),
        (["--flagfile=d.flags"], "d.flags, line 1: the byte 0xff after '' is no UTF-8; save the file as UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_flag_file(write, tmp_path, arguments, message):
    write("a.flags", "--seed=1", "--flagfile=none")
    write("b.flags", "--flagfile=c.flags")
    write("c.flags", "--flagfile=b.flags")
    (tmp_path / "d.flags").write_bytes(b"\xff")
    with pytest.raises(UserError) as caught:
        command_line.expanded(arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--train_steps=0  # none", "flag --train_steps=0: expected an integer of at least 1; --help lists the flags"),
        ("--zzz=1", "Unknown command line flag 'zzz'; --help lists the flags"),
        ("\u2013seed=1", "got '\u2013seed=1', expected a flag, as --name=value"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_place(write, capsys, monkeypatch, line, said):
    write("a.flags", "--seed=1", line)
    monkeypatch.setattr(absl_flags, "FLAGS", command_line.define(absl_flags.FlagValues()))
    with pytest.raises(SystemExit):
        command_line.parse(["main.py", "--flagfile=a.flags", "--seed=2"])
    assert capsys.readouterr().err == f"error: a.flags, line 2: {said}\n"


def test_what_a_flag_file_says_and_where(write):
    write("a.flags", "", "--seed=3", "--noupsample", "--beam_args=--a", "--flagfile=b.flags", "--seed=4")
    write("b.flags", "#", "--remat")
    file = command_line.read_flag_file("a.flags")
    assert file.said == {"seed": 4, "upsample": False, "beam_args": ["--a"], "remat": True}
    assert file.places == {
        "seed": "a.flags, line 6",
        "upsample": "a.flags, line 3",
        "beam_args": "a.flags, line 4",
        "remat": "b.flags, line 2",
    }


# --- parsing and help -----------------------------------------------------------------------------------------------


def test_several_bad_values_stand_apart():
    command = [sys.executable, "main.py", "--train_steps=0", "--weight_decay=-1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "expected an integer of at least 1; flag --weight_decay=-1.0: expected a number >= 0; --help" in done.stderr


def test_help_says_every_flag_and_the_modes_that_alone_read_it():
    values = parsed()
    text = command_line.help_text(values)
    assert all(f"--{name}:" in text or f"--[no]{name}:" in text for name in values)
    assert "--train_batch_size: Labeled images a step, over all replicas. [release] Default: 4096" in text
    assert "--num_image: (balance) Records of every class that has any candidate. [release] Default: 1300" in text
    assert "--predict_ckpt_path: (predict, classify, export) The checkpoint: a prefix or a model_dir. [release]" in text
    assert "repeat this option" not in text


@pytest.mark.parametrize("asked", ["--help", "-h", "--helpshort", "--helpfull"])
def test_help_imports_nothing_heavy(asked):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['main.py', {asked!r}]\n"
        "try:\n    runpy.run_path('main.py', run_name='__main__')\n"
        "except SystemExit as exit:\n    code = exit.code\n"
        "heavy = {'tensorflow', 'numpy', 'apache_beam', 'matplotlib', 'PIL', 'sklearn'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy), 'exit:', code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: [] exit: 0"
    assert "teacher_softmax_temp" in done.stdout
    assert done.stderr == ""
