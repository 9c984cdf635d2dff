"""What is shown to people as a single line instead of a traceback."""

from __future__ import annotations

import errno
import os
from typing import Optional

_REASONS = {os.strerror(code) for code in errno.errorcode}
_NO_ROOM = {os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)}
_REMOTE = ("gs://", "hdfs://", "s3://")


class UserError(Exception):
    """Something the user can put right: says what was got, what was expected, and what to do (flag, file, record)."""


def one_line(error: BaseException) -> str:
    """What to show for an error that the user can put right; "" for any other, which keeps its traceback."""
    line = " ".join(str(error).splitlines()) if isinstance(error, UserError) else about_files(error)
    return f"error: {line}" if line else ""


def reason(error: BaseException) -> str:
    """What a filesystem gives as the reason of an error: `No space left on device`; else the error's first line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = (getattr(error, "message", None) or str(error)).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    return line.split("; ")[-1] if line.split("; ")[-1] in _REASONS else line


def about_files(error: BaseException) -> Optional[str]:
    """One line for what a filesystem, local or remote, says of a file; None for any other error.

    TensorFlow's are known by their text, `FILE; REASON`, or by the remote file that it names, so that this needs no TensorFlow.
    """
    if isinstance(error, OSError) and error.filename and error.strerror:
        file, why = str(error.filename), error.strerror
    elif type(error).__module__.startswith("tensorflow") and hasattr(error, "message"):
        text = " ".join(str(error.message).replace("{{", "").split())
        if any(scheme in text for scheme in _REMOTE):
            return f"{text}; check the path, the network and your permission, and run the same command again"
        file, _, why = text.partition(" [")[0].rpartition("; ")
        if why not in _REASONS:
            return None
    else:
        return None
    remedy = "make room" if why in _NO_ROOM else "check the path"
    return f"{file}: {why}; {remedy}, and run the same command again"
