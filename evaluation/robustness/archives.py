"""The published robustness sets, read in place: as folders, or out of the tar files themselves. Nothing is unpacked or written.

set      folder or archive           inside
c        imagenet-c (*.tar in it)    [noise/]gaussian_noise/1..5/<wnid>/*.JPEG     50,000 pictures a cell
p        imagenet-p (*.tar in it)    [noise/]gaussian_noise/<wnid>/*.mp4           50,000 sequences a cell
a, r, o  imagenet-a, -r, -o          <wnid>/*.jpg, 200 classes                     7,500, 30,000, 2,000
v2       imagenetv2-<variant>        <0..999>/*.jpeg, the numbers of classes       10,000 a variant
sketch   sketch, imagenet-sketch     <wnid>/*.JPEG                                 50,889
real     real.json                   labels alone, for the validation pictures     50,000

A cell is what one error is computed of: `fog/3`, `rotate`, a variant, or "" if the set is one whole. A picture's label is the
position of its wnid among the sorted wnids of all classes.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Iterator, Sequence
from typing import Optional

import numpy as np
from PIL import Image

from data.prepare.listing import is_ignored, shown
from evaluation.robustness import mp4
from evaluation.robustness.alexnet import SEVERITIES
from evaluation.robustness.layouts import COMPRESSED, LAYOUTS, PICTURES, SIDES, VARIANTS, VIDEOS, Layout, is_wnid, named
from evaluation.robustness.scores import missing_cells
from evaluation.robustness.trees import Folder, Tree, open_tree
from runtime.errors import UserError

FRAMES, FRAMES_OF = 31, {"translate": 41}
REAL_FILE, REAL_PICTURES = "real.json", 50_000
_DEEPEST = 4  # imagenet-c/noise/gaussian_noise/1


# --- what a set gives -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture, or sequence, and where its bytes are.

    Attributes:
      dataset, cell: where it belongs, e.g. `c` and `fog/3`.
      label: 0-based position of its class among all classes.
      name: `<class folder>/<file>`; the same picture has the same name in every cell of ImageNet-C and -P.
      path: its file, or the archive that holds it.
      offset, size: its bytes in the archive; None and 0 for a file of its own.
      side: pixels of a side that it must have; None if any size will do.
    """

    dataset: str
    cell: str
    label: int
    name: str
    path: str
    offset: Optional[int] = None
    size: int = 0
    side: Optional[int] = None

    @property
    def where(self) -> str:
        """What to call it in a message."""
        if self.offset is None:
            return shown(self.path)
        return shown(f"{self.path}: {self.cell}/{self.name}" if self.cell else f"{self.path}: {self.name}")

    def read(self) -> bytes:
        """Its bytes, as they are.

        Raises:
          UserError: cut short, or (ImageNet-C) of another size than the rest of the set.
        """
        with open(self.path, "rb") as file:
            file.seek(self.offset or 0)
            data = file.read() if self.offset is None else file.read(self.size)
        if len(data) < self.size:
            raise UserError(f"{self.where}: the archive is cut short; get it again")
        if self.side is not None and self.name.lower().endswith(PICTURES):
            _check_side(_size_of(data, self.where), self.side, self.where)
        return data

    def frames(self) -> np.ndarray:
        """The frames of a sequence of ImageNet-P: uint8 [F, side, side, 3], RGB, F 31 (`translate`: 41).

        Raises:
          UserError: cut short, of another size than the rest of the set, or the package `av` is missing.
        """
        data = self.read()
        if self.side is not None:
            _check_side(mp4.frame_size(data, self.where), self.side, self.where)
        return mp4.read_frames(data, self.where, FRAMES_OF.get(self.cell, FRAMES))


