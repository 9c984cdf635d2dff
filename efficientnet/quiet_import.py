"""Imports keras_cv without the line about its backend that it prints, and without what only its plots and downloads use."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import types
from collections.abc import Iterator
from typing import Any

# Half of what keras_cv takes to import.
_LATER = ("matplotlib", "matplotlib.patches", "matplotlib.pyplot", "tensorflow_datasets")


class _Later(types.ModuleType):
    """Stands for a module that is imported when something of it is first used."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__path__: list[str] = []  # what the import of a submodule asks for

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _imported_later() -> Iterator[None]:
    """Leaves `_LATER` out of what is imported meanwhile, unless it is there already."""
    stand_ins = {name: _Later(name) for name in _LATER if name.split(".")[0] not in sys.modules}
    for name, module in stand_ins.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(stand_ins[parent], child, module)
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), _imported_later():
    import keras_cv

__all__ = ["keras_cv"]
