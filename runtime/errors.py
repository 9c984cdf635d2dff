"""What is shown to people as a single line instead of a traceback."""

from __future__ import annotations

import errno
import os
import re
from typing import Optional

_REASONS = {os.strerror(code) for code in errno.errorcode}
_NO_ROOM = {os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)}
_NO_FOLDER = re.compile(r"(/.*) is not a directory|Could not find directory (/.*)")
_NO_MEMORY = re.compile(
    r"OOM when allocating tensor with shape ?\[[^\]]*\]|[Oo]ut of memory while trying to allocate [^.\n]*|"
    r"Unable to allocate [\d.]+ \w+|failed to allocate memory|std::bad_alloc"
)
_LESS_MEMORY = (
    "lower what is held at a time (--train_batch_size, --unlabel_ratio, --eval_batch_size, --input_image_size; --num_image in "
    "balance), or train with --remat"
)
_REMOTE = ("gs://", "hdfs://", "s3://")


class UserError(Exception):
    """Something the user can put right: says what was got, what was expected, and what to do (flag, file, record)."""


def one_line(error: BaseException) -> str:
    """What to show for an error that the user can put right; "" for any other, which keeps its traceback."""
    if is_broken_pipe(error):
        return ""
    if isinstance(error, UserError):
        return f"error: {' '.join(str(error).splitlines())}"
    line = about_memory(error) or about_files(error)
    return f"error: {line}" if line else ""


def is_broken_pipe(error: Optional[BaseException]) -> bool:
    """Whether it began with a pipe that nobody reads, as of a `print` whose reader has gone."""
    while error is not None and not isinstance(error, BrokenPipeError):
        error = error.__cause__ or error.__context__
    return error is not None


def reason(error: BaseException) -> str:
    """What a filesystem gives as the reason of an error, e.g. `No space left on device`; else the error's first line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    line = (_text(error).splitlines() or [type(error).__name__])[0]
    return line.split("; ")[-1] if line.split("; ")[-1] in _REASONS else line


def about_memory(error: BaseException) -> Optional[str]:
    """One line for an error that says that memory was not enough, of the machine or of its accelerator; None for any other."""
    match = _NO_MEMORY.search(str(error))
    if match is None and not isinstance(error, MemoryError):
        return None
    return f"the memory is not enough{f' ({match.group()})' if match else ''}; {_LESS_MEMORY}"


def about_files(error: BaseException) -> Optional[str]:
    """One line for what a filesystem, local or remote, says of a file; None for any other error.

    TensorFlow's are known by their text, so that this needs no TensorFlow.
    """
    if isinstance(error, OSError) and error.filename and error.strerror:
        return _line(str(error.filename), error.strerror)
    if not type(error).__module__.startswith("tensorflow"):
        return None
    text = " ".join(_text(error).split())
    if any(scheme in text for scheme in _REMOTE):
        return f"{text}; check the path, the network and your permission, and run the same command again"
    file, _, why = text.rpartition("; ")
    if why in _REASONS:
        return _line(file, why)
    found = _NO_FOLDER.fullmatch(text)
    return _line(found[1] or found[2], "no such folder") if found else None


def _line(file: str, why: str) -> str:
    return f"{file}: {why}; {'make room' if why in _NO_ROOM else 'check the path'}, and run the same command again"


def _text(error: BaseException) -> str:
    """The error's text without what TensorFlow puts around it: the node before it, the operation behind it."""
    text = getattr(error, "message", None) or str(error)
    return re.sub(r"^\{\{.*?\}\} |(?s: \[Op:.*)", "", text.strip())


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    text = getattr(error, "message", None) or str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
