"""A study as data: its question, its arms, and the contrasts that answer it. Read from a TOML file. No TensorFlow here.

    question = "Which noise of the student matters?"
    claim = "Each noise helps."
    source = "section 4.1, table 6"

    [[arms]]
    name = "full"

    [[arms]]
    name = "no augmentation"
    student = ["--unl_aug=none"]

    [[contrasts]]
    better = "full"              # by the claim
    worse = "no augmentation"

An arm is the run that the command line describes, in what it differs:

    flags      of the whole run: the teacher, and what the students' flag files do not say
    student    of every student's flag file
    rounds     of each student's own flag file, in turn; there are as many students as entries
    finetune   of --finetune's flag file
    measured   "student" (the last one, the default), "teacher", or "labels alone": the last student's network, noise and steps,
               trained on the labeled images alone
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from runtime.errors import UserError

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "paper")
STUDENT, TEACHER, ALONE = "student", "teacher", "labels alone"
_PARTS = {"question": str, "claim": str, "source": str, "arms": list, "contrasts": list}


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to train; what each field means stands at the head of this file."""

    name: str
    flags: tuple[str, ...] = ()
    student: tuple[str, ...] = ()
    rounds: tuple[tuple[str, ...], ...] = ()
    finetune: Optional[tuple[str, ...]] = None
    measured: str = STUDENT

    def differs_in(self) -> str:
        """In words, for a table."""
        parts = [" ".join(self.flags), " ".join(self.student)]
        if self.rounds:
            parts.append("; ".join(f"round {n}: {' '.join(f) or 'the same'}" for n, f in enumerate(self.rounds, 1)))
        if self.finetune is not None:
            parts.append("then --finetune with " + " ".join(self.finetune))
        if self.measured != STUDENT:
            parts.append(self.measured if self.measured == ALONE else f"the {self.measured}")
        return ", ".join(part for part in parts if part) or "as the command line says"


@dataclasses.dataclass(frozen=True)
class Contrast:
    """Two arms; by the claim the first is the better one."""

    better: str
    worse: str


@dataclasses.dataclass(frozen=True)
class Study:
    """A question and the arms that answer it.

    Attributes:
      name: of its folder, of the page's heading.
      question, claim, source: what is asked, what the paper says, and where.
      arms: in the order of the table.
      contrasts: the first answers the question; the others are told as well.
    """

    name: str
    question: str
    claim: str
    source: str
    arms: tuple[Arm, ...]
    contrasts: tuple[Contrast, ...]


def names() -> list[str]:
    """The paper's studies."""
    return sorted(file[: -len(".toml")] for file in os.listdir(FOLDER) if file.endswith(".toml"))


def load(name: str) -> Study:
    """The study of that name, or of that file.

    Raises:
      UserError: no such study, a file that is not TOML, or a part that is missing, unknown or of the wrong kind; an arm twice.
    """
    is_file = name.endswith(".toml")
    path = os.path.expanduser(name) if is_file else os.path.join(FOLDER, f"{name}.toml")
    if not os.path.isfile(path):
        what = "no such file" if is_file else f"expected one of {', '.join(names())}, all, or a .toml file"
        raise UserError(f"--study: got {name!r}, {what}")
    return read(_parsed(path), os.path.basename(path)[: -len(".toml")], path)


def _parsed(path: str) -> dict[str, Any]:
    try:
        import tomllib
    except ImportError:
        try:
            import tomli as tomllib  # type: ignore[import-not-found, no-redef, unused-ignore]
        except ImportError as error:
            raise UserError(
                "--study: Python below 3.11 needs the package tomli to read it: pip install tomli"
            ) from error
    with open(path, "rb") as file:
        try:
            return tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"--study: {path} is not TOML ({error})") from error


def read(parts: Mapping[str, Any], name: str, path: str) -> Study:
    """A study of what its file holds; `path` is for messages. Raises UserError as `load` does."""
    for key in parts:
        if key not in _PARTS:
            raise UserError(f"--study: {path}: got {key!r}, expected {', '.join(_PARTS)}")
    for key, kind in _PARTS.items():
        if not isinstance(parts.get(key), kind) or not parts[key]:
            raise UserError(f"--study: {path}: {key} is missing or not a {'text' if kind is str else 'list of tables'}")
    arms = tuple(_arm(entry, f"--study: {path}: arm {number}") for number, entry in enumerate(parts["arms"], 1))
    by_name: dict[str, Arm] = {}
    for arm in arms:
        if arm.name in by_name:
            raise UserError(f"--study: {path}: two arms are called {arm.name!r}; give each a name of its own")
        for other in by_name.values():
            if dataclasses.replace(arm, name="") == dataclasses.replace(other, name=""):
                raise UserError(f"--study: {path}: the arms {other.name!r} and {arm.name!r} are equal; leave one out")
        by_name[arm.name] = arm
    contrasts = []
    for number, entry in enumerate(parts["contrasts"], 1):
        where = f"--study: {path}: contrast {number}"
        if not isinstance(entry, Mapping) or set(entry) != {"better", "worse"}:
            raise UserError(f"{where}: got {entry!r}, expected better = ARM and worse = ARM")
        for arm_name in entry.values():
            if arm_name not in by_name:
                raise UserError(f"{where}: got {arm_name!r}, expected an arm: {', '.join(by_name)}")
        if entry["better"] == entry["worse"]:
            raise UserError(f"{where}: got {entry['better']!r} twice, expected two arms")
        contrasts.append(Contrast(entry["better"], entry["worse"]))
    return Study(name, parts["question"], parts["claim"], parts["source"], arms, tuple(contrasts))


def _arm(entry: Any, where: str) -> Arm:
    fields = [field.name for field in dataclasses.fields(Arm)]
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise UserError(f"{where}: expected a table with a name, got {entry!r}")
    where = f"{where} ({entry['name']})"
    for key in entry:
        if key not in fields:
            raise UserError(f"{where}: got {key!r}, expected {', '.join(fields)}")
    found: dict[str, Any] = {"name": entry["name"]}
    for key in ("flags", "student", "finetune"):
        if key in entry:
            found[key] = _lines(entry[key], f"{where}: {key}")
    if "rounds" in entry:
        if not isinstance(entry["rounds"], list) or not entry["rounds"]:
            raise UserError(f"{where}: rounds: expected a list of flags for each student")
        found["rounds"] = tuple(_lines(lines, f"{where}: rounds") for lines in entry["rounds"])
    if "measured" in entry:
        if entry["measured"] not in (STUDENT, TEACHER, ALONE):
            raise UserError(f"{where}: measured: got {entry['measured']!r}, expected {STUDENT}, {TEACHER} or {ALONE}")
        found["measured"] = entry["measured"]
    return Arm(**found)


def _lines(values: Any, where: str) -> tuple[str, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or not all(isinstance(v, str) for v in values):
        raise UserError(f'{where}: got {values!r}, expected a list of flags, as ["--name=value"]')
    return tuple(values)
