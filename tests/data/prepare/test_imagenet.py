from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile

import numpy as np
import pytest
import scipy.io
import tensorflow as tf
from PIL import Image

from data import tasks
from data.prepare import archives, image_shards, imagenet
from data.prepare.config import PrepareConfig
from data.prepare.run import prepare
from data.records.examples import CLASS_LABEL, image_of
from data.records.shards import read_shard
from runtime.errors import UserError

CLASSES = ("n01440764", "n01443537", "n02105855")
TRAIN, VALIDATION = imagenet.TRAIN_TAR, imagenet.VALIDATION_TAR
EACH, VALIDATION_IMAGES = 4, 6


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(imagenet, "NUM_SHARDS", {"train": 3, "validation": 2})


def jpeg(seed, mode="RGB", kind="JPEG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    image = Image.fromarray(pixels).resize((24, 16), Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    image.save(file, format=kind, **({"quality": 90} if kind == "JPEG" else {}))
    return file.getvalue()


def tar(files):
    return tar_of(files.items())


def tar_of(files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def train_images():
    """{class: {file: bytes}}, with the oddities that ILSVRC has."""
    found = {}
    for number, name in enumerate(CLASSES):
        found[name] = {f"{name}_{index}.JPEG": jpeg(10 * number + index) for index in range(EACH)}
    found[CLASSES[0]][f"{CLASSES[0]}_1.JPEG"] = jpeg(1, "CMYK")
    found[CLASSES[1]][f"{CLASSES[1]}_2.JPEG"] = jpeg(2, "L")
    found[CLASSES[2]]["n02105855_2933.JPEG"] = jpeg(3, kind="PNG")
    return found


def validation_images():
    return {f"ILSVRC2012_val_{number:08d}.JPEG": jpeg(100 + number) for number in range(1, VALIDATION_IMAGES + 1)}


VALIDATION_CLASSES = [CLASSES[index] for index in (2, 0, 1, 1, 0, 2)]


def save_archives(folder, train=None, validation=None, labels=VALIDATION_CLASSES):
    folder.mkdir(exist_ok=True)
    train = train_images() if train is None else train
    # Neither the classes nor the images lie in sorted order in the official archives.
    inner = {f"{name}.tar": tar(dict(reversed(list(files.items())))) for name, files in train.items()}
    (folder / TRAIN).write_bytes(tar(dict(reversed(list(inner.items())))))
    validation = validation_images() if validation is None else validation
    (folder / VALIDATION).write_bytes(tar(dict(reversed(list(validation.items())))))
    (folder / imagenet.SYNSET_LABELS).write_text("\n".join(labels) + "\n")
    return folder


def save_folders(folder, validation="validation"):
    for name, files in train_images().items():
        (folder / "train" / name).mkdir(parents=True)
        for file, content in files.items():
            (folder / "train" / name / file).write_bytes(content)
    for name, (file, content) in zip(VALIDATION_CLASSES, validation_images().items()):
        (folder / validation / name).mkdir(parents=True, exist_ok=True)
        (folder / validation / name / file).write_bytes(content)
    return folder


def config(tmp_path, **changes):
    base = PrepareConfig("imagenet", str(tmp_path / "data"), source_dir=str(tmp_path / "source"), num_processes=1)
    return dataclasses.replace(base, **changes)


def read(data, prefix):
    """[(encoded, label)] in the order of the shards."""
    found = []
    for path in sorted((data / "labeled").glob(f"{prefix}-*")):
        for record in read_shard(str(path)):
            label = tf.train.Example.FromString(record).features.feature[CLASS_LABEL].int64_list.value[0]
            found.append((image_of(record), label))
    return found


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def check_content(data):
    train = read(data, "train")
    assert len(train) == 3 * EACH + 1
    unchanged = {content: label for label, files in enumerate(train_images().values(), 1) for content in files.values()}
    odd = [jpeg(1, "CMYK"), jpeg(3, kind="PNG")]
    stored = dict(train)
    assert {content: label for content, label in unchanged.items() if content not in odd}.items() <= stored.items()
    for content, label in ((odd[0], 1), (odd[1], 3)):
        assert content not in stored
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int64)
        distances = {}
        for candidate, its_label in train:
            if candidate in unchanged:
                continue
            image = Image.open(io.BytesIO(candidate))
            assert (image.format, image.mode) == ("JPEG", "RGB")
            distances[its_label] = np.abs(tf.io.decode_jpeg(candidate, channels=3).numpy() - expected).mean()
        assert distances[label] < 4
    validation = read(data, "validation")
    expected_labels = {
        content: CLASSES.index(name) + 1 for name, content in zip(VALIDATION_CLASSES, validation_images().values())
    }
    assert dict(validation) == expected_labels
    task = tasks.load_task("imagenet", str(data))
    assert task.num_images == {"train": 13, "validation": 6}
    assert (task.num_classes, task.class_names, task.eval_split) == (3, CLASSES, "validation")


def test_the_archives_become_records(tmp_path, capsys):
    save_archives(tmp_path / "source")
    prepare(config(tmp_path))
    check_content(tmp_path / "data")
    names = sorted(path.name for path in (tmp_path / "data/labeled").iterdir())
    assert names == [f"train-{s:05d}-of-00003" for s in range(3)] + [f"validation-{s:05d}-of-00002" for s in range(2)]
    out = capsys.readouterr().out
    assert "note: found 3 classes, 13 training and 6 validation images; the whole of ILSVRC 2012 has 1,000, " in out


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_class_folders_become_records(tmp_path, validation):
    save_folders(tmp_path / "source", validation)
    prepare(config(tmp_path))
    check_content(tmp_path / "data")


def test_the_development_kit_says_the_validation_classes(tmp_path):
    save_archives(tmp_path / "source")
    (tmp_path / "source" / imagenet.SYNSET_LABELS).unlink()
    numbers = {"n01440764": 2, "n01443537": 3, "n02105855": 1}
    synsets = np.array(
        [(number, name, "words") for name, number in numbers.items()],
        dtype=[("ILSVRC2012_ID", object), ("WNID", object), ("words", object)],
    ).reshape(-1, 1)
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": synsets})
    truth = "".join(f"{numbers[name]}\n" for name in VALIDATION_CLASSES).encode()
    kit = tar({"ILSVRC2012_devkit_t12/data/meta.mat": meta.getvalue(), f"x/data/{imagenet.GROUND_TRUTH}": truth})
    path = tmp_path / "source" / imagenet.DEVELOPMENT_KIT
    path.write_bytes(kit)
    prepare(config(tmp_path))
    check_content(tmp_path / "data")
    path.write_bytes(kit[:700])
    with pytest.raises(
        UserError, match=r"devkit_t12.tar.gz: not the development kit, or cut short \(.*\); get it again"
    ):
        prepare(config(tmp_path, data_dir=str(tmp_path / "other")))


def test_the_seed_fixes_every_file_and_processes_change_nothing(tmp_path, monkeypatch):
    save_archives(tmp_path / "source")
    monkeypatch.setattr(image_shards, "PATIENCE", 0.0)
    found = []
    for name, changes in (("one", {}), ("two", {"num_processes": 2}), ("other", {"seed": 1})):
        prepare(config(tmp_path, data_dir=str(tmp_path / name), **changes))
        found.append(digests(tmp_path / name))
    assert found[0] == found[1]
    assert found[0]["labeled/train-00000-of-00003"] != found[2]["labeled/train-00000-of-00003"]
    assert found[0]["labeled/validation-00000-of-00002"] == found[2]["labeled/validation-00000-of-00002"]


def test_an_interrupted_run_leaves_finished_shards_alone(tmp_path, monkeypatch):
    save_archives(tmp_path / "source")
    prepare(config(tmp_path, data_dir=str(tmp_path / "uninterrupted")))
    write_shard = image_shards.write_shard

    def stop(path, examples):
        if path.endswith("train-00002-of-00003"):
            raise KeyboardInterrupt
        return write_shard(path, examples)

    monkeypatch.setattr(image_shards, "write_shard", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(config(tmp_path))
    first = tmp_path / "data/labeled/train-00001-of-00003"
    written_at = first.stat().st_mtime_ns
    monkeypatch.setattr(image_shards, "write_shard", write_shard)
    prepare(config(tmp_path))
    assert digests(tmp_path / "data") == digests(tmp_path / "uninterrupted")
    assert first.stat().st_mtime_ns == written_at


def test_a_broken_image_is_listed_by_its_place(tmp_path, capsys):
    train = train_images()
    train[CLASSES[1]][f"{CLASSES[1]}_0.JPEG"] = jpeg(0)[:-100]
    save_archives(tmp_path / "source", train)
    prepare(config(tmp_path))
    (line,) = (tmp_path / "data/unreadable.txt").read_text().splitlines()
    assert line.startswith(f"{TRAIN} at byte ")
    assert "truncated" in line
    assert "1 images could not be read and were left out; " in capsys.readouterr().out
    assert tasks.load_task("imagenet", str(tmp_path / "data")).num_images["train"] == 12


def cut(name, keep):
    def spoil(source):
        content = (source / name).read_bytes()
        (source / name).write_bytes(content[: keep(len(content))])

    return spoil


def rewrite(name, content):
    return lambda source: (source / name).write_bytes(content() if callable(content) else content)


def without_end(source):
    """Cut between two images, where only the end mark is missing."""
    last = list(archives.members(str(source / VALIDATION)))[-2]
    cut(VALIDATION, lambda _: last.offset + last.size + -last.size % 512)(source)


def inner_without_end():
    inner = {f"{name}.tar": tar(files) for name, files in train_images().items()}
    files = train_images()[CLASSES[1]]
    whole = inner[f"{CLASSES[1]}.tar"]
    inner[f"{CLASSES[1]}.tar"] = whole[: sum(512 + len(data) + -len(data) % 512 for data in files.values())]
    return tar(inner)


WRONG = {
    "nothing": (lambda s: (s / TRAIN).unlink(), rf"holds neither {TRAIN} nor a folder train/"),
    "no validation": (lambda s: (s / VALIDATION).unlink(), r"ILSVRC2012_img_val.tar nor a folder validation or val/"),
    "no labels": (
        lambda s: (s / imagenet.SYNSET_LABELS).unlink(),
        rf"holds {VALIDATION} but not its labels; put ILSVRC2012_devkit_t12.tar.gz beside it, or imagenet_2012",
    ),
    "swapped train": (
        rewrite(TRAIN, lambda: tar(validation_images())),
        rf"{TRAIN}: holds ILSVRC2012_val_00000001.JPEG, expected a tar of images for each class .*; is it {TRAIN}\?",
    ),
    "swapped validation": (
        rewrite(VALIDATION, lambda: tar({"n01440764.tar": tar({})})),
        rf"{VALIDATION}: holds n01440764.tar, expected the validation images; is it {VALIDATION}\?",
    ),
    "no tar": (rewrite(TRAIN, b"x" * 5000), rf"{TRAIN}: not a tar archive \(.*\); is it the archive that the task"),
    "empty file": (rewrite(TRAIN, b""), rf"{TRAIN}: not a tar archive|{TRAIN}: holds nothing"),
    "train cut inside an image": (cut(TRAIN, lambda size: size * 2 // 3), rf"{TRAIN}: .*the archive is cut short"),
    "train cut at the end": (cut(TRAIN, lambda size: 4 * 512), rf"{TRAIN}: the archive is cut short"),
    "validation without end": (without_end, rf"{VALIDATION}: the archive is cut short \(it has no end mark\); get it"),
    "class archive cut": (rewrite(TRAIN, inner_without_end), rf"{TRAIN}: {CLASSES[1]}.tar: the archive is cut short"),
    "empty class": (
        lambda s: save_archives(s, {**train_images(), "n09999999": {}}),
        rf"{TRAIN}: n09999999.tar holds no image",
    ),
    "class twice": (
        rewrite(TRAIN, lambda: tar_of([(f"{CLASSES[0]}.tar", tar(train_images()[CLASSES[0]]))] * 2)),
        rf"{TRAIN}: holds {CLASSES[0]}.tar twice; get the archive again",
    ),
    "validation image twice": (
        rewrite(VALIDATION, lambda: tar_of([*validation_images().items()][1:] + [*validation_images().items()][-1:])),
        rf"{VALIDATION}: holds ILSVRC2012_val_00000006.JPEG twice; get the archive again",
    ),
    "labels of another archive": (
        lambda s: save_archives(s, labels=VALIDATION_CLASSES[:-1]),
        rf"{VALIDATION}: holds 6 images, but \S+ has 5 labels; get the one that is wrong again",
    ),
    "unknown class": (
        lambda s: save_archives(s, labels=[*VALIDATION_CLASSES[:-1], "n00000000"]),
        r"labels.txt: the class 'n00000000' has no training images; the two do not belong together",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_archives_that_are_missing_cut_short_or_others_are_named(tmp_path, case):
    spoil, message = WRONG[case]
    spoil(save_archives(tmp_path / "source"))
    with pytest.raises(UserError, match=message) as caught:
        prepare(config(tmp_path))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "data").rglob("*-of-*"))


def test_an_empty_class_folder_is_named(tmp_path):
    save_folders(tmp_path / "source")
    (tmp_path / "source/train/n09999999").mkdir()
    with pytest.raises(UserError, match=r"--source_dir: the class folder \S+/train/n09999999 is empty; get its images"):
        prepare(config(tmp_path))


def test_no_source_dir_is_one_line(tmp_path):
    with pytest.raises(UserError, match=rf"--source_dir: missing; give the folder of {TRAIN} and {VALIDATION}, or of"):
        prepare(config(tmp_path, source_dir=""))
    with pytest.raises(UserError, match=r"--source_dir: got gs://b/x, expected a folder of this machine"):
        prepare(config(tmp_path, source_dir="gs://b/x"))


def test_the_release_s_numbers(monkeypatch):
    monkeypatch.undo()
    assert imagenet.NUM_SHARDS == {"train": 1024, "validation": 128}
