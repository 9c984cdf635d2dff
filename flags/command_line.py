"""From a command line to flags: parsing, flag files, `--help`. No TensorFlow here but for flag files on remote filesystems.

Flag files are read here, not by absl, so that a flag file can name another one beside it (`--rounds=@student.flags`), and so that
a fault is said with file and line. What their lines may look like: `flags/flag_text.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from absl import flags

from flags import flag_text
from flags.definitions import GROUPS, MODES, SCOPES
from flags.kinds import Scope, takes_any_text
from runtime import errors
from runtime.errors import UserError
from runtime.files import read_bytes

HELP_WIDTH = 110
# Flags whose value is, or ends with, the path of a flag file.
OF_FLAG_FILES = ("flagfile", "rounds", "finetune")


def define(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines all flags in `values` and returns it; does nothing if they are defined already."""
    if "mode" not in values:
        for title, group in GROUPS.items():
            for flag in group:
                flag.add(flag_values=values, module_name=title)
    return values


def parse(argv: Sequence[str]) -> list[str]:
    """Parses a command line into absl's FLAGS, for `app.run`; returns what is not a flag.

    `--help` prints `help_text`, `--helpfull` absl's own flags too; a flag that cannot be parsed ends with one line and exit
    code 2.
    """
    asked = {argument.lstrip("-") for argument in argv[1:] if argument.startswith("-")}
    if asked & {"help", "h", "?", "helpshort"}:
        print(help_text(flags.FLAGS))
        sys.exit(0)
    if "helpfull" in asked:
        print(flags.FLAGS.get_help())
        sys.exit(0)
    found: list[_Argument] = []
    try:
        found += _expanded(argv[1:])
        left = flags.FLAGS([argv[0], *(argument.text for argument in found)])
        _check_none_of_a_file(left[1:], found)
        return left
    except flags.Error as error:
        lines = [line.strip() for line in str(error).replace("ERROR:: ", "").splitlines()]
        said = "; ".join(line for line in lines if line)
        text = f"error: {_place_of(said, found)}{said}; --help lists the flags"
    except (UserError, OSError) as error:
        text = errors.one_line(error)
        if not text:
            raise
    print(text, file=sys.stderr)
    sys.exit(2)


# --- flag files -----------------------------------------------------------------------------------------------------


class FlagFile(NamedTuple):
    """What a flag file says.

    Attributes:
      said: {flag: value}.
      places: {flag: "FILE, line N"}, where it says so, for messages.
    """

    said: dict[str, Any]
    places: dict[str, str]


class _Argument(NamedTuple):
    """An argument of the command line, or a line of a flag file.

    Attributes:
      name: of the flag; "" if it is none.
      place: "FILE, line N"; "" on the command line.
      source: on which line of which flag file, and so on, its flag file is named; the same for all lines of a file.
    """

    text: str
    name: str
    place: str
    source: tuple[int, ...]


def expanded(arguments: Sequence[str]) -> list[str]:
    """The arguments with the lines of flag files in place of `--flagfile=FILE`.

    --rounds may be repeated, but is one thing: as of any flag that is given twice, in a flag file and beside it, the later one
    counts.

    Raises:
      UserError: a flag file that is not there, not text, or names itself.
    """
    return [argument.text for argument in _expanded(arguments)]


def _expanded(arguments: Sequence[str]) -> list[_Argument]:
    found = list(_expand(enumerate(arguments)))
    rounds = [argument.source for argument in found if argument.name == "rounds"]
    return [argument for argument in found if argument.name != "rounds" or argument.source == rounds[-1]]


def _check_none_of_a_file(left: Sequence[str], found: Sequence[_Argument]) -> None:
    """Raises UserError where what is no flag stands in a flag file; on the command line, `main` says so."""
    for argument in found:
        if argument.place and argument.text in left:
            raise UserError(f"{argument.place}: got {argument.text!r}, expected a flag, as --name=value")


def _place_of(said: str, found: Sequence[_Argument]) -> str:
    """In which line of which flag file the flag stands that absl says this of; "" if it stands in none."""
    for argument in found:
        if argument.place:
            try:
                define(flags.FlagValues())(["", argument.text])
            except flags.Error as error:
                if " ".join(str(error).split()) == said:
                    return f"{argument.place}: "
    return ""


def read_flag_file(path: str) -> FlagFile:
    """Parses a flag file by itself.

    Raises:
      UserError: no such file, a line that is not a flag, or a value that a flag does not take; names file and line.
    """
    return _read(_expand_file(path, (path,), ()))


