from __future__ import annotations

import io
import json
import os
import pickle
import re
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evaluation.robustness import archives, layouts, mp4
from evaluation.robustness.alexnet import CORRUPTIONS, PERTURBATIONS
from runtime.errors import UserError, one_line

Files = dict[str, bytes]  # content by path

WNIDS = tuple(f"n{number:08d}" for number in range(1_440_764, 1_441_764))
FEW = WNIDS[:3]  # a network of three classes keeps ImageNet-C small
GROUPS = {
    **dict.fromkeys(CORRUPTIONS[:3], "noise"),
    **dict.fromkeys(CORRUPTIONS[3:7], "blur"),
    **dict.fromkeys(CORRUPTIONS[7:11], "weather"),
    **dict.fromkeys(CORRUPTIONS[11:], "digital"),
}


def jpeg(seed: int = 0, width: int = 224, height: int = 224) -> bytes:
    color = tuple(np.random.default_rng(seed).integers(0, 256, 3).tolist())
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, format="JPEG")
    return file.getvalue()


JPEG, LARGE = jpeg(), jpeg(width=299, height=299)


def imagenet_c(pictures: int = 2, **changes: bytes) -> Files:
    """All 75 cells of three classes; pictures differ by an end that decoders ignore."""
    files = {}
    for corruption in CORRUPTIONS:
        for severity in range(1, 6):
            for number, wnid in enumerate(FEW):
                for index in range(pictures):
                    name = f"{corruption}/{severity}/{wnid}/ILSVRC2012_val_{10 * number + index:08d}.JPEG"
                    files[name] = JPEG + name.encode()
    return files


def subset(count: int = 200, step: int = 5, suffix: str = "jpg") -> Files:
    """One picture for each of some of the thousand classes."""
    return {f"{wnid}/{index}.{suffix}": JPEG + wnid.encode() for index, wnid in enumerate(WNIDS[::step][:count])}


