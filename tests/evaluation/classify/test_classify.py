from __future__ import annotations

import csv
import dataclasses
import socket

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from checkpoints import writing
from data.fast import Fast
from data.images import decoding, files
from efficientnet.model import EfficientNet
from efficientnet.ops import Ops
from efficientnet.variants import ModelConfig
from evaluation.classify import run as room
from evaluation.classify.run import classify
from evaluation.classify.table import Answer, table
from evaluation.config import ClassifyConfig
from runtime.config import DeviceConfig
from runtime.errors import UserError
from runtime.text import width

SIZE = 32
MODEL = ModelConfig("efficientnet-b0", num_classes=6, width_coefficient=0.1, depth_coefficient=0.1)
NAMES = ("ant", "bee", "cat", "dog", "eel", "fox")


def picture(seed, width=40, height=30):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network whose answers differ between images, and its checkpoint."""
    model = EfficientNet(MODEL, seed=3)
    named = model.named_variables()
    for number, (name, variable) in enumerate(named.items()):
        if "dense/kernel" in name:
            variable.assign(tf.random.stateless_normal(variable.shape, [number, 1]) * 3)
    prefix = str(tmp_path_factory.mktemp("model") / "model.ckpt-7")
    writing.write(prefix, {**named, "global_step": tf.constant(7, tf.int64)})
    return model, prefix


def config(trained, *inputs, **changes):
    base = ClassifyConfig(
        "classify",
        MODEL,
        trained[1],
        tuple(str(path) for path in inputs),
        SIZE,
        class_names=NAMES,
        batch_size=3,
        use_averages=False,
        device=DeviceConfig(use_tpu=False),
    )
    return dataclasses.replace(base, **changes)


def expected(model, path, top=5):
    image = decoding.evaluation_image(tf.constant(path.read_bytes()), SIZE, False)
    probabilities = tf.nn.softmax(model(image[tf.newaxis]))[0].numpy()
    best = np.argsort(-probabilities)[:top]
    return best.tolist(), probabilities[best].tolist()


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def test_the_answers_are_the_networks_on_evaluation_images(trained, tmp_path, capsys):
    paths = [save(tmp_path / "in" / f"{number}.png", picture(number)) for number in range(4)]
    (tmp_path / "in/2b.png").write_bytes(b"broken")
    answers = classify(config(trained, tmp_path / "in", output_csv=str(tmp_path / "new/out.csv")))
    assert [answer.name for answer in answers] == [
        str(tmp_path / "in" / name) for name in ("0.png", "1.png", "2.png", "2b.png", "3.png")
    ]
    good = [answer for answer in answers if not answer.problem]
    tops = set()
    for path, answer in zip(paths, good):
        labels, probabilities = expected(trained[0], path)
        assert [label for label, _ in answer.classes] == labels
        np.testing.assert_allclose([share for _, share in answer.classes], probabilities, rtol=1e-4)
        tops.add(labels[0])
    assert len(tops) > 1

    with open(tmp_path / "new/out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "image", *(f"{what}_{rank}" for rank in range(1, 6) for what in ("class", "probability")), "problem"
    ]  # fmt: skip
    assert [row["image"] for row in rows] == [answer.name for answer in answers]
    assert rows[0]["class_1"] == NAMES[good[0].classes[0][0]]
    assert float(rows[0]["probability_2"]) == pytest.approx(good[0].classes[1][1], abs=1e-6)
    assert rows[3]["class_1"] == ""
    assert rows[3]["problem"] == f"not an image of a known format ({', '.join(files.FORMATS)})"
    out = capsys.readouterr().out
    assert f"{NAMES[good[0].classes[0][0]]}" in out.splitlines()[1]
    assert "1 of 5 files could not be read:\n" in out
    assert f"  {tmp_path}/in/2b.png: not an image of a known format" in out


def test_the_network_knows_how_many_images_there_are(trained, tmp_path):
    counts = []

    def plain(count_up_to):
        counts.append(count_up_to(1000))
        return Ops()

    fast = Fast(inference=plain)
    classify(config(trained, save(tmp_path / "one.png", picture(1)), save(tmp_path / "two.png", picture(2))), fast)
    assert counts == [2]


def test_any_format_is_taken_and_files_and_folders_mix(trained, tmp_path):
    pixels = picture(1)
    first = save(tmp_path / "ünter wegs/a b.webp", pixels, lossless=True)
    second = save(tmp_path / "one.gif", pixels)
    third = save(tmp_path / "two.png", np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]))
    plain = save(tmp_path / "plain.png", pixels)
    answers = classify(config(trained, first.parent, second, third, plain))
    assert [answer.name for answer in answers] == [str(path) for path in (first, second, third, plain)]
    assert not any(answer.problem for answer in answers)
    assert answers[2].classes == answers[3].classes


def test_small_images_are_classified(trained, tmp_path):
    stored, large = save(tmp_path / "16.png", picture(0, 16, 16)), save(tmp_path / "large.png", picture(0, 50, 40))
    model = dataclasses.replace(MODEL, small_image_model=True)
    answers = classify(config(trained, stored, large, model=model, image_size=16))
    assert [answer.problem for answer in answers] == ["", ""]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ()}, r"--input_files is missing; give image files or folders of them"),
        ({"inputs": ("nowhere.jpg",)}, r"--input_files: no file or folder nowhere.jpg"),
        ({"inputs": ("gs://bucket/a.jpg",)}, r"no file or folder gs://bucket/a.jpg; copy it to this machine first"),
        ({"class_names": ("a", "b")}, r"--task_name: the task has 2 class names, but the network has 6 classes; give"),
        ({"checkpoint": "nowhere"}, r"--predict_ckpt_path: no checkpoint nowhere"),
        ({"output_csv": "{tmp}"}, r"--output_csv: \S+ is a folder; name a file"),
        ({"output_csv": "{tmp}/image.png/out.csv"}, r"--output_csv: cannot write .*; choose another file"),
    ],
)
def test_what_does_not_fit_is_one_line(trained, tmp_path, changes, message):
    path = save(tmp_path / "image.png", picture(0))
    changes = {key: value.format(tmp=tmp_path) if isinstance(value, str) else value for key, value in changes.items()}
    with pytest.raises(UserError, match=message) as caught:
        classify(config(trained, path, **changes))
    assert "\n" not in str(caught.value)


def test_an_empty_folder_and_files_that_are_no_images_are_errors(trained, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"--input_files: the folder \S+/empty is empty"):
        classify(config(trained, tmp_path / "empty"))
    (tmp_path / "text.jpg").write_text("text")
    with pytest.raises(UserError, match=r"--input_files: none of the 1 files is an image that can be read"):
        classify(config(trained, tmp_path / "text.jpg"))
    assert "1 of 1 files could not be read:\n" in capsys.readouterr().out


def test_the_table_is_aligned_and_cut():
    answers = [Answer(f"{'x' * 60}{number}.jpg", ((1, 0.75), (0, 0.25))) for number in range(52)]
    answers += [Answer(f"bad{number}.jpg", problem="an empty file") for number in range(22)]
    lines = table(answers, ("a name that is far too long for the table", "b")).splitlines()
    assert len({len(line) for line in lines[:51]}) == 1
    assert lines[1].startswith("…")
    assert "  b                         75.00  a name that is far too …  25.00" in lines[1]
    assert lines[51] == "... and 2 more images; --output_csv=FILE has them all"
    assert lines[52] == "22 of 74 files could not be read:"
    assert lines[53] == "  bad0.jpg: an empty file"
    assert lines[-1] == "  ... and 2 more"
    assert table(answers[:1], ("a", "b")).splitlines()[0].split() == ["image", "class", "%", "class", "%"]


def test_names_of_any_script_are_aligned():
    answers = [Answer(name, ((label, 0.5), (1 - label, 0.25))) for label, name in enumerate(("a.jpg", "카메라.jpg"))]
    lines = table(answers, ("猫", "cat")).splitlines()
    assert len({width(line) for line in lines}) == 1
    assert [line.endswith(" 25.00") for line in lines] == [False, True, True]


def test_imagenet_s_classes_have_keras_s_names(trained, monkeypatch):
    def decode(rows, top):
        assert (rows.shape, top) == ((1000, 1000), 1)
        return [[(f"n{row.argmax():08d}", ["crane", "great_white_shark"][row.argmax() == 3], 1.0)] for row in rows]

    monkeypatch.setattr(tf.keras.applications.imagenet_utils, "decode_predictions", decode)
    thousand = config(trained, model=dataclasses.replace(MODEL, num_classes=1000), class_names=(), imagenet=True)
    names = room.class_names(thousand)
    assert (names[3], names[4], len(names)) == ("great white shark", "crane (n00000004)", 1000)
    numbers = tuple(f"n{label:08d}" for label in reversed(range(1000)))  # what --mode=prepare finds
    assert room.class_names(dataclasses.replace(thousand, class_names=numbers)) == names[::-1]
    words = tuple(f"word {label}" for label in range(1000))
    assert room.class_names(dataclasses.replace(thousand, class_names=words)) == words


def test_without_network_imagenet_s_classes_have_numbers_and_a_line_says_so(trained, monkeypatch, capsys):
    def decode(rows, top):
        print("Downloading data from https://somewhere")
        raise Exception("URL fetch failure on https://somewhere: None --\n [Errno -3] no name")

    monkeypatch.setattr(tf.keras.applications.imagenet_utils, "decode_predictions", decode)
    thousand = config(trained, model=dataclasses.replace(MODEL, num_classes=1000), class_names=(), imagenet=True)
    assert room.class_names(thousand)[999] == "class 999"
    assert capsys.readouterr() == (
        "",
        "notice: no names for ImageNet's classes, their numbers instead: URL fetch failure on https://somewhere: None -- "
        "[Errno -3] no name\n",
    )
    assert socket.getdefaulttimeout() is None


def test_classes_without_names_are_numbered_from_zero(trained):
    assert room.class_names(config(trained, class_names=()))[:2] == ("class 0", "class 1")
