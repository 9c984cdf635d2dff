from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import startup

ROOT = Path(__file__).parents[2]


def test_no_garbage_is_looked_for_while_importing(tmp_path, monkeypatch):
    (tmp_path / "asks.py").write_text("import gc\nenabled = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = gc.get_freeze_count()
    try:
        module = startup.imported("asks")
        assert (module.enabled, gc.isenabled()) == (False, True)
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
        sys.modules.pop("asks", None)


def test_garbage_is_looked_for_after_an_import_that_fails(tmp_path, monkeypatch):
    (tmp_path / "fails.py").write_text("raise ZeroDivisionError\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(ZeroDivisionError):
            startup.imported("fails")
        assert gc.isenabled()
    finally:
        gc.unfreeze()


def test_what_tensorflow_notes_while_it_is_loaded_is_held_back_and_nothing_else(tmp_path, monkeypatch, capfd):
    (tmp_path / "speaks.py").write_text(
        "import os, sys\n"
        "os.write(2, b'WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n')\n"
        "os.write(2, b'I0000 00:00:1796098506.024526 5125 cudart_stub.cc:31] Could not find cuda drivers\\n')\n"
        "os.write(2, b'E0000 00:00:1796098506.024526 5125 somewhere.cc:1] Broken\\n')\n"
        "print('a warning', file=sys.stderr)\n"
        "raise ZeroDivisionError\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(ZeroDivisionError):
            startup.imported("speaks")
    finally:
        gc.unfreeze()
    assert sorted(capfd.readouterr().err.splitlines()) == [
        "E0000 00:00:1796098506.024526 5125 somewhere.cc:1] Broken",
        "a warning",
    ]


# --- Keras 2 --------------------------------------------------------------------------------------------------------


def _library(code: str, *modules: Path, **environment: str) -> str:
    """What a program with only these modules beside this project's prints."""
    path = os.pathsep.join([*map(str, modules), str(ROOT)])
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(
        command, env={"PYTHONPATH": path, **environment}, cwd="/", capture_output=True, text=True, check=False
    )
    return (done.stdout + done.stderr).strip().splitlines()[-1]


@pytest.fixture
def tf_keras(tmp_path: Path) -> Path:
    (tmp_path / "tf_keras.py").write_text("")
    return tmp_path


def test_keras_2_is_chosen_where_it_is_a_package_and_only_there(tf_keras):
    asked = "import efficientnet, os; print(os.environ.get('TF_USE_LEGACY_KERAS'))"
    assert _library(asked, tf_keras) == "1"
    assert _library(asked, tf_keras, TF_USE_LEGACY_KERAS="0") == "1"
    assert _library(asked) == "None"
    assert _library(asked, TF_USE_LEGACY_KERAS="1") == "None"


def test_a_tensorflow_that_has_keras_3_already_is_an_error(tf_keras):
    (tf_keras / "tensorflow.py").write_text("")
    first = "import tensorflow, efficientnet; print('fine')"
    assert _library(first, tf_keras) == (
        "ImportError: TensorFlow was imported first and has Keras 3: import this before it, or set TF_USE_LEGACY_KERAS=1"
    )
    assert _library(first, tf_keras, TF_USE_LEGACY_KERAS="1") == "fine"


def test_every_room_that_imports_tensorflow_chooses_keras_2_first():
    folders = [path.parent for path in ROOT.glob("*/__init__.py")]
    rooms = {
        folder.name
        for folder in folders
        if any("import tensorflow" in path.read_text() for path in folder.rglob("*.py"))
    }
    assert {"efficientnet", "training"} <= rooms
    for room in rooms - {"runtime"}:
        assert "import runtime" in (ROOT / room / "__init__.py").read_text(), room