def save(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def save_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def grouped(files: Files) -> Files:
    return {f"{GROUPS[name.split('/')[0]]}/{name}": content for name, content in files.items()}


def group(files: Files, name: str, folder: str = "") -> Files:
    return {f"{folder}{path}": content for path, content in files.items() if GROUPS[path.split("/")[0]] == name}


def contents(published: archives.PublishedSet, every: int = 1) -> Files:
    return {
        f"{cell}/{picture.name}" if cell else picture.name: picture.read()
        for cell in published.cells
        for picture in published.pictures(cell, every)
    }


def refusal(dataset: str, directory: Path, classes: tuple[str, ...] = FEW, only: tuple[str, ...] = ()) -> str:
    """The one line with which a set is refused, on opening it or on reading it through."""
    with pytest.raises(UserError) as error:
        contents(archives.open_set(dataset, str(directory), classes, only))
    (line,) = one_line(error.value).splitlines()
    return line.replace("error: ", "").replace(str(directory), "DIR")


# --- ImageNet-C -----------------------------------------------------------------------------------------------------


def _layout(folder: Path, files: Files, kind: str) -> Path:
    if kind == "folders":
        return save(folder / "imagenet-c", files).parent
    if kind == "the folder itself":
        return save(folder / "x", files)
    if kind == "groups":
        return save(folder / "ImageNet-C", grouped(files)).parent
    if kind == "folders and archives":
        save(folder / "imagenet_c" / "noise", group(files, "noise"))
        save(folder / "imagenet_c", group(files, "weather"))
    for name in ("blur", "digital", "noise", "weather"):
        if kind == "archives" or (kind == "folders and archives" and name in ("blur", "digital")):
            save_tar(folder / "imagenet_c" / f"{name}.tar", group(files, name))
        if kind == "archives with groups":
            save_tar(folder / f"{name}.tar", group(files, name, f"./{name}/"))
    return folder


@pytest.mark.parametrize(
    "kind",
    ["folders", "the folder itself", "groups", "archives", "archives with groups", "folders and archives"],
)
def test_imagenet_c_is_read_in_place(tmp_path: Path, kind: str) -> None:
    files = imagenet_c()
    directory = _layout(tmp_path / "data", files, kind)
    before = sorted(directory.rglob("*"))
    published = archives.open_set("c", str(directory), FEW)
    assert published.cells == tuple(f"{name}/{severity}" for name in CORRUPTIONS for severity in range(1, 6))
    assert (published.subset, published.side) == ((0, 1, 2), 224)
    assert contents(published) == files
    published.check_pictures()
    assert sorted(directory.rglob("*")) == before


def test_a_picture_says_where_it_belongs(tmp_path: Path) -> None:
    save(tmp_path, imagenet_c())
    pictures = archives.open_set("c", str(tmp_path), tuple(reversed(FEW))).pictures("fog/3")
    assert [picture.label for picture in pictures] == [0, 0, 1, 1, 2, 2]
    assert [picture.name for picture in pictures] == sorted(picture.name for picture in pictures)
    assert {(picture.dataset, picture.cell) for picture in pictures} == {("c", "fog/3")}
    assert pictures[3].name == f"{FEW[1]}/ILSVRC2012_val_00000011.JPEG"
    assert pickle.loads(pickle.dumps(pictures[3])).read() == pictures[3].read()


def test_what_is_not_asked_for_may_be_missing(tmp_path: Path) -> None:
    files = imagenet_c()
    save_tar(tmp_path / "noise.tar", group(files, "noise"))
    extra = {name.replace("fog", "spatter"): content for name, content in files.items() if name.startswith("fog")}
    save_tar(tmp_path / "extra.tar", extra)
    published = archives.open_set("c", str(tmp_path), FEW, only=("spatter", "shot_noise"))
    assert published.cells == tuple(f"{name}/{s}" for name in ("shot_noise", "spatter") for s in range(1, 6))
    assert len(contents(published)) == 2 * 5 * 6
    assert refusal("c", tmp_path, only=("jpeg",)).startswith(
        "ImageNet-C: got jpeg, expected gaussian_noise, shot_noise, "
    )


def test_an_archive_that_is_not_needed_is_not_read(tmp_path: Path) -> None:
    save(tmp_path, imagenet_c(1))
    (tmp_path / "extra.tar").write_bytes(b"cut short")
    assert len(archives.open_set("c", str(tmp_path), FEW).cells) == 75


def _changed(files: Files, *, gone: str = "$^", renamed: tuple[str, str] = ("", "")) -> Files:
    return {name.replace(*renamed): content for name, content in files.items() if not re.search(gone, name)}


@pytest.mark.parametrize(
    ("gone", "renamed", "message"),
    [
        (
            "^jpeg_comp",
            ("", ""),
            "DIR: ImageNet-C lacks 5 of 75 cells: jpeg_compression 1, 2, 3, 4, 5; get what is missing",
        ),
        (
            "$^",
            ("jpeg_compression", "jpeg"),
            "DIR: ImageNet-C lacks 5 of 75 cells: jpeg_compression 1, 2, 3, 4, 5 (but has jpeg, which is none of them); get what "
            "is missing",
        ),
        (
            "/5/",
            ("", ""),
            "DIR: ImageNet-C lacks 15 of 75 cells: "
            + "; ".join(f"{name} 5" for name in CORRUPTIONS)
            + "; get what is missing",
        ),
        ("(fog/2|snow/[34])/", ("", ""), "DIR: ImageNet-C lacks 3 of 75 cells: snow 3, 4; fog 2; get what is missing"),
        (
            ".",
            ("", ""),
            "--robustness_dir: DIR holds no ImageNet-C: expected <corruption>/<severity>/<wnid>/*.JPEG, or the tar files that "
            "hold them; get what is missing",
        ),
        (
            "$^",
            (f"fog/3/{FEW[1]}", "fog/3/n99999999"),
            f"DIR/fog/3: the folder n99999999 is none of the 3 classes, expected WordNet numbers such as {FEW[0]}",
        ),
        (
            f"frost/1/{FEW[2]}",
            ("", ""),
            "DIR/frost/1: holds 2 class folders, expected the 3 of ImageNet-C; get it again",
        ),
        (
            f"snow/2/{FEW[0]}.*1.JPEG",
            ("", ""),
            f"DIR/snow/2: holds 5 pictures, but not {FEW[0]}/ILSVRC2012_val_00000001.JPEG, which another folder of the set "
            "holds; get it again",
        ),
        (
            f"gaussian_noise/1/{FEW[0]}.*1.JPEG",
            ("", ""),
            f"DIR/gaussian_noise/1: holds 5 pictures, but not {FEW[0]}/ILSVRC2012_val_00000001.JPEG, which another folder of the "
            "set holds; get it again",
        ),
        (
            "$^",
            (f"fog/5/{FEW[0]}/ILSVRC2012_val_00000001.JPEG", f"fog/5/{FEW[0]}/ILSVRC2012_val_00000001.JPEG.part"),
            f"DIR/fog/5/{FEW[0]}/ILSVRC2012_val_00000001.JPEG.part: expected a file .jpeg or .jpg or .png; move it elsewhere",
        ),
    ],
)
def test_what_is_wrong_with_imagenet_c_is_said(
    tmp_path: Path, gone: str, renamed: tuple[str, str], message: str
) -> None:
    tmp_path.joinpath("set").mkdir()
    assert refusal("c", save(tmp_path / "set", _changed(imagenet_c(), gone=gone, renamed=renamed))) == message


def test_an_empty_class_is_said(tmp_path: Path) -> None:
    save(tmp_path, imagenet_c())
    for file in (tmp_path / "fog" / "2" / FEW[1]).iterdir():
        file.unlink()
    assert refusal("c", tmp_path) == f"DIR/fog/2/{FEW[1]}: holds no picture; get it again"


def test_two_copies_of_a_cell_are_said(tmp_path: Path) -> None:
    files = imagenet_c(1)
    save(tmp_path, files)
    save(tmp_path / "old", {name: content for name, content in files.items() if name.startswith("fog/4")})
    assert refusal("c", tmp_path) == "DIR/fog/4 and DIR/old/fog/4 are both fog/4; leave one of them there"


# --- sizes ----------------------------------------------------------------------------------------------------------

NAME = f"{FEW[0]}/ILSVRC2012_val_00000000.JPEG"
OTHER_SIZE = (
    "is 299 x 299 pixels, but others of the set are 224 x 224; results at two sizes cannot be compared, so keep the sets in "
    "folders of their own"
)


def test_pictures_of_299_pixels_are_a_set_of_their_own(tmp_path: Path) -> None:
    published = archives.open_set("c", str(save(tmp_path, dict.fromkeys(imagenet_c(), LARGE))), FEW)
    assert published.side == 299
    assert len(contents(published)) == 75 * 6


def test_pictures_of_two_sizes_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    files = {name: LARGE if name.startswith("fog/4") else content for name, content in imagenet_c().items()}
    save(tmp_path, files)
    with pytest.raises(UserError) as error:
        archives.open_set("c", str(tmp_path), FEW)
    assert str(error.value) == f"{tmp_path}/fog/4/{NAME}: {OTHER_SIZE}"


@pytest.mark.parametrize("tar", [False, True])
def test_a_single_picture_of_another_size_is_refused_when_it_is_read(tmp_path: Path, tar: bool) -> None:
    name = f"fog/4/{FEW[1]}/ILSVRC2012_val_00000011.JPEG"
    files = {**imagenet_c(), name: LARGE}
    if tar:
        save_tar(tmp_path / "all.tar", files)
    else:
        save(tmp_path, files)
    assert refusal("c", tmp_path) == f"DIR/{'all.tar: ' if tar else ''}{name}: {OTHER_SIZE}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (jpeg(width=64, height=64), "is 64 x 64 pixels, expected 224 x 224 or 299 x 299, as ImageNet-C has them"),
        (jpeg(width=224, height=225), "is 224 x 225 pixels, expected 224 x 224 or 299 x 299, as ImageNet-C has them"),
        (JPEG[:20], "no picture, or cut short (20 bytes); get it again"),
        (b"", "no picture, or cut short (0 bytes); get it again"),
    ],
)
def test_what_is_no_picture_of_the_set_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    save(tmp_path, {**imagenet_c(), f"gaussian_noise/1/{NAME}": content})
    assert refusal("c", tmp_path) == f"DIR/gaussian_noise/1/{NAME}: {message}"


