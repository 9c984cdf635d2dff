from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import json
import threading

import numpy as np
import pytest
import scipy.io
import tensorflow as tf
from PIL import Image

from data import tasks
from data.prepare import download, shards, svhn
from data.prepare.config import PrepareConfig
from data.prepare.run import prepare
from data.records.examples import CLASS_LABEL, image_of
from data.records.shards import read_shard
from runtime.errors import UserError

COUNTS = {"train": 23, "test": 9, "extra": 17}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(svhn, "DEV_IMAGES", 5)
    monkeypatch.setattr(svhn, "NUM_SHARDS", {"train": 3, "dev": 2, "test": 2, "extra": 4})
    monkeypatch.setattr(svhn, "OFFICIAL", COUNTS)


def arrays(name, count=None):
    generator = np.random.default_rng(len(name))
    count = COUNTS[name] if count is None else count
    images = generator.integers(0, 256, (32, 32, 3, count), np.uint8)
    labels = (np.arange(count) % 10 + 1).reshape(-1, 1)
    return images, generator.permutation(labels)


def save(folder, name, compressed=True, **changes):
    folder.mkdir(exist_ok=True)
    images, labels = arrays(name)
    values = {"X": images, "y": labels.astype(np.uint8), **changes}
    path = folder / f"{name}_32x32.mat"
    scipy.io.savemat(
        path, {key: value for key, value in values.items() if value is not None}, do_compression=compressed
    )
    return path


@pytest.fixture
def source(tmp_path):
    for name in COUNTS:
        save(tmp_path / "mat", name)
    return tmp_path / "mat"


def config(tmp_path, **changes):
    base = PrepareConfig("svhn", str(tmp_path / "data"), source_dir=str(tmp_path / "mat"))
    return dataclasses.replace(base, **changes)


def read(folder, prefix):
    """[(uint8 [32, 32, 3], label or None)] in the order of the shards, and how many each shard holds."""
    found, counts = [], []
    for path in sorted(folder.glob(f"{prefix}-*-of-*")):
        shard = list(read_shard(str(path)))
        counts.append(len(shard))
        for record in shard:
            label = tf.train.Example.FromString(record).features.feature[CLASS_LABEL].int64_list.value
            found.append((np.asarray(Image.open(io.BytesIO(image_of(record)))), next(iter(label), None)))
    return found, counts


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_official_files_become_the_release_s_splits(source, tmp_path):
    prepare(config(tmp_path))
    data = tmp_path / "data"
    images, labels = arrays("train")
    order = np.random.RandomState(0).permutation(23)
    for prefix, indices, number in (("labeled/train", order[:18], 3), ("labeled/dev", order[18:], 2)):
        found, counts = read(data, prefix)
        dealt = [index for shard in range(number) for index in indices[shard::number]]
        assert len(counts) == number
        for (image, label), index in zip(found, dealt):
            np.testing.assert_array_equal(image, images[..., index])
            assert label == labels[index] % 10 + 1  # the digit + 1; 10 stands for the digit 0
    test, counts = read(data, "labeled/test")
    assert counts == [4, 5]
    images, labels = arrays("test")
    np.testing.assert_array_equal([image for image, _ in test], images.transpose(3, 0, 1, 2))
    assert [label for _, label in test] == (labels[:, 0] % 10 + 1).tolist()
    task = tasks.load_task("svhn", str(data))
    assert task.num_images == {"train": 18, "dev": 5, "test": 9, "unlabeled": 17}
    assert (task.mean, task.std) == (tasks.SVHN_MEAN, tasks.SVHN_STD)
    assert task.class_names[0] == "0"


def test_extra_is_unlabeled_and_its_labels_are_kept_for_the_report(source, tmp_path):
    prepare(config(tmp_path))
    images, labels = arrays("extra")
    found, counts = read(tmp_path / "data", "unlabeled/extra")
    assert counts == [4, 4, 4, 5]
    np.testing.assert_array_equal([image for image, _ in found], images.transpose(3, 0, 1, 2))
    assert {label for _, label in found} == {None}
    truth = json.loads((tmp_path / "data/unlabeled/labels_for_report.json").read_text())
    assert sorted(truth) == [f"extra-{shard:05d}-of-00004" for shard in range(4)]
    assert sum((truth[name] for name in sorted(truth)), []) == (labels[:, 0] % 10).tolist()


def test_the_release_s_numbers(monkeypatch):
    monkeypatch.undo()
    assert svhn.OFFICIAL == {"train": 73257, "test": 26032, "extra": 531131}
    assert svhn.NUM_SHARDS == {"train": 128, "dev": 64, "test": 64, "extra": 128}
    assert svhn.DEV_IMAGES == 4000
    assert tasks.TASKS["svhn"].num_images["train"] == 73257 - 4000


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_files_as_matlab_writes_them_too(tmp_path, compressed, dtype):
    """Deflated or not, with labels of another type, beside another array."""
    images, labels = arrays("train")
    path = save(tmp_path, "train", compressed, y=labels.astype(dtype), z=np.array([[1, 2]], np.uint8))
    source = svhn.read(str(path))
    np.testing.assert_array_equal(source.images, images)
    np.testing.assert_array_equal(source.digits, labels[:, 0] % 10)
    assert source.digits.dtype == np.int64


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


def damage(place):
    def change(path):
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 0xFF
        path.write_bytes(content)

    return change


