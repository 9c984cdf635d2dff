"""The text of a flag file, as editors and shells of all systems write it: one flag a line. No TensorFlow here.

    # a comment (or //)
    --seed=3            # one behind a number, a word or a switch
    --data_dir=my pictures
    --data_dir="my pictures"      # a value in quotes is what they hold, and only then a comment may follow a name or a path
    --seed 3

UTF-8 with or without a mark at its beginning, UTF-16, and lines that end in any way. A comment may be of any encoding.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Optional

from runtime.errors import UserError

_MARKS = (  # the longer ones first: that of UTF-16 begins one of UTF-32
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COMMENT = ("#", "//")
_LINE_END = re.compile(r"\r\n|\r|\n")
_FLAG = re.compile(r"(--?\w+)(\s*=\s*|=|\s+)?(.*)", re.DOTALL)
_BEHIND = re.compile(r"(?:^|\s)#.*", re.DOTALL)
_QUOTES = ("'", '"')


def flags_in(content: bytes, path: str, is_text: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    """Yields (number of the line, flag) of a flag file's content, each as `--name=value` if it was so or `--name value`.

    Args:
      content: of the file.
      path: the file's, for messages.
      is_text: whether a flag of this name takes any text, so that a `#` in it may be meant.

    Raises:
      UserError: a line that is not text, or of which nobody can say where the value ends; names file and line.
    """
    for number, line in _lines(content, path):
        line = line.strip()
        if len(line) > 1 and line[0] in _QUOTES and line[-1] == line[0] and line[1] == "-":
            line = line[1:-1]
        if line and not line.startswith(_COMMENT):
            yield number, _flag(line, f"{path}, line {number}", is_text)


def line(name: str, value: str) -> str:
    """`--name=value` as a flag file must have it so that `flags_in` gives this value again.

    Raises:
      UserError: no line says it.
    """
    whole = f"--{name}={value}"
    for form in () if re.search(r"[\r\n\0]", value) else (value, *(f"{quote}{value}{quote}" for quote in _QUOTES)):
        text = f"--{name}={form}"
        with contextlib.suppress(UserError):
            if text == text.strip() and _flag(text, "", lambda _: True) == whole:
                return text
    raise UserError(f"--{name}: {value!r} cannot stand in a flag file; give it on the command line, or rename it")


def _lines(content: bytes, path: str) -> Iterator[tuple[int, str]]:
    mark, encoding = next((each for each in _MARKS if content.startswith(each[0])), (b"", _without_mark(content)))
    if encoding != "utf-8":
        try:
            text = content[len(mark) :].decode(encoding)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path} is no flag file: {encoding} that is damaged ({error.reason}); save it as UTF-8"
            ) from error
        yield from enumerate(_LINE_END.split(text), start=1)
        return
    # By line, because a comment may be anything.
    for number, raw in enumerate(re.split(rb"\r\n|\r|\n", content[len(mark) :]), start=1):
        try:
            yield number, raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if not raw.lstrip().startswith(tuple(sign.encode() for sign in _COMMENT)):
                raise UserError(
                    f"{path}, line {number}: the byte 0x{raw[error.start]:02x} after {raw[: error.start].decode()!r} is no "
                    "UTF-8; save the file as UTF-8"
                ) from error


def _without_mark(content: bytes) -> str:
    """UTF-16 has a zero in every second byte of what is written here."""
    even, odd = content[0::2].count(0), content[1::2].count(0)
    return "utf-8" if not even and not odd else "utf-16-be" if even > odd else "utf-16-le"


def _flag(text: str, place: str, is_text: Callable[[str], bool]) -> str:
    match = _FLAG.fullmatch(text)
    if match is None:
        return text  # whoever parses it says what it is not
    name, between, value = match[1], match[2] or "", match[3]
    if not between:
        return text  # a switch, or a flag whose value is on the next line
    if between.isspace() and value.startswith(_COMMENT):
        return name
    quoted = _unquoted(value, place)
    if quoted is not None:
        return f"{name}={quoted}"
    if between.startswith("="):
        value = between[between.index("=") + 1 :] + value  # a space behind it is the value's
    behind = _BEHIND.search(value)
    if behind and not is_text(name.lstrip("-")):
        value = value[: behind.start()].rstrip()
    elif behind:
        raise UserError(
            f"{place}: got {text}; if `{behind[0].strip()}` is a comment, put it on a line of its own; if it is part of the "
            f'value, write {name}="{value}"'
        )
    return f"{name}={value}"


def _unquoted(value: str, place: str) -> Optional[str]:
    """What a value in quotes holds, perhaps with a comment behind it; None for one that is in none."""
    quote = value[:1]
    if quote not in _QUOTES or not quote:
        return None
    ends = [
        end
        for end in range(1, len(value))
        if value[end] == quote and re.fullmatch(r"(\s+#.*|\s*)", value[end + 1 :], re.DOTALL)
    ]
    if len(ends) > 1:
        raise UserError(
            f"{place}: got {value}, which can end at several quotes; use the other kind of quotes around it"
        )
    return value[1 : ends[0]] if ends else None