# --- every ----------------------------------------------------------------------------------------------------------


@given(every=st.integers(1, 30), counts=st.lists(st.integers(1, 6), min_size=3, max_size=3))
def test_every_nth_picture_is_the_same_in_every_cell(
    tmp_path_factory: pytest.TempPathFactory, every: int, counts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("v2")
    names = [f"{label}/{index}.jpeg" for label, count in enumerate(counts) for index in range(count)]
    for variant in ("matched-frequency", "top-images"):
        save(folder / f"imagenetv2-{variant}-format-val", dict.fromkeys(names, JPEG))
    published = archives.open_set("v2", str(folder), FEW)
    for cell in published.cells:
        assert [picture.name for picture in published.pictures(cell, every)] == names[::every]


def test_every_must_be_a_number_of_pictures(tmp_path: Path) -> None:
    published = archives.open_set("c", str(save(tmp_path, imagenet_c(1))), FEW)
    with pytest.raises(UserError, match=r"^--every: got 0, expected at least 1$"):
        published.pictures("fog/1", 0)
    assert len(published.pictures("fog/1", 2)) == 2


# --- ImageNet-A, -R, -O, Sketch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "nested", "itself", "archive", "the archive itself"])
@pytest.mark.parametrize("dataset", ["a", "r", "o"])
def test_sets_of_200_classes(tmp_path: Path, dataset: str, kind: str) -> None:
    files, name = subset(), f"imagenet-{dataset}"
    directory = tmp_path
    if "archive" in kind:
        inside = {f"{name}/{path}": content for path, content in files.items()}
        archive = save_tar(
            tmp_path / f"{name}.tar", {f"{name}/README.txt": b"hello", **inside, f"{name}/._x.jpg": b"?"}
        )
        directory = archive if kind == "the archive itself" else tmp_path
    else:
        root = {"folder": tmp_path / name, "nested": tmp_path / name / name, "itself": tmp_path / name}[kind]
        directory = root if kind == "itself" else tmp_path
        save(root, {**files, "README.txt": b"hello", ".DS_Store": b"?"})
    published = archives.open_set(dataset, str(directory), WNIDS)
    assert published.cells == ("",)
    assert published.subset == tuple(range(0, 1000, 5))
    assert [picture.label for picture in published.pictures("")] == list(range(0, 1000, 5))
    assert contents(published) == files


def test_a_set_of_199_classes_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "imagenet-a", subset(199))
    assert refusal("a", tmp_path, WNIDS) == (
        "DIR/imagenet-a: holds 199 class folders, expected the 200 of ImageNet-A; get it again"
    )
    save(tmp_path / "imagenet-a", {"n99999999/0.jpg": JPEG})
    assert refusal("a", tmp_path, WNIDS) == (
        "DIR/imagenet-a: the folder n99999999 is none of the 1,000 classes, expected WordNet numbers such as n01440764"
    )
    assert refusal("r", tmp_path, WNIDS) == (
        "--robustness_dir: DIR holds no ImageNet-R: expected imagenet-r/<wnid>/*.jpg, or the tar files that hold them; get what "
        "is missing"
    )


