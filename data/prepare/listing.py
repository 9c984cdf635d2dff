"""Lists the user's folders: the files and the classes in them."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Iterator

from data.images.files import Item
from runtime.errors import UserError

IGNORED = ("thumbs.db", "desktop.ini", "__macosx")


def is_ignored(name: str) -> bool:
    """Whether a file or folder is the operating system's own (`.DS_Store`, `Thumbs.db`): its name says so."""
    return name.startswith(".") or name.lower() in IGNORED


def list_files(folder: str, label: int = 0) -> list[Item]:
    """Every file in a folder and the folders below it, sorted by path; links are followed, a loop of links once."""
    found: list[Item] = []
    seen: set[tuple[int, int]] = set()
    pending = [folder]
    while pending:
        current = pending.pop()
        status = os.stat(current)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(current) as entries:
            for entry in entries:
                if is_ignored(entry.name):
                    continue
                if entry.is_dir():
                    pending.append(entry.path)
                else:
                    found.append(Item(entry.path, entry.stat().st_size if entry.is_file() else -1, label))
    return sorted(found)


def list_classes(folder: str, flag: str) -> list[str]:
    """The class folders in `folder`, sorted by name.

    Raises:
      UserError: a file among them, two names that differ only in case or Unicode form, a name that is not text.
    """
    names: dict[str, str] = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if is_ignored(name):
            continue
        if not os.path.isdir(path):
            raise UserError(
                f"--{flag}: {shown(path)} is not a class folder; every image belongs into a folder with its class's name"
            )
        key = class_key(name)
        if not is_text(name):
            raise UserError(f"--{flag}: the class folder {shown(path)} has a name that is not UTF-8; rename it")
        if key in names:
            raise UserError(
                f"--{flag}: {folder} has the class folders {names[key]!r} and {name!r}, which differ only in case or "
                "Unicode form; give one of them another name, or put their images together"
            )
        names[key] = name
    return list(names.values())


def class_key(name: str) -> str:
    """What makes two class names the same: neither case nor Unicode form matters."""
    return normal_form(normal_form(name).casefold())


def normal_form(name: str) -> str:
    """A name in Unicode's composed form, in which it looks the same from every operating system."""
    return unicodedata.normalize("NFC", name)


def is_text(name: str) -> bool:
    """Whether a file's name is UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(path: str) -> str:
    """A path as one line of text that can always be printed."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


@contextlib.contextmanager
def reading(folder: str, flag: str = "source_dir") -> Iterator[None]:
    """Turns a failure to list a folder (no permission, gone) into one line.

    Raises:
      UserError: instead of the operating system's error.
    """
    try:
        yield
    except OSError as error:
        where = shown(str(error.filename or folder))
        raise UserError(f"--{flag}: cannot read {where}: {error.strerror}; make it readable") from error
