"""Leaves out of an import what TensorFlow, Keras and keras_cv import as well and this program hardly ever uses."""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any, Optional

# Plots, downloads, image transforms of Keras's own, HDF5 files: a quarter of what the three take to import. PyTorch, where it
# is installed, would take 2 s.
LATER = (
    "distutils",
    "h5py",
    "kagglehub",
    "matplotlib",
    "mpl_toolkits",
    "requests",
    "rich",
    "scipy.linalg",
    "scipy.ndimage",
    "tensorflow_datasets",
    "torch",
)

# Names with underscores that are a use all the same: the second is what compiled code takes functions of other modules from.
USED = ("__version__", "__pyx_capi__")


class _Later(types.ModuleType):
    """Stands for a module that is imported when something of it is first used."""

    def __getattr__(self, name: str) -> Any:
        standing_in = sys.modules.get(self.__name__) is self
        if name.startswith("__") and name not in USED and (standing_in or self.__name__ not in sys.modules):
            raise AttributeError(name)  # what looks through all modules (`inspect`, `warnings`) does not use this one
        submodule = f"{self.__name__}.{name}"
        if standing_in and PathFinder.find_spec(submodule, self.__dict__.get("__path__", [])):
            return importlib.import_module(submodule)
        return getattr(_load(self.__name__), name)


class _Finder:
    """Finds a stand-in for every module of `LATER` that is installed, until something of that package is used."""

    def __init__(self) -> None:
        self.used = {name for name in LATER if name in sys.modules}

    def find_spec(self, name: str, path: Optional[Sequence[str]], target: Any = None) -> Optional[ModuleSpec]:
        root = _root(name)
        found = PathFinder.find_spec(name, path) if root and root not in self.used else None
        if found is None:
            return None
        spec = ModuleSpec(name, self, is_package=found.submodule_search_locations is not None)  # type: ignore[arg-type]
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _Later(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


@contextlib.contextmanager
def imported_later() -> Iterator[None]:
    """Leaves `LATER` out of what is imported meanwhile, unless it is there already or used at once."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        yield
        return
    finder: Any = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _forget(LATER)


def _root(name: str) -> Optional[str]:
    return next((later for later in LATER if name == later or name.startswith(later + ".")), None)


def _load(name: str) -> types.ModuleType:
    """The module itself, with its whole package instead of the stand-ins."""
    root = _root(name)
    assert root
    for finder in sys.meta_path:
        if isinstance(finder, _Finder):
            finder.used.add(root)
    _forget([root])
    return importlib.import_module(name)


def _forget(roots: Sequence[str]) -> None:
    for name, module in list(sys.modules.items()):
        if isinstance(module, _Later) and _root(name) in roots:
            del sys.modules[name]