def test_sketch_has_all_classes(tmp_path: Path) -> None:
    files = subset(1000, step=1, suffix="JPEG")
    save(tmp_path / "sketch", files)
    published = archives.open_set("sketch", str(tmp_path), WNIDS)
    assert published.subset == tuple(range(1000))
    assert published.layout.num_pictures == 50_889
    assert contents(published, every=100) == {name: files[name] for name in sorted(files)[::100]}


# --- ImageNet-V2 ----------------------------------------------------------------------------------------------------


def test_numbered_folders_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    files = {f"{label}/{'ab'[label % 2]}.jpeg": JPEG + b"%d" % label for label in range(1000)}
    save_tar(
        tmp_path / "imagenetv2-matched-frequency.tar",
        {f"imagenetv2-matched-frequency-format-val/{path}": content for path, content in files.items()},
    )
    save(tmp_path / "imagenetv2-threshold0.7-format-val", files)
    save(tmp_path / "imagenetv2-top-images-format-val", files)
    published = archives.open_set("v2", str(tmp_path), WNIDS)
    assert published.cells == ("matched-frequency", "threshold0.7", "top-images")
    for cell in published.cells:
        pictures = published.pictures(cell)
        assert [picture.label for picture in pictures] == list(range(1000))
        assert pictures[2].read() == JPEG + b"2"
    only = archives.open_set("v2", str(tmp_path), WNIDS, only=("top-images",))
    assert only.cells == ("top-images",)
    itself = archives.open_set("v2", str(tmp_path / "imagenetv2-top-images-format-val"), WNIDS)
    assert itself.cells == ("top-images",)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("0", "1", "3"), "the folder 3 is none of the 3 classes, expected 0..2"),
        (("0", "1", "01"), "01 and 1 are the same class; leave one of them there"),
        (("0", "1"), "holds 2 class folders, expected the 3 of ImageNet-V2; get it again"),
        (("0", "1", "two"), "the folder two is none of the 3 classes, expected 0..2"),
        (("0", "1", "٢"), "the folder ٢ is none of the 3 classes, expected 0..2"),
    ],
)
def test_numbers_that_are_no_classes_are_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    save(tmp_path / "imagenetv2-top-images", {f"{name}/a.jpeg": JPEG for name in names})
    assert refusal("v2", tmp_path) == f"DIR/imagenetv2-top-images: {message}"


