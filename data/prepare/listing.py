"""Lists the user's folders: the files and the classes in them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Optional

from data.images.files import Item
from runtime.errors import UserError

# What systems, file servers and programs put among pictures, in lower case; and whatever begins with a dot.
IGNORED = {
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "system volume information",  # Windows
    "__macosx", "icon\r", "network trash folder", "temporary items", "trashes",  # macOS
    "@eadir", "#recycle", "@recycle", "@recently-snapshot", "@__thumb", "@tmp", "#snapshot", "lost+found",  # file servers
    "picasa.ini", "zbthumbnail.info", "__pycache__",  # programs
}  # fmt: skip
# Names that say a part of a data set, not a class.
_PARTS = re.compile(
    r"(train(ing)?|val(id(ation)?)?|dev|test(ing)?|eval(uation)?|hold[-_ ]?out|(un)?labell?ed|(fold|split)[-_ ]?\d+)"
    r"([-_ ]?(set|data))?"
)


@dataclasses.dataclass
class Passed:
    """What a listing passed by.

    Attributes:
      ignored: {name of the system's own: how often}.
      folders: {device and number of a folder: its path}, of all folders that were listed.
    """

    ignored: Counter[str] = dataclasses.field(default_factory=Counter)
    folders: dict[tuple[int, int], str] = dataclasses.field(default_factory=dict)


def is_ignored(name: str) -> bool:
    """Whether a file or folder is a system's or a program's own (`.DS_Store`, `@eaDir`): its name says so."""
    return name.startswith(".") or name.lower() in IGNORED


def list_files(folder: str, label: int = 0, passed: Optional[Passed] = None) -> list[Item]:
    """Every file in a folder and the folders below it, sorted by path; links are followed, a loop of links once.

    Args:
      folder: where to look.
      label: of every file.
      passed: what earlier listings passed by; gets what this one does.

    Raises:
      UserError: a folder that `passed` has already, which a link leads to once more.
    """
    passed = Passed() if passed is None else passed
    found: list[Item] = []
    seen: dict[tuple[int, int], str] = {}
    pending = [folder]
    while pending:
        current = pending.pop()
        status = os.stat(current)
        key = (status.st_dev, status.st_ino)
        if key in passed.folders:
            raise UserError(
                f"--source_dir: {shown(current)} is the same folder as {shown(passed.folders[key])}, by a link; remove one of "
                "them, because no picture can be both"
            )
        if key in seen:
            continue
        seen[key] = current
        with os.scandir(current) as entries:
            for entry in entries:
                if is_ignored(entry.name):
                    passed.ignored[entry.name] += 1
                    continue
                if entry.is_dir():
                    pending.append(entry.path)
                else:
                    found.append(Item(entry.path, entry.stat().st_size if entry.is_file() else -1, label))
    passed.folders.update(seen)
    return sorted(found)


def list_classes(folder: str, flag: str, passed: Optional[Passed] = None) -> list[str]:
    """The class folders in `folder`, sorted by name; `passed` gets the names that are ignored.

    Raises:
      UserError: a file among them, two names that differ only in case or Unicode form, a name that is not text.
    """
    names: dict[str, str] = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if is_ignored(name):
            if passed is not None:
                passed.ignored[name] += 1
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


def check_no_parts(folder: str, classes: list[str], flag: str) -> None:
    """Raises UserError where the folders in `folder` are no classes but parts of a data set (train, val) that hold them."""
    parts = [name for name in classes if is_part(name)]
    inside = {name: _folders_alone(os.path.join(folder, name)) for name in parts}
    deep = [name for name in parts if inside[name]]
    if len(deep) < 2 and not (len(parts) == len(classes) > 1):
        return
    held = sorted({name for names in inside.values() for name in names})
    advice = f", which hold {some(held)}; put these" if held else "; put the classes"
    raise UserError(
        f"--{flag}: {folder} holds the folders {some(deep or parts)}{advice} right into {os.path.basename(folder)}/, and the "
        "images to test on into test/<class>/"
    )


def is_part(name: str) -> bool:
    """Whether a folder's name is that of a part of a data set, such as train or val."""
    return _PARTS.fullmatch(name.casefold()) is not None


def _folders_alone(folder: str) -> list[str]:
    """The folders in a folder that holds no file; none if it holds one."""
    names = [name for name in sorted(os.listdir(folder)) if not is_ignored(name)]
    return names if all(os.path.isdir(os.path.join(folder, name)) for name in names) else []


def some(names: list[str]) -> str:
    """The first of many names, as text that can be printed."""
    return ", ".join(map(shown, names[:5])) + (", ..." if len(names) > 5 else "")


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