class PublishedSet:
    """A published set that was found, with all of its cells; `open_set` makes it.

    Attributes:
      dataset: `c`, `p`, `a`, `r`, `o`, `v2` or `sketch`.
      layout: how it lies on disk, and how many pictures it has as published.
      cells: names of the cells, in the order of the benchmark.
      subset: the labels of the classes that it has, rising.
      side: pixels of a side, if all pictures must have the same; else None.
    """

    def __init__(self, dataset: str, cells: dict[str, _Cell]):
        self.dataset, self.layout = dataset, LAYOUTS[dataset]
        self.cells = tuple(cells)
        self._sources = cells
        self.subset = tuple(sorted(cells[self.cells[0]].classes))
        self.side: Optional[int] = None
        self._names: list[str] = []
        if self.layout.same_pictures:
            self.side = self._common_side()

    def pictures(self, cell: str, every: int = 1) -> list[Picture]:
        """The pictures of one cell, by class and name; of these the first, and each `every`-th after it.

        The folders of a cell are listed now, not before.

        Raises:
          UserError: a class without pictures, a file that is none; in ImageNet-C and -P a picture that other cells have not.
        """
        if every < 1:
            raise UserError(f"--every: got {every}, expected at least 1")
        found = list(self._pictures(cell))
        if self.layout.same_pictures:
            self._check_names(cell, [picture.name for picture in found])
        return found[::every]

    def check_pictures(self) -> None:
        """Lists every cell, which takes minutes for the folders of all of ImageNet-C; raises what `pictures` raises."""
        for cell in self.cells:
            self.pictures(cell)

    def _pictures(self, cell: str) -> Iterator[Picture]:
        source = self._sources[cell]
        for label, folder in sorted(source.classes.items()):
            path = (*source.path, folder)
            for index, file in enumerate(_checked_files(source.tree, path, self.layout)):
                location = source.tree.location(path, index, file)
                yield Picture(self.dataset, cell, label, f"{folder}/{file}", *location, side=self.side)

    def _check_names(self, cell: str, names: list[str]) -> None:
        first = self.cells[0]
        if not self._names:
            self._names = names if cell == first else [picture.name for picture in self._pictures(first)]
        if names != self._names:
            name = min(set(names) ^ set(self._names))
            lacking, count = (cell, len(names)) if name in self._names else (first, len(self._names))
            raise UserError(
                f"{self._sources[lacking].where}: holds {count:,} pictures, but not {name}, which another folder of the set "
                "holds; get it again"
            )

    def _common_side(self) -> int:
        """The side of the first picture of each cell, which must be the same."""
        first, *others = (next(self._pictures(cell)) for cell in self.cells)
        width, height = _first_size(first)
        if width != height or width not in SIDES:
            expected = " or ".join(f"{side} x {side}" for side in SIDES)
            raise UserError(
                f"{first.where}: is {width} x {height} pixels, expected {expected}, as {self.layout.title} has them"
            )
        for picture in others:
            _check_side(_first_size(picture), width, picture.where)
        return width


def open_set(dataset: str, directory: str, classes: Sequence[str], only: Sequence[str] = ()) -> PublishedSet:
    """Finds a published set and checks that it is whole, as far as folders tell.

    Args:
      dataset: `c`, `p`, `a`, `r`, `o`, `v2` or `sketch`.
      directory: a folder that holds the set's folder or archives, or is that folder itself; or one archive. Names matter, as
        the table above says, but for the folder of ImageNet-C and -P.
      classes: the wnids of all classes of the network; labels are positions among them, sorted.
      only: the corruptions, perturbations or variants that are wanted. By default the 15 and the 10 of the benchmarks, and the
        variants that are there.

    Raises:
      UserError: not found, a cell or class is missing, a folder that is no class, pictures of two sizes, an archive that is
        cut short or compressed, `av` missing for ImageNet-P.
    """
    layout = LAYOUTS[dataset]
    unknown = [part for part in only if part not in layout.parts]
    if unknown:
        expected = ", ".join(layout.parts) or "nothing: it has no parts"
        raise UserError(f"{layout.title}: got {', '.join(unknown)}, expected {expected}")
    if dataset == "p":
        mp4.require_reader()
    wanted = _wanted_cells(dataset, only)
    found = _find_cells(directory, dataset, wanted)
    cells = {cell: found[cell] for cell in wanted or VARIANTS if cell in found}
    labels = {name: label for label, name in enumerate(sorted(classes))}
    for source in cells.values():
        source.classes = _classes_of(source, labels, layout, numbers=dataset == "v2")
    return PublishedSet(dataset, cells)