BAD = {
    "missing": (lambda path: path.unlink(), r"no file \S+/test_32x32.mat; get it from http\S+, or pass --download"),
    "cut short": (cut, r"test_32x32.mat: cut short or corrupt \(.*\); get it again"),
    "empty": (lambda path: path.write_bytes(b""), r"test_32x32.mat: not a MATLAB 5 file"),
    "damaged images": (damage(0.5), r"test_32x32.mat: cut short or corrupt \(.*\); get it again"),
    "damaged tag": (damage(0.0047), r"test_32x32.mat: cut short or corrupt \(.*\); get it again"),
    "damaged labels": (damage(0.9995), r"test_32x32.mat: cut short or corrupt \(.*\); get it again"),
    "another archive": (lambda path: path.write_bytes(b"\x1f\x8b" + b"x" * 400), r"not a MATLAB 5 file; is it the"),
    "hdf5": (
        lambda path: path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n"),
        r"test_32x32.mat: not a MATLAB 5 file",
    ),
    "another task": (
        lambda path: scipy.io.savemat(path, {"images": np.zeros((28, 28, 4))}),
        r"test_32x32.mat: holds images \[28, 28, 4\], expected X \[32, 32, 3, N\] and y \[N, 1\]; it is not",
    ),
    "labels": (
        lambda path: save(path.parent, "test", y=np.zeros((9, 1), np.uint8)),
        r"test_32x32.mat: y holds 9 labels, expected 9 from 1 to 10",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_are_missing_damaged_or_others_are_named(source, tmp_path, case):
    spoil, message = BAD[case]
    spoil(source / "test_32x32.mat")
    with pytest.raises(UserError, match=message) as caught:
        prepare(config(tmp_path))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "data").rglob("*-of-*"))


def test_too_few_images_for_the_dev_split(source, tmp_path):
    save(source, "train", X=np.zeros((32, 32, 3, 5), np.uint8), y=np.ones((5, 1), np.uint8))
    with pytest.raises(
        UserError, match=r"train_32x32.mat: holds 5 images, expected more than the 5 that become the dev"
    ):
        prepare(config(tmp_path))


def test_another_number_of_images_is_said(source, tmp_path, capsys):
    images, labels = arrays("extra", 8)
    save(source, "extra", X=images, y=labels)
    prepare(config(tmp_path))
    assert f"note: {source}/extra_32x32.mat holds 8 images, the official file 17\n" in capsys.readouterr().out


def test_no_source_dir_is_one_line(tmp_path):
    with pytest.raises(
        UserError, match=r"--source_dir: missing; give the folder of the official files train_32x32.mat"
    ):
        prepare(config(tmp_path, source_dir=""))
    with pytest.raises(UserError, match=r"--source_dir: got gs://b/mat, expected a folder of this machine"):
        prepare(config(tmp_path, source_dir="gs://b/mat"))


@pytest.mark.parametrize("stopped_at", ["labeled/dev-00001-of-00002", "unlabeled/extra-00002-of-00004"])
def test_an_interrupted_run_goes_on(source, tmp_path, monkeypatch, stopped_at):
    prepare(config(tmp_path, data_dir=str(tmp_path / "uninterrupted")))
    write_shard = shards.write_shard

    def stop(path, examples):
        if path.endswith(stopped_at):
            raise KeyboardInterrupt
        return write_shard(path, examples)

    monkeypatch.setattr(shards, "write_shard", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(config(tmp_path))
    first = tmp_path / "data/labeled/train-00000-of-00003"
    written_at = first.stat().st_mtime_ns
    monkeypatch.setattr(shards, "write_shard", write_shard)
    prepare(config(tmp_path))
    assert digests(tmp_path / "data") == digests(tmp_path / "uninterrupted")
    assert first.stat().st_mtime_ns == written_at


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `files`, knows ranges, and breaks off after `limit` bytes of a response where that is set."""

    files: dict[str, bytes]
    limit = None
    ranges: list[str]

    def do_GET(self):
        content = self.files.get(self.path.strip("/"))
        if content is None:
            self.send_error(404)
            return
        begin = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.ranges.append(self.headers.get("Range") or "")
        if begin and begin >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin:][: self.limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(source, monkeypatch):
    handler = type(
        "Files", (Handler,), {"files": {path.name: path.read_bytes() for path in source.iterdir()}, "ranges": []}
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(svhn, "ADDRESS", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("no_proxy", "*")
        yield handler
        server.shutdown()


def test_download_fetches_what_is_missing(server, source, tmp_path):
    prepare(config(tmp_path, data_dir=str(tmp_path / "local")))
    prepare(config(tmp_path, source_dir=str(tmp_path / "fetched"), download=True))
    assert sorted(path.name for path in (tmp_path / "fetched").iterdir()) == sorted(server.files)
    assert digests(tmp_path / "data") == digests(tmp_path / "local")
    assert server.ranges == [""] * 3


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    server.limit = 2000
    path = tmp_path / "new" / "test_32x32.mat"
    url = svhn.ADDRESS + path.name
    with pytest.raises(
        UserError, match=r"--download: .*test_32x32.mat ended after 2,000 of [\d,]+ bytes; run the same"
    ):
        download.fetch(url, str(path))
    assert not path.exists()
    server.limit = None
    download.fetch(url, str(path))
    assert path.read_bytes() == server.files[path.name]
    assert server.ranges == ["", "bytes=2000-"]
    path.rename(f"{path}.writing-download")
    download.fetch(url, str(path))  # everything was there but the name
    assert path.read_bytes() == server.files[path.name]


def test_an_address_that_gives_nothing_is_one_line(server, tmp_path):
    with pytest.raises(UserError, match=r"--download: cannot fetch \S+/nothing: Not Found; run .*, or put the file at"):
        download.fetch(svhn.ADDRESS + "nothing", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"--download: cannot fetch http://127.0.0.1:9/x: .*refused"):
        download.fetch("http://127.0.0.1:9/x", str(tmp_path / "x"))
    assert not list(tmp_path.glob("nothing*"))
