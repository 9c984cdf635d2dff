from __future__ import annotations

import gc
import sys

import pytest

from runtime import startup


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