def real_labels(directory: str, num_classes: int = 1000, num_pictures: int = REAL_PICTURES) -> list[list[int]]:
    """ReaL's classes of each validation picture, in the order of the pictures' names; some have none.

    Args:
      directory: the folder of real.json, or that file.
      num_classes: classes are 0..num_classes - 1.
      num_pictures: how many there must be.

    Raises:
      UserError: missing, no JSON, or not such lists.
    """
    path = directory if os.path.isfile(directory) else os.path.join(directory, REAL_FILE)
    if not os.path.isfile(path):
        raise UserError(f"--robustness_dir: {shown(directory)} holds no {REAL_FILE}, the labels of ReaL; put it there")
    try:
        with open(path, encoding="utf-8") as file:
            labels = json.load(file)
    except ValueError as error:
        raise UserError(f"{shown(path)}: not JSON, or cut short ({error}); get it again") from error
    if not isinstance(labels, list) or len(labels) != num_pictures:
        got = f"{len(labels):,} entries" if isinstance(labels, list) else f"a {type(labels).__name__}"
        raise UserError(f"{shown(path)}: got {got}, expected a list of {num_pictures:,}; is it ReaL's {REAL_FILE}?")
    for index, entry in enumerate(labels, start=1):
        if not isinstance(entry, list) or not all(type(label) is int and 0 <= label < num_classes for label in entry):
            raise UserError(
                f"{shown(path)}: picture {index} has {json.dumps(entry)[:60]}, expected a list of classes 0..{num_classes - 1}"
            )
    return labels


# --- finding the cells ----------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Cell:
    tree: Tree
    path: Folder
    classes: dict[int, str] = dataclasses.field(default_factory=dict)  # folder by label

    @property
    def where(self) -> str:
        return self.tree.where(self.path)


def _wanted_cells(dataset: str, only: Sequence[str]) -> tuple[str, ...]:
    """The cells that must be there, in order; () if those that are there will do."""
    layout = LAYOUTS[dataset]
    parts = tuple(part for part in layout.parts if part in only) or layout.parts[: layout.num_default]
    if dataset == "c":
        return tuple(f"{part}/{severity}" for part in parts for severity in SEVERITIES)
    return parts if layout.parts else ("",)


def _find_cells(directory: str, dataset: str, wanted: Sequence[str]) -> dict[str, _Cell]:
    """The cells of the folders, and of as many archives as are needed."""
    folders, archives, compressed = _sources(directory, dataset)
    cells: dict[str, _Cell] = {}
    for path in (*folders, *archives):
        if not wanted or any(cell not in cells for cell in wanted):
            _add_cells(cells, open_tree(path), dataset)
    missing = [cell for cell in wanted if cell not in cells]
    if missing or not cells:
        raise _incomplete(directory, dataset, cells, wanted, compressed)
    return cells


def _sources(directory: str, dataset: str) -> tuple[list[str], list[str], list[str]]:
    """Folders, archives and compressed archives in which the set may be."""
    if "://" in directory:
        raise UserError(f"--robustness_dir: got {directory}, expected a folder of this machine; copy the files first")
    if not os.path.exists(directory):
        raise UserError(f"--robustness_dir: {shown(directory)}: no such folder")
    paths = _inside(directory) if os.path.isdir(directory) else []
    roots = [path for path in paths if named(os.path.basename(path)) == dataset]
    own_name = named(os.path.basename(os.path.abspath(directory)))
    if not roots and (own_name == dataset or (own_name is None and LAYOUTS[dataset].parts)):
        roots = [directory]  # a set of one cell is known by its name alone: ImageNet-A and -R look the same
    folders = [path for path in roots if os.path.isdir(path)]
    files = [path for path in roots if path not in folders]
    files += [path for folder in folders for path in _inside(folder) if os.path.isfile(path)]
    files = [path for path in files if named(os.path.basename(path)) in (dataset, None)]
    archives = [path for path in files if path.lower().endswith(".tar")]
    archives.sort(key=lambda path: os.path.basename(path) == "extra.tar")  # large, and seldom needed
    return folders, archives, [path for path in files if path.lower().endswith(COMPRESSED)]


def _inside(folder: str) -> list[str]:
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if not is_ignored(name)]