def read_flags(lines: Sequence[str]) -> FlagFile:
    """Parses flags by themselves, one a line; its places are the lines.

    Raises:
      UserError: a line that is not a flag, or a value that a flag does not take; names the line.
    """
    return _read(argument._replace(place=argument.text) for argument in _expand(enumerate(lines)))


def _read(arguments: Iterable[_Argument]) -> FlagFile:
    values = define(flags.FlagValues())
    places: dict[str, str] = {}
    for argument in arguments:
        try:
            rest = values(["", argument.text])[1:]
        except flags.Error as error:
            raise UserError(f"{argument.place}: {' '.join(str(error).split())}") from error
        name = argument.name if argument.name in values else argument.name[len("no") :]
        if rest or name not in values:
            raise UserError(f"{argument.place}: got {argument.text!r}, expected a flag, as --name=value")
        places[name] = argument.place
    return FlagFile({name: values[name].value for name in places}, places)


def _expand(
    lines: Iterable[tuple[int, str]], files: tuple[str, ...] = (), source: tuple[int, ...] = ()
) -> Iterator[_Argument]:
    """Goes through the numbered lines of the last of `files`, each of which names the next, or of the command line."""
    pending = iter(lines)
    for number, text in pending:
        name, equals, value = text.lstrip("-").partition("=") if text.startswith("-") else ("", "", "")
        place = f"{files[-1]}, line {number}" if files else ""
        if name in OF_FLAG_FILES and not equals:
            _, value = next(pending, (0, ""))
        if name in OF_FLAG_FILES and (equals or value):  # else absl says that the value is missing
            value = _from_folder_of(files, name, value)
            text = f"--{name}={value}"
        if name != "flagfile" or not value:
            yield _Argument(text, name, place, source)
        elif value in files:
            raise UserError(f"{place}: got --flagfile={value}, which leads back to that file; leave it out")
        else:
            yield from _expand_file(value, (*files, value), (*source, number), f"{place or '--flagfile'}: ")


def _expand_file(path: str, files: tuple[str, ...], source: tuple[int, ...], by: str = "") -> Iterator[_Argument]:
    content = read_bytes(path)
    if content is None:
        raise UserError(f"{by}there is no flag file {path}; check the path")
    return _expand(flag_text.flags_in(content, path, takes_any_text(define(flags.FlagValues()))), files, source)


def _from_folder_of(files: Sequence[str], name: str, value: str) -> str:
    """The value with a relative path of a flag file as seen from the current folder; absl's --flagfile always is."""
    before, at, path = value.partition("@") if name == "rounds" else ("", "", value)
    path = os.path.expanduser(path)
    if name != "flagfile" and files and path and "://" not in path:
        path = os.path.join(os.path.dirname(files[-1]), path)
    return before + at + path


# --- help -----------------------------------------------------------------------------------------------------------


def help_text(values: flags.FlagValues) -> str:
    """Our flags, group by group."""
    lines = [
        "Noisy Student self-training: teacher -> pseudo labels -> balance -> student, and the student is the next teacher.",
        "",
        "  python main.py --flagfile=flags/presets/digits.flags --work_dir=runs/digits",
        "  python main.py --mode=MODE --flag=value ...",
        "",
        "[release]: name and default are the original release's. --flagfile=FILE reads flags from a file, one a line.",
    ]
    by_group = values.flags_by_module_dict()
    for title in GROUPS:
        lines += ["", f"{title}:"]
        lines += [_describe(flag) for flag in by_group[title]]
    return "\n".join([*lines, "", "--helpfull adds absl's own flags (logging, profiling, ...)."])


def _describe(flag: flags.Flag) -> str:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    default = "" if flag.default in (None, "", []) else f" Default: {str(flag.default_as_str).strip(chr(39))}"
    modes = _few_modes(SCOPES[flag.name])
    text = f"{name}: {f'({modes}) ' if modes else ''}{flag.help}{default}"
    return flags.text_wrap(text, length=HELP_WIDTH, indent="      ", firstline_indent="  ")


def _few_modes(scope: Scope) -> str:
    """The modes that read a flag, if no training does."""
    if scope & (Scope.TEACHER | Scope.STUDENT | Scope.FINETUNE):
        return ""
    return ", ".join(mode for mode in MODES if mode.upper() in Scope.__members__ and Scope[mode.upper()] & scope)
