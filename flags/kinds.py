"""The kinds of flags (text, choice, switch, whole number, number), each with the check of its value, and where a flag counts."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Sequence
from typing import Any, Optional

from absl import flags

from runtime.files import expanded

MAX_WHOLE = 1 << 62  # seeds, and what is computed of a number of steps, have 64 bits


class Scope(enum.Flag):
    """Where a flag counts: the modes that read it, of a training each of its places in the loop; and who may give it in iterate.

    RUN: the command line alone, for the whole loop. DECIDED: nobody, iterate sets it for each stage. A flag with neither may
    also stand in a student's flag file if its labels, their balancing or its training read it, and in that of a finetuning.
    """

    PREPARE = enum.auto()
    TEACHER = enum.auto()
    STUDENT = enum.auto()
    FINETUNE = enum.auto()
    EVAL = enum.auto()
    PREDICT = enum.auto()
    BALANCE = enum.auto()
    CLASSIFY = enum.auto()
    ROBUSTNESS = enum.auto()
    CONVERT = enum.auto()
    EXPORT = enum.auto()
    ITERATE = enum.auto()
    STUDY = enum.auto()
    RUN = enum.auto()
    DECIDED = enum.auto()


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
      scope: where it counts.
      add: defines it; takes absl's `flag_values` and `module_name`, the title of its group.
    """

    name: str
    scope: Scope
    add: Callable[..., None]


def text(name: str, default: Optional[str], scope: Scope, help: str) -> Flag:
    """Any text."""

    def add(**where: Any) -> None:
        flags.DEFINE_string(name, default, help, **where)

    return Flag(name, scope, add)


def texts(name: str, scope: Scope, help: str) -> Flag:
    """Any texts: the flag may be repeated."""

    def add(**where: Any) -> None:
        flags.DEFINE_multi_string(name, [], help, **where)
        where["flag_values"][name].help = help  # absl adds a sentence

    return Flag(name, scope, add)


def path(name: str, default: Optional[str], scope: Scope, help: str) -> Flag:
    """A file, a folder or a checkpoint's prefix; `~` at its beginning is home."""
    return Flag(name, scope, _defined(_Path(), name, default, help))


def paths(name: str, scope: Scope, help: str) -> Flag:
    """Files or folders: the flag may be repeated."""

    def add(**where: Any) -> None:
        flags.DEFINE_multi(_Path(), flags.ArgumentSerializer(), name, [], help, **where)
        where["flag_values"][name].help = help

    return Flag(name, scope, add)


def folder(name: str, default: Optional[str], scope: Scope, help: str) -> Flag:
    """One folder; a name with the sign that separates folders elsewhere is refused."""
    return Flag(name, scope, _defined(_OneFolder(), name, default, help))


def folders(name: str, default: Optional[str], scope: Scope, help: str) -> Flag:
    """One folder, or several with `;` between them."""
    return Flag(name, scope, _defined(_Folders(), name, default, help))


def _defined(parser: flags.ArgumentParser, name: str, default: Optional[str], help: str) -> Callable[..., None]:
    def add(**where: Any) -> None:
        flags.DEFINE(parser, name, default, help, serializer=flags.ArgumentSerializer(), **where)

    return add


def choice(name: str, default: str, choices: Sequence[str], scope: Scope, help: str) -> Flag:
    """One of several words."""

    def add(**where: Any) -> None:
        flags.DEFINE_enum(name, default, choices, help, **where)

    return Flag(name, scope, add)


def switch(name: str, default: Optional[bool], scope: Scope, help: str) -> Flag:
    """On or off."""

    def add(**where: Any) -> None:
        flags.DEFINE_bool(name, default, help, **where)
        _expect(name, "true or false", **where)

    return Flag(name, scope, add)


def whole(
    name: str, default: Optional[int], scope: Scope, help: str, low: int = 1, unset: Optional[int] = None
) -> Flag:
    """An integer of at least `low`, or the value `unset` that stands for none."""
    expected = f"an integer of at least {low}" + ("" if unset is None else f", or {unset} for none")

    def add(**where: Any) -> None:
        flags.DEFINE_integer(name, default, help, **where)
        _expect(name, expected, **where)
        _check(name, lambda value: value >= low or value == unset, expected, **where)
        _check(name, lambda value: value < MAX_WHOLE, f"an integer below {MAX_WHOLE}", **where)

    return Flag(name, scope, add)


def number(
    name: str, default: Optional[float], scope: Scope, help: str, valid: Callable[[float], bool], expected: str
) -> Flag:
    """A finite number for which `valid` holds; `expected` says so in words, e.g. `> 0`."""

    def add(**where: Any) -> None:
        flags.DEFINE_float(name, default, help, **where)
        _expect(name, f"a number {expected}", **where)
        _check(name, valid, f"a number {expected}", **where)
        _check(name, math.isfinite, "a finite number", **where)

    return Flag(name, scope, add)


def takes_any_text(values: flags.FlagValues) -> Callable[[str], bool]:
    """Whether a flag of a name takes any text, as a path does; also of a name that is no flag."""

    def is_text(name: str) -> bool:
        if name not in values:
            return name.removeprefix("no") not in values
        return type(values[name].parser) in (flags.ArgumentParser, _Path, _OneFolder, _Folders)

    return is_text


class _Path(flags.ArgumentParser):
    def parse(self, argument: str) -> str:
        return expanded(argument)


class _OneFolder(_Path):
    def parse(self, argument: str) -> str:
        if ";" in argument:
            raise ValueError(
                "expected one folder; `;` separates several where more can be given, so no name may hold it"
            )
        return super().parse(argument)


class _Folders(_Path):
    def parse(self, argument: str) -> str:
        return ";".join(super(_Folders, self).parse(part) for part in argument.split(";"))


class _Parser(flags.ArgumentParser):
    """Another parser, which says what was expected in our words, not Python's.

    An empty text is no value, if the flag can be without one: so a later `--flag=` takes back what came before it.
    """

    def __init__(self, parser: flags.ArgumentParser, expected: str, optional: bool):
        self._parser = parser
        self._expected = expected
        self._optional = optional
        self.syntactic_help = parser.syntactic_help

    def parse(self, argument: Any) -> Any:
        if argument == "" and self._optional:
            return None
        try:
            return self._parser.parse(argument)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected {self._expected}") from error

    def flag_type(self) -> str:
        return self._parser.flag_type()


def _expect(name: str, expected: str, flag_values: flags.FlagValues, **_: Any) -> None:
    flag = flag_values[name]
    flag.parser = _Parser(flag.parser, expected, optional=flag.default is None)


def _check(name: str, valid: Callable[[Any], bool], expected: str, flag_values: flags.FlagValues, **_: Any) -> None:
    def check(value: Any) -> bool:
        if value is None or valid(value):
            return True
        raise flags.ValidationError(f"expected {expected}")

    flags.register_validator(name, check, flag_values=flag_values)
