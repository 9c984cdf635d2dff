"""Imports keras_cv without the line about its backend that it prints on import."""

from __future__ import annotations

import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    import keras_cv

__all__ = ["keras_cv"]
