"""Which Python `make` takes, among made-up ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PREFERRED = ("11", "10", "9", "13", "12")


def _python(path: Path, works: bool) -> Path:
    """Stands for an interpreter that has what it is asked for; or for a shim whose version is not chosen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexit {0 if works else 127}\n")
    path.chmod(0o755)
    return path


def _found(tmp_path: Path, *minors: str) -> str:
    environment = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}
    command = ["/bin/sh", str(ROOT / ".ci/find_python"), *minors]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_the_first_that_runs_in_the_order_given(tmp_path: Path) -> None:
    assert _found(tmp_path, *PREFERRED) == ""
    (tmp_path / "bin").mkdir()
    twelve = _python(tmp_path / "bin/python3.12", works=True)
    assert _found(tmp_path, *PREFERRED) == str(twelve)
    _python(tmp_path / "bin/python3.11", works=False)
    assert _found(tmp_path, *PREFERRED) == str(twelve)
    ten = _python(tmp_path / "bin/python3.10", works=True)
    assert _found(tmp_path, *PREFERRED) == str(ten)
    assert _found(tmp_path, "13", "12") == str(twelve)


def test_pyenv_s_is_found_behind_its_shim(tmp_path: Path) -> None:
    _python(tmp_path / "bin/python3.13", works=False)
    thirteen = _python(tmp_path / ".pyenv/versions/3.13.0/bin/python", works=True)
    assert _found(tmp_path, "13", "12") == str(thirteen)


def test_another_version_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(sys.executable)
    assert _found(tmp_path, "8") == ""


@pytest.mark.parametrize(
    ("python", "message"),
    [
        (
            "",
            "error: found no Python 3.9 to 3.13 that runs (on the PATH or under pyenv) and has venv: install one (",
        ),
        ("SHIM", "error: PYTHON=SHIM does not run: name a Python 3.9 to 3.13 that does"),
    ],
)
def test_without_one_a_line_says_what_to_do(tmp_path: Path, python: str, message: str) -> None:
    path = str(_python(tmp_path / "shim", works=False)) if python else ""
    command = ["/bin/sh", str(ROOT / ".ci/make_venv"), path, str(tmp_path / "venv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(message.replace("SHIM", path))
    assert not (tmp_path / "venv").exists()
