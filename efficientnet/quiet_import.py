"""Imports keras_cv without the line about its backend that it prints, and without what only its plots and downloads use."""

from __future__ import annotations

import contextlib
import io

from runtime.imported_later import imported_later

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), imported_later():
    import keras_cv

__all__ = ["keras_cv"]