def test_a_variant_that_is_missing_is_said(tmp_path: Path) -> None:
    save(tmp_path / "imagenetv2-top-images", {f"{label}/a.jpeg": JPEG for label in range(3)})
    assert refusal("v2", tmp_path, only=("matched-frequency",)) == (
        "DIR: ImageNet-V2 lacks 1 of 1 cells: matched-frequency; get what is missing"
    )


# --- archives that are damaged, compressed, hostile -----------------------------------------------------------------


def test_a_compressed_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "imagenetv2-top-images.tar.gz").write_bytes(b"\x1f\x8b")
    assert refusal("v2", tmp_path) == (
        "--robustness_dir: DIR holds no ImageNet-V2: expected imagenetv2-<variant>-format-val/<0..999>/*.jpeg, or the tar files "
        "that hold them; DIR/imagenetv2-top-images.tar.gz is compressed: make it a .tar file (gunzip), or unpack it"
    )


SMALL = subset(200)
LENGTH_OF_SMALL = sum(512 + -(-len(content) // 512) * 512 for content in SMALL.values())  # in blocks of 512 bytes


@pytest.fixture(scope="module")
def small_tar(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save_tar(tmp_path_factory.mktemp("small") / "imagenet-a.tar", SMALL).read_bytes()


@given(cut=st.integers(0, LENGTH_OF_SMALL + 511))
def test_an_archive_that_is_cut_short_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, small_tar: bytes, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    (folder / "imagenet-a.tar").write_bytes(small_tar[:cut])
    line = refusal("a", folder, WNIDS)
    assert re.match(r"DIR/imagenet-a.tar: (the archive is cut short \(.*\)|not a tar archive \(.*\).*)", line), line


def test_an_archive_that_shrinks_while_it_is_read_is_said(tmp_path: Path) -> None:
    path = save_tar(tmp_path / "imagenet-a.tar", SMALL)
    published = archives.open_set("a", str(tmp_path), WNIDS)
    with open(path, "r+b") as file:
        file.truncate(LENGTH_OF_SMALL // 2)
    with pytest.raises(UserError, match=r"imagenet-a.tar: n\d{8}/\d+.jpg: the archive is cut short; get it again$"):
        contents(published)


def test_what_an_archive_holds_besides_files_goes_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "data" / "imagenet-a.tar"
    save_tar(path, {**SMALL, "../../outside.jpg": b"x", "/tmp/../absolute/x.jpg": b"x"})
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo(f"{WNIDS[0]}/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    assert contents(archives.open_set("a", str(path.parent), WNIDS)) == SMALL
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_an_archive_holds_twice_is_said(tmp_path: Path) -> None:
    path = save_tar(tmp_path / "imagenet-a.tar", SMALL)
    first = next(iter(SMALL))
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo(first), io.BytesIO())
    assert refusal("a", tmp_path, WNIDS) == f"DIR/imagenet-a.tar: {first}: is there twice; get the archive again"


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=12)


@given(folder=NAMES.filter(lambda name: not name.startswith(".")), file=NAMES)
def test_any_names_will_do(tmp_path_factory: pytest.TempPathFactory, folder: str, file: str) -> None:
    """Of the folder above the set, and of pictures: brackets, stars, blanks, any script."""
    files = {f"{label}/a{file}.jpg": JPEG for label in range(3)}
    root = tmp_path_factory.mktemp("any")
    try:
        save(root / "folders" / folder / "imagenetv2-top-images", files)
    except OSError:
        return  # no name for this filesystem
    save_tar(root / "archives" / folder / "imagenetv2-top-images.tar", files)
    for directory in (root / "folders" / folder, root / "archives" / folder):
        assert contents(archives.open_set("v2", str(directory), FEW)) == {f"top-images/{name}": JPEG for name in files}


@pytest.mark.parametrize(
    ("directory", "message"),
    [
        (
            "gs://bucket/c",
            "--robustness_dir: got gs://bucket/c, expected a folder of this machine; copy the files first",
        ),
        ("nowhere", "--robustness_dir: nowhere: no such folder"),
    ],
)
def test_a_folder_that_is_none_is_refused(directory: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        archives.open_set("c", directory, FEW)
    assert str(error.value) == message


# --- ImageNet-P -----------------------------------------------------------------------------------------------------


def video(frames: int = 31, side: int = 224, header_first: bool = False) -> bytes:
    av = pytest.importorskip("av", reason="the package av is not installed")
    file = io.BytesIO()
    options = {"movflags": "frag_keyframe+empty_moov"} if header_first else {}
    with av.open(file, "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=1, options={"crf": "20", "preset": "veryfast"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv444p"
        for index in range(frames):
            pixels = np.full((side, side, 3), 8 * index % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def imagenet_p(content: bytes, long: Optional[bytes] = None) -> Files:
    return {
        f"{name}/{wnid}/ILSVRC2012_val_{number:08d}.mp4": long if long and name == "translate" else content
        for name in PERTURBATIONS
        for number, wnid in enumerate(FEW)
    }


@pytest.mark.parametrize("tar", [False, True])
def test_imagenet_p_is_read_in_place(tmp_path: Path, tar: bool) -> None:
    files = imagenet_p(video(), video(41))
    if tar:
        save_tar(tmp_path / "imagenet-p" / "all.tar", {f"x/{name}": content for name, content in files.items()})
    else:
        save(tmp_path / "imagenet-p", files)
    published = archives.open_set("p", str(tmp_path), FEW)
    assert (published.cells, published.side) == (PERTURBATIONS, 224)
    assert contents(published) == files
    for cell, number in (("snow", 31), ("translate", 41)):
        frames = published.pictures(cell)[1].frames()
        assert (frames.shape, frames.dtype) == ((number, 224, 224, 3), np.uint8)
        expected = (8 * np.arange(number) % 256)[:, np.newaxis, np.newaxis, np.newaxis]
        assert np.abs(frames - expected.astype(float)).max() <= 3


def _first(tmp_path: Path, content: bytes, long: Optional[bytes] = None, cell: str = "snow") -> str:
    published = archives.open_set("p", str(save(tmp_path, imagenet_p(content, long))), FEW)
    with pytest.raises(UserError) as error:
        published.pictures(cell)[0].frames()
    (line,) = str(error.value).splitlines()
    return line.replace(str(tmp_path / cell / FEW[0] / "ILSVRC2012_val_00000000.mp4"), "FILE")


def test_a_sequence_of_too_few_or_too_many_frames_is_said(tmp_path: Path) -> None:
    assert _first(tmp_path / "a", video(17), video(41)) == (
        "FILE: expected 31 frames, got 17, so it is cut short; get it again"
    )
    assert _first(tmp_path / "b", video(33), video(41)) == "FILE: expected 31 frames, got more; get it again"
    assert _first(tmp_path / "c", video(31), None, "translate") == (
        "FILE: expected 41 frames, got 31, so it is cut short; get it again"
    )


@pytest.mark.parametrize("header_first", [False, True])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7])
def test_a_truncated_mp4_is_said(kept: float, header_first: bool) -> None:
    data = video(header_first=header_first)
    with pytest.raises(UserError) as error:
        mp4.read_frames(data[: int(kept * len(data))], "FILE", 31)
    (line,) = str(error.value).splitlines()
    assert re.match(
        r"FILE: (no mp4 file, or cut short \(.*\)|expected 31 frames, got \d+, so it is cut short)", line
    ), line


def test_sequences_of_two_sizes_are_refused(tmp_path: Path) -> None:
    save(tmp_path, imagenet_p(video(), video(41, side=96)))
    with pytest.raises(UserError, match=r"translate/.*mp4: is 96 x 96 pixels, but others of the set are 224 x 224; "):
        archives.open_set("p", str(tmp_path), FEW)


def test_without_av_one_line_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    line = refusal("p", save(tmp_path, imagenet_p(b"mp4")))
    assert re.fullmatch(r"ImageNet-P's mp4 files need the package av \(.*\); install it: pip install av", line)


# --- ReaL -----------------------------------------------------------------------------------------------------------


def _real(folder: Path, labels: Any) -> Path:
    (folder / "real.json").write_text(labels if isinstance(labels, str) else json.dumps(labels))
    return folder


def test_real_labels_are_read(tmp_path: Path) -> None:
    labels: list[list[int]] = [[5], [], [999, 0]]
    _real(tmp_path, labels)
    assert archives.real_labels(str(tmp_path), num_pictures=3) == labels
    assert archives.real_labels(str(tmp_path / "real.json"), num_pictures=3) == labels


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[1], [2]], r"got 2 entries, expected a list of 3; is it ReaL's real.json\?"),
        ({"a": 1}, r"got a dict, expected a list of 3; is it ReaL's real.json\?"),
        ([[1], [1000], []], r"picture 2 has \[1000\], expected a list of classes 0..999"),
        ([[1], [2], [-1]], r"picture 3 has \[-1\], expected a list of classes 0..999"),
        ([[1], [2], [True]], r"picture 3 has \[true\], expected a list of classes 0..999"),
        ([1, [2], [3]], "picture 1 has 1, expected a list of classes 0..999"),
        ("[[1], [2", r"not JSON, or cut short \(.*\); get it again"),
    ],
)
def test_other_labels_are_refused(tmp_path: Path, labels: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(os.path.join(tmp_path, 'real.json'))}: {message}$"):
        archives.real_labels(str(_real(tmp_path, labels)), num_pictures=3)


