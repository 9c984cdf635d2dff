"""The one exception that is shown to people as a single line instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right: says what was got, what was expected, and what to do (flag, file, record)."""
