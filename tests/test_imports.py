"""The order of the rooms (docs/architecture.md): a file imports only rooms below its own, and no module waits for itself.

Read from the sources, so that an import inside a function counts as well, and nothing has to be installed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Optional

import pytest

ROOT = Path(__file__).parents[1]

# From the top floor down; rooms on one floor do not know each other.
FLOORS = (
    ("main",),
    ("studies", "benchmarks"),
    ("flags",),
    ("pseudo_label",),
    ("training",),
    ("evaluation",),
    ("reporting",),
    ("fast_cpu",),
    ("checkpoints",),
    ("data",),
    ("efficientnet",),
    ("runtime",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
TESTS = "tests"
AT_THE_ROOT = ("main.py", "setup.py")
# Without fast_cpu/ everything still runs: only these know of it.
KNOW_FAST_CPU = ("fast_cpu/", "tests/fast_cpu/", "benchmarks/", "flags/build/fast.py")
IN_ONE_FILE = ("tensorflow_addons", "keras_cv")


class Import(NamedTuple):
    """One import: the file that has it, its line, the module that is asked for, and whether it is done at once."""

    path: str
    line: int
    module: str
    at_once: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: imports {self.module}"


def sources(root: Path) -> dict[str, str]:
    """Module -> path below `root`, of the files at the root and of all rooms."""
    files = sorted(root.glob("*.py"))
    for room in (*FLOOR, TESTS):
        files += sorted((root / room).rglob("*.py"))
    relative = [file.relative_to(root) for file in files]
    return {_module(path): path.as_posix() for path in relative}


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(root: Path, module: str, path: str, modules: Iterable[str]) -> list[Import]:
    """Every import of a file. `from a import b` asks for `a.b` if that is one of `modules`, and for `a` if not."""
    tree = ast.parse((root / path).read_text(), path)
    package = module if path.endswith("__init__.py") else module.rpartition(".")[0]
    found = [
        Import(path, node.lineno, asked, at_once)
        for node, at_once in _nodes(tree, at_once=True)
        if isinstance(node, (ast.stmt, ast.expr))
        for asked in _asked(node, package, modules)
    ]
    return list(dict.fromkeys(found))


def _nodes(tree: ast.AST, at_once: bool) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes below a tree, and whether Python comes past each when it imports the file."""
    for node in ast.iter_child_nodes(tree):
        waits = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _is_for_types(node)
        yield node, at_once
        yield from _nodes(node, at_once and not waits)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _asked(node: ast.AST, package: str, modules: Iterable[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        for name in node.names:
            inner = f"{source}.{name.name}"
            yield inner if inner in modules else source
    elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value


def complaints(root: Path) -> list[str]:
    """One line for each import that breaks a rule, with its file and line; for each file that is in no room; for each cycle."""
    modules = sources(root)
    found = [one for module, path in modules.items() for one in imports(root, module, path, modules)]
    lines = [
        f"{path}: a Python file at the root, expected only {' and '.join(AT_THE_ROOT)}; move it into a room"
        for path in modules.values()
        if "/" not in path and path not in AT_THE_ROOT
    ]
    lines += [f"{one}, {why}" for one in found if (why := _forbidden(one, root))]
    for package in IN_ONE_FILE:
        lines += _in_one_file([one for one in found if one.module.split(".")[0] == package])
    return lines + _cycles(modules, [one for one in found if one.at_once])


def _forbidden(one: Import, root: Path) -> Optional[str]:
    """Why a file must not import this; None if it may."""
    own, other = one.path.split("/")[0].removesuffix(".py"), one.module.split(".")[0]
    if own == other:
        return None
    if other == "fast_cpu":
        return None if one.path.startswith(KNOW_FAST_CPU) else f"which only {', '.join(KNOW_FAST_CPU)} may"
    if own == TESTS or own not in FLOOR:
        return None
    if other == TESTS:
        return "but no room needs the tests"
    if other not in FLOOR:
        return "which is no room" if _is_ours(root, other) else None
    if FLOOR[other] <= FLOOR[own]:
        return f"but {other} is not below {own}"
    if own == "studies" and other == "flags" and not f"{one.module}.".startswith("flags.build."):
        return "but studies take from flags only flags.build"
    return None


def _is_ours(root: Path, name: str) -> bool:
    return (root / f"{name}.py").exists() or any((root / name).glob("**/*.py"))


def _in_one_file(found: list[Import]) -> list[str]:
    if len({one.path for one in found}) < 2:
        return []
    return [f"{'; '.join(map(str, found))}: in more than one file"]


def _cycles(modules: dict[str, str], found: list[Import]) -> list[str]:
    """A line for each ring of modules of which each imports the next at once."""
    edges: dict[str, dict[str, Import]] = {module: {} for module in modules}
    names = {path: module for module, path in modules.items()}
    for one in found:
        module = names[one.path]
        for needed in _loaded(one.module, modules):
            # A package is begun before its modules: that one of them names another is no wait for the package.
            if not f"{module}.".startswith(f"{needed}."):
                edges[module].setdefault(needed, one)
    rings, done = [], set[str]()
    for module in modules:
        ring = _ring(module, edges, done)
        while ring:
            rings.append("; ".join(str(edges[one][following]) for one, following in zip(ring, [*ring[1:], ring[0]])))
            del edges[ring[-1]][ring[0]]
            ring = _ring(module, edges, done)
    return [f"{ring}: a cycle" for ring in rings]


def _loaded(module: str, modules: Iterable[str]) -> list[str]:
    """The project's modules that Python runs for an import: the packages around it, and itself."""
    parts = module.split(".")
    above = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return [name for name in above if name in modules]


def _ring(start: str, edges: dict[str, dict[str, Import]], done: set[str]) -> list[str]:
    """The first ring that is met from `start` on; [] if there is none, and then `done` holds what was seen."""
    path: list[str] = [start]
    waiting = [iter(list(edges[start]))]
    if start in done:
        return []
    while waiting:
        following = next(waiting[-1], None)
        if following is None:
            done.add(path.pop())
            waiting.pop()
        elif following in path:
            return path[path.index(following) :]
        elif following not in done:
            path.append(following)
            waiting.append(iter(list(edges[following])))
    return []


def test_every_import_runs_downward() -> None:
    found = complaints(ROOT)
    assert not found, "\n".join(found)


# --- what the test sees, in houses of its own -------------------------------------------------------------------------


def build(root: Path, files: dict[str, str]) -> list[str]:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return complaints(root)


WHOLE = {
    "main.py": "import flags.definitions\nfrom training import trainer\n",
    "setup.py": "import setuptools\n",
    "flags/build/__init__.py": "from flags.build import fast\n",
    "flags/build/fast.py": "def fast():\n    import fast_cpu.ops\n",
    "flags/definitions.py": "from . import kinds\n",
    "flags/kinds.py": "import absl.flags\n",
    "studies/run.py": "from flags import build\nfrom reporting.plots import curve\n",
    "benchmarks/train.py": "import fast_cpu.ops\nimport flags.definitions\n",
    "training/trainer.py": "from typing import TYPE_CHECKING\nfrom data import streams\nimport training.step\n",
    "training/step.py": "def step():\n    from training import trainer\n",
    "reporting/plots.py": "import matplotlib.pyplot\n",
    "fast_cpu/ops.py": "import efficientnet.ops\n",
    "data/__init__.py": "from data.tasks import load\n",
    "data/tasks.py": "from data import streams\n",
    "data/streams.py": "import tensorflow_addons as tfa\n",
    "efficientnet/ops.py": "from runtime.errors import UserError\nimport keras_cv.layers\n",
    "runtime/errors.py": "",
    "tests/data/test_streams.py": "import training.trainer\nfrom tests.data import made\n",
    "tests/data/made.py": "",
    "tests/fast_cpu/test_ops.py": "from fast_cpu import ops\n",
    "somebody/notes.py": "import main\n",
}


def test_a_house_in_order(tmp_path: Path) -> None:
    assert build(tmp_path, WHOLE) == []


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        (
            "data/up.py",
            "import os\nimport training.step",
            "data/up.py:2: imports training.step, but training is not below",
        ),
        (
            "data/up.py",
            "from training import step",
            "data/up.py:1: imports training.step, but training is not below data",
        ),
        (
            "data/up.py",
            "def late():\n    import evaluation",
            "data/up.py:2: imports evaluation, but evaluation is not b",
        ),
        (
            "data/up.py",
            "import importlib\nimportlib.import_module('main')",
            "data/up.py:2: imports main, but main is not",
        ),
        (
            "data/deep/up.py",
            "class A:\n  if 1:\n    import flags.kinds",
            "data/deep/up.py:3: imports flags.kinds, but fl",
        ),
        (
            "training/up.py",
            "from flags.build import fast",
            "training/up.py:1: imports flags.build.fast, but flags is not",
        ),
        (
            "pseudo_label/up.py",
            "from flags import config",
            "pseudo_label/up.py:1: imports flags, but flags is not below",
        ),
        (
            "studies/up.py",
            "import flags.kinds",
            "studies/up.py:1: imports flags.kinds, but studies take from flags only",
        ),
        (
            "studies/up.py",
            "import benchmarks.train",
            "studies/up.py:1: imports benchmarks.train, but benchmarks is not b",
        ),
        (
            "efficientnet/up.py",
            "import fast_cpu",
            "efficientnet/up.py:1: imports fast_cpu, which only fast_cpu/, tests/fa",
        ),
        (
            "flags/build/train.py",
            "import fast_cpu.ops",
            "flags/build/train.py:1: imports fast_cpu.ops, which only fast_c",
        ),
        (
            "tests/test_up.py",
            "import fast_cpu.ops",
            "tests/test_up.py:1: imports fast_cpu.ops, which only fast_cpu/, te",
        ),
        (
            "main.py",
            "import fast_cpu.ops",
            "main.py:1: imports fast_cpu.ops, which only fast_cpu/, tests/fast_cpu/, be",
        ),
        (
            "runtime/up.py",
            "from tests.data import made",
            "runtime/up.py:1: imports tests.data.made, but no room needs t",
        ),
        ("runtime/up.py", "import somebody.notes", "runtime/up.py:1: imports somebody.notes, which is no room"),
        (
            "errors.py",
            "",
            "errors.py: a Python file at the root, expected only main.py and setup.py; move it into a room",
        ),
    ],
)
def test_an_import_that_breaks_a_rule_is_named_with_file_and_line(
    tmp_path: Path, path: str, text: str, line: str
) -> None:
    (found,) = build(tmp_path, {**WHOLE, path: text})
    assert found.startswith(line)


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (
            {"data/one.py": "import data.two", "data/two.py": "x = 1\nfrom data import one"},
            "data/one.py:1: imports data.two; data/two.py:2: imports data.one: a cycle",
        ),
        (
            {"data/a.py": "import data.b", "data/b.py": "try:\n  import data.c\nfinally: pass", "data/c.py": "import data.a"},
            "data/a.py:1: imports data.b; data/b.py:2: imports data.c; data/c.py:1: imports data.a: a cycle",
        ),
        (
            {"data/a/__init__.py": "from .b import x", "data/a/b.py": "import data.c", "data/c.py": "import data.a"},
            "data.a.b; data/a/b.py:1: imports data.c; data/c.py:1: imports data.a: a cycle",
        ),
    ],
)  # fmt: skip
def test_modules_that_wait_for_each_other_are_named(tmp_path: Path, files: dict[str, str], line: str) -> None:
    (found,) = build(tmp_path, {**WHOLE, **files})
    assert found.endswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import keras_cv", "training/more.py:1: imports keras_cv; efficientnet/ops.py:2: imports keras_cv.layers: in"),
        (
            "def late():\n    from tensorflow_addons import image",
            "training/more.py:2: imports tensorflow_addons; data/streams.py:1: imports tensorflow_addons: in more",
        ),
    ],
)
def test_a_package_for_one_file_that_two_import_is_named(tmp_path: Path, text: str, line: str) -> None:
    (found,) = build(tmp_path, {**WHOLE, "training/more.py": text})
    assert found.startswith(line)


@pytest.mark.parametrize(
    "text",
    ["def late():\n    import data.two", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import data.two"],
)
def test_an_import_that_comes_later_makes_no_cycle(tmp_path: Path, text: str) -> None:
    assert build(tmp_path, {**WHOLE, "data/one.py": text, "data/two.py": "import data.one"}) == []


def test_two_files_that_break_a_rule_are_both_named(tmp_path: Path) -> None:
    found = build(tmp_path, {**WHOLE, "data/a.py": "import main", "data/b.py": "import flags\nimport main"})
    assert [line.split(",")[0] for line in found] == [
        "data/a.py:1: imports main",
        "data/b.py:1: imports flags",
        "data/b.py:2: imports main",
    ]
