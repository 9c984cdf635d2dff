"""A set of flags that differs from another one in a few of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl.flags import FlagValues

from flags import command_line
from flags.definitions import SCOPES
from flags.kinds import Scope

# Neither a teacher nor a finetuning reads them: both train on labeled images alone.
NOT_OF_TEACHERS = {name: None for name, scope in SCOPES.items() if Scope.TEACHER not in scope}

Changes = Mapping[str, Any]  # {flag: value}; None is the flag's default


def override(values: FlagValues, changes: Changes) -> FlagValues:
    """A copy of our flags with some changed; None puts a flag back to its default."""
    copy = command_line.define(FlagValues())
    for name in copy:
        given = changes[name] is not None if name in changes else values[name].present
        if given:
            value = changes[name] if name in changes else values[name].value
            copy[name].value = list(value) if isinstance(value, list) else value
            copy[name].present = 1
    copy.mark_as_parsed()
    return copy
