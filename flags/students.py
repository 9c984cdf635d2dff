"""--rounds and --finetune: the students as the command line and its flag files describe them. No TensorFlow here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Optional

from absl.flags import FlagValues

from efficientnet.variants import VARIANTS
from flags import command_line
from flags.changed import Changes
from flags.definitions import SCOPES
from flags.folders import needed
from flags.kinds import Scope
from runtime.errors import UserError

OF_A_ROUND = Scope.PREDICT | Scope.BALANCE | Scope.STUDENT | Scope.ITERATE


class Round(NamedTuple):
    """One student as --rounds describes it.

    Attributes:
      title: names it in messages.
      said: the flags in which the round differs from the command line.
      finetune: those in which the finetuning differs from the student; None if there is no finetuning.
    """

    title: str
    said: Changes
    finetune: Optional[Changes]


def read_rounds(values: FlagValues) -> list[Round]:
    """Reads --rounds and --finetune, and the flag files that they name.

    Raises:
      UserError: neither MODEL:RATIO nor @FILE, an unknown model, a ratio that is not positive, a flag file that is not there, is
        broken or says what is not its to say; names the round.
    """
    given = needed(values, "rounds", "the students, e.g. efficientnet-b0:4,efficientnet-b1:4")
    found = []
    for number, entry in enumerate(entries(given), start=1):
        title = f"--rounds: round {number}" + (f" ({entry})" if entry.startswith("@") else "")
        with said_of(title):
            said = _from_file(entry[1:]) if entry.startswith("@") else _from_words(entry)
            found.append(Round(title, said, _finetuning(said.get("finetune", values.finetune))))
    return found


def entries(given: Iterable[str]) -> list[str]:
    """The single students of --rounds."""
    return [entry for text in given for entry in _entries(text)]


def _entries(text: str) -> Iterator[str]:
    """MODEL:RATIO between commas; what begins with @ is a path to its end."""
    while True:
        text = text.strip()
        entry, comma, text = (text, "", "") if text.startswith("@") else text.partition(",")
        yield entry.strip()
        if not comma:
            return


def _from_words(entry: str) -> Changes:
    name, *parts = entry.split(":")
    if not parts:
        raise UserError(f"got {entry!r}, expected MODEL:RATIO, e.g. efficientnet-b0:4, or @FILE, a student's flag file")
    if len(parts) > 1:
        lines = [f"--model_name={name}", f"--unlabel_ratio={parts[0]}", *(f"--{part}" for part in parts[1:])]
        raise UserError(
            f"got {entry!r}, expected MODEL:RATIO; write the student's flags into a file, one a line ({', '.join(lines)}), and "
            "give --rounds=@FILE"
        )
    _check_model(name)
    try:
        ratio = float(parts[0])
    except ValueError:
        ratio = 0.0
    if not 0 < ratio < float("inf"):
        raise UserError(f"got {parts[0]!r}, expected an unlabeled ratio above 0")
    return {"model_name": name, "unlabel_ratio": ratio}


def _check_model(name: str) -> None:
    if name not in VARIANTS:
        raise UserError(f"got {name!r}, expected one of {', '.join(VARIANTS)}")


def _from_file(path: str) -> Changes:
    if "," in path and "://" not in path and not os.path.exists(path):
        raise UserError(
            f"there is no flag file {path}; commas are part of a path: repeat --rounds for the next student"
        )
    file = command_line.read_flag_file(path)
    _check_scopes(file, OF_A_ROUND, "no stage of a round reads")
    if "model_name" in file.said:
        with said_of(f"{file.places['model_name']}: --model_name"):
            _check_model(file.said["model_name"])
    if not file.said.get("unlabel_ratio"):
        raise UserError(
            "--unlabel_ratio is missing: a student needs unlabeled images; say how many for a labeled one, above 0"
        )
    return file.said


def _finetuning(path: Optional[str]) -> Optional[Changes]:
    if not path:
        return None
    with said_of("--finetune"):
        if "=" in path and not os.path.exists(path):
            lines = ", ".join(f"--{part}" for part in os.path.basename(path).split(":"))
            raise UserError(f"got {path!r}, expected a flag file; write the flags into one, a flag a line ({lines})")
        file = command_line.read_flag_file(path)
        _check_scopes(file, Scope.FINETUNE, "finetuning does not read")
        return file.said


def _check_scopes(file: command_line.FlagFile, scope: Scope, otherwise: str) -> None:
    """Raises UserError if the flag file says what is not its to say."""
    for name, place in file.places.items():
        if Scope.RUN in SCOPES[name]:
            raise UserError(f"{place}: got --{name}, which holds for the whole run; give it on the command line")
        if Scope.DECIDED in SCOPES[name]:
            raise UserError(f"{place}: got --{name}, which --mode=iterate decides itself; leave it out")
        if not SCOPES[name] & scope:
            of_student = SCOPES[name] & (Scope.STUDENT | Scope.ITERATE)
            raise UserError(
                f"{place}: got --{name}, which {'the student decides' if of_student else otherwise}; leave it out"
            )


@contextlib.contextmanager
def said_of(title: str) -> Iterator[None]:
    """Names what a UserError is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{title}: {error}") from error