def test_missing_real_labels_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--robustness_dir: .* holds no real.json, the labels of ReaL; put it there$"):
        archives.real_labels(str(tmp_path))


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("imagenet-c", "c"),
        ("ImageNet-C", "c"),
        ("imagenet_p", "p"),
        ("imagenetv2-matched-frequency-format-val", "v2"),
        ("ImageNet-Sketch", "sketch"),
        ("imagenet-a", "a"),
    ],
)
def test_folders_are_known_by_their_names(name: str, dataset: str) -> None:
    assert layouts.named(name) == layouts.named(f"{name}.tar") == layouts.named(f"{name}.tar.gz") == dataset
    matching = [key for key, layout in layouts.LAYOUTS.items() if re.fullmatch(layout.named, name, re.IGNORECASE)]
    assert matching == [dataset]


def test_one_set_is_never_taken_for_another(tmp_path: Path) -> None:
    """ImageNet-A and -R both are 200 class folders."""
    save(tmp_path / "imagenet-a", subset())
    save_tar(tmp_path / "imagenet-o.tar", subset())
    for directory in (tmp_path, tmp_path / "imagenet-a", tmp_path / "imagenet-o.tar"):
        message = "expected imagenet-r/<wnid>/*.jpg, or the tar files that hold them; get what is missing"
        assert refusal("r", directory, WNIDS) == f"--robustness_dir: DIR holds no ImageNet-R: {message}"
    assert contents(archives.open_set("o", str(tmp_path), WNIDS)) == subset()
    files = imagenet_c(1)
    save(tmp_path, files)
    save(tmp_path / "imagenet-p", imagenet_p(b"mp4"))
    assert contents(archives.open_set("c", str(tmp_path), FEW)) == files