def _add_cells(cells: dict[str, _Cell], tree: Tree, dataset: str) -> None:
    """Adds the cells of one tree; those that are there already stay."""
    layout = LAYOUTS[dataset]
    found: dict[str, _Cell] = {}

    def walk(path: Folder) -> None:
        children = tree.folders(path)
        cell = layout.cell_of((tree.name, *path), children)
        if cell is None:
            for child in children if len(path) < _DEEPEST else ():
                if not is_wnid(child) and named(child) in (dataset, None):
                    walk((*path, child))
        elif cell in found:
            raise UserError(
                f"{found[cell].where} and {tree.where(path)} are both {cell or layout.title}; leave one of them there"
            )
        else:
            found[cell] = _Cell(tree, path)

    walk(())
    for cell, source in found.items():
        cells.setdefault(cell, source)


def _incomplete(
    directory: str, dataset: str, cells: dict[str, _Cell], wanted: Sequence[str], compressed: Sequence[str]
) -> UserError:
    """What to say of a set of which cells are missing."""
    layout = LAYOUTS[dataset]
    way_out = "get what is missing"
    if compressed:
        way_out = f"{shown(compressed[0])} is compressed: make it a .tar file (gunzip), or unpack it"
    names = {cell.split("/")[0] for cell in cells}
    if not names & {*layout.parts, ""}:
        return UserError(
            f"--robustness_dir: {shown(directory)} holds no {layout.title}: expected {layout.inside}, or the tar files that hold "
            f"them; {way_out}"
        )
    missing = [cell for cell in wanted if cell not in cells]
    rows: dict[str, dict[int, None]] = {}
    for cell in missing:
        part, _, severity = cell.partition("/")
        rows.setdefault(part, {})[int(severity or 0)] = None
    strangers = ", ".join(sorted(names - {*layout.parts}))
    return UserError(
        f"{shown(directory)}: {layout.title} lacks {len(missing)} of {len(wanted)} cells: "
        f"{missing_cells(rows, {}) if dataset == 'c' else ', '.join(rows)}"
        f"{f' (but has {strangers}, which is none of them)' if strangers else ''}; {way_out}"
    )


def _classes_of(cell: _Cell, labels: dict[str, int], layout: Layout, numbers: bool) -> dict[int, str]:
    """{label: folder} of a cell.

    Raises:
      UserError: a folder that is no class, or another number of classes than the set has.
    """
    classes: dict[int, str] = {}
    for name in cell.tree.folders(cell.path):
        label = int(name) if numbers and name.isascii() and name.isdigit() else labels.get(name, -1)
        if not 0 <= label < len(labels):
            expected = f"0..{len(labels) - 1}" if numbers else f"WordNet numbers such as {min(labels)}"
            raise UserError(
                f"{cell.where}: the folder {shown(name)} is none of the {len(labels):,} classes, expected {expected}"
            )
        if label in classes:
            raise UserError(f"{cell.where}: {classes[label]} and {name} are the same class; leave one of them there")
        classes[label] = name
    expected_number = layout.num_classes or len(labels)
    if len(classes) != expected_number:
        raise UserError(
            f"{cell.where}: holds {len(classes):,} class folders, expected the {expected_number:,} of {layout.title}; get it "
            "again"
        )
    return classes


def _checked_files(tree: Tree, path: Folder, layout: Layout) -> list[str]:
    """The names of the pictures of one class, sorted.

    Raises:
      UserError: there is none, or one twice, or something else.
    """
    names = tree.files(path)
    if not names:
        raise UserError(f"{tree.where(path)}: holds no picture; get it again")
    for name, before in zip(names, ["", *names]):
        if not name.lower().endswith(layout.suffixes):
            raise UserError(
                f"{tree.where((*path, name))}: expected a file {' or '.join(layout.suffixes)}; move it elsewhere"
            )
        if name == before:
            raise UserError(f"{tree.where((*path, name))}: is there twice; get the archive again")
    return names


# --- sizes of pictures ----------------------------------------------------------------------------------------------


def _first_size(picture: Picture) -> tuple[int, int]:
    size_of = mp4.frame_size if picture.name.lower().endswith(VIDEOS) else _size_of
    return size_of(picture.read(), picture.where)


def _size_of(data: bytes, where: str) -> tuple[int, int]:
    """(width, height), from a picture's first bytes."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{where}: no picture, or cut short ({len(data):,} bytes); get it again") from error


def _check_side(size: tuple[int, int], side: int, where: str) -> None:
    if size != (side, side):
        raise UserError(
            f"{where}: is {size[0]} x {size[1]} pixels, but others of the set are {side} x {side}; results at two sizes cannot "
            "be compared, so keep the sets in folders of their own"
        )
