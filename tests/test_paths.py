"""What a user typed is data, never syntax: any sign in a folder's name, a class's name or a flag's text stands for itself."""

from __future__ import annotations

import csv
import dataclasses
import glob
import json
import os
import tempfile

import pytest
import tensorflow as tf
from hypothesis import assume, example, given

from checkpoints import writing
from checkpoints.config import ConvertConfig
from checkpoints.reading import Reader
from data.records.examples import name_of, unlabeled_example
from data.records.shards import find_shards, read_shard, write_shard
from data.tasks import TASKS
from efficientnet.model import EfficientNet
from efficientnet.variants import ModelConfig
from evaluation.classify.run import classify
from flags import build
from flags.rounds import iterate_config
from pseudo_label import rounds as loop
from pseudo_label.config import PredictConfig
from pseudo_label.made_with import check_not_foreign
from pseudo_label.manifest import Manifest, Stage
from pseudo_label.predict.run import predict
from runtime.config import DeviceConfig
from runtime.errors import UserError
from tests.data.prepare.test_folder import picture, save
from tests.flags.parsing import parsed
from tests.runtime.test_files import NAMES

MODEL = ModelConfig("efficientnet-b0", 10)


@given(folder=NAMES, neighbour=NAMES)
@example(folder="p[1]", neighbour="p1")
@example(folder="a*", neighbour="ab")
def test_a_checkpoint_is_read_from_a_folder_of_any_name_and_never_from_its_neighbour(folder, neighbour):
    assume(folder != neighbour)
    with tempfile.TemporaryDirectory() as root:
        for name, value in ((folder, 1.0), (neighbour, 2.0)):
            writing.save_tensors(os.path.join(root, name), 5, {"w": tf.constant([value])})
        assert Reader(os.path.join(root, folder), "flag").tensor("w").tolist() == [1.0]
        assert Reader(os.path.join(root, folder, "model.ckpt-5"), "flag").tensor("w").tolist() == [1.0]


@given(folder=NAMES, neighbour=NAMES, prefix=NAMES)
@example(folder="r?", neighbour="rA", prefix="t*")
def test_shards_are_found_in_a_folder_of_any_name_and_never_in_its_neighbour(folder, neighbour, prefix):
    assume(folder != neighbour and ";" not in folder)
    with tempfile.TemporaryDirectory() as root:
        name = f"{prefix}-00000-of-00001"
        write_shard(os.path.join(root, neighbour, name), [b"theirs"])
        write_shard(os.path.join(root, folder, "other-00000-of-00001"), [b"other"])
        pattern = f"{glob.escape(prefix)}-?????-of-?????"
        if prefix != "other":
            with pytest.raises(UserError, match=r"^--flag: no file matches "):
                find_shards(os.path.join(root, folder), pattern, "flag")
        write_shard(os.path.join(root, folder, name), [b"ours"])
        assert find_shards(os.path.join(root, folder), pattern, "flag") == [os.path.join(root, folder, name)]


def stage(work_dir, class_names):
    task = dataclasses.replace(TASKS["folder"], num_classes=len(class_names), class_names=class_names)
    teacher = os.path.join(work_dir, "teacher")
    config = ConvertConfig("teacher", MODEL, "/elsewhere/model.ckpt-1", teacher, 32, task)
    return Stage("teacher", print, config, is_there=lambda: True)


@given(work_dir=NAMES, moved=NAMES)
@example(work_dir=".", moved="1")
@example(work_dir="=eval", moved="model")
@example(work_dir="teacher", moved='"')
def test_a_manifest_holds_where_the_work_dir_lies_in_paths_alone(work_dir, moved):
    assume(";" not in work_dir + moved)  # it separates folders
    names = (work_dir, moved + "!")
    settings = stage(work_dir, names).settings(work_dir)
    assert settings == stage(moved, names).settings(moved)
    assert settings == stage(moved, names).settings(moved + "/")
    assert settings["model_dir"] == "WORK_DIR/teacher"
    assert settings["title"] == "teacher"
    assert settings["checkpoint"] == "/elsewhere/model.ckpt-1"
    assert settings["task"]["class_names"] == list(names)


@pytest.mark.parametrize("name", [".", "1", "=eval", 'a "quoted" one'])
def test_a_stage_that_is_done_is_done_in_a_work_dir_of_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    os.makedirs(name, exist_ok=True)
    manifest = Manifest(name)
    manifest.mark_begun(stage(name, ("a", "b")))
    manifest.mark_done(stage(name, ("a", "b")))
    again = Manifest(name)
    again.check(stage(name, ("a", "b")))
    assert again.is_done(stage(name, ("a", "b")))
    with pytest.raises(UserError, match=r"done with task.class_names=\['a', 'b'\], these flags give \['a', '1'\]"):
        again.check(stage(name, ("a", "1")))


ODD = "a [1] * ? $x , ~ ü"
CLASSES = ("[1] * ?", "$x , ~ ü", "$100_$200", "<b>&\\")
TINY = (
    "--use_tpu=False", "--width_coefficient=0.1", "--depth_coefficient=0.1", "--input_image_size=32", "--train_steps=4",
    "--train_batch_size=8", "--save_checkpoints_steps=2", "--log_step_count_steps=2", "--teacher_softmax_temp=1",
    "--rounds=efficientnet-b0:1", "--num_image=6", "--min_threshold=0",
)  # fmt: skip


def fill_with_neighbours(root):
    """Pictures in a folder of an odd name, and beside it folders that its name as a pattern would match."""
    source = root / ODD / "pictures ~"
    for label, name in enumerate(CLASSES):
        for split, count in (("labeled", 4), ("test", 2)):
            for number in range(count):
                save(
                    source / split / name / f"{split} {number}.png",
                    picture(10 * label + number + 100 * (split == "test"), 32, 32),
                )
    for number in range(12):
        save(source / "unlabeled" / "[x]" / f"{number}*.png", picture(500 + number, 32, 32))
    theirs = root / "a 1 x y $x , ~ ü" / "teacher" / "model.ckpt-9.index"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    mine = root / ODD / "run" / "my.writing-plan.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    return source, [theirs, mine]


def test_the_whole_loop_in_a_folder_and_with_classes_of_any_name(tmp_path, capsys):
    source, kept = fill_with_neighbours(tmp_path)
    run = tmp_path / ODD / "run"
    flags = ("--mode=iterate", "--task_name=folder", f"--source_dir={source}", f"--work_dir={run}", *TINY)
    config = iterate_config(parsed(*flags), "the command")
    loop.iterate(config)
    assert list(config.teacher.data.task.class_names) == sorted(CLASSES)
    results = json.loads((run / "report" / "results.json").read_text())
    assert [network["test"]["num_images"] for network in results["networks"]] == [8, 8]
    for picture_of in ("training-teacher.png", "round1-classes.png", "round1-mosaic.png"):
        assert (run / "report" / picture_of).stat().st_size > 1000
    assert [path.read_text() for path in kept] == ["theirs", "mine"]
    assert not [path for path in tmp_path.rglob("*") if ".writing-" in path.name and path not in kept]
    capsys.readouterr()
    loop.iterate(iterate_config(parsed(*flags), "the command"))
    assert "[4/4] round1/student: done before" in capsys.readouterr().out
    student = run / "round1" / "student"
    given = (f"--predict_ckpt_path={student}", f"--input_files={source}/unlabeled", f"--output_csv={run}/answers.csv")
    answers = classify(build.classify_config(parsed("--mode=classify", "--use_tpu=False", *given)))
    assert len(answers) == 12
    with open(run / "answers.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["class_1"] for row in rows} <= set(CLASSES)
    assert sorted(row["image"] for row in rows) == sorted(str(path) for path in (source / "unlabeled/[x]").iterdir())
    balanced = [record for path in (run / "round1/balanced/data").iterdir() for record in read_shard(str(path))]
    names = {name_of(record).decode() for record in balanced}
    assert names <= {f"unlabeled/[x]/{number}*.png" for number in range(12)}
    assert names


@pytest.mark.parametrize("content", ['{"editor.fontSize": 9, "seed": 1}', "not JSON", "[]", "\xff"])
def test_settings_of_the_users_own_are_never_written_over(tmp_path, content):
    path = tmp_path / "settings.json"
    path.write_text(content, encoding="latin-1")
    wanted = {"seed": 0, "num_image": 3, "num_shards": 2}
    with pytest.raises(UserError, match=r"^--output_dir: \S+/settings.json is there already and was not written here"):
        check_not_foreign(str(path), wanted)
    path.write_text(json.dumps({"seed": 5, "num_image": 4}))
    check_not_foreign(str(path), wanted)
    check_not_foreign(str(tmp_path / "none.json"), wanted)


def test_labels_of_another_teacher_are_never_taken_for_this_ones(tmp_path):
    """`predict` into `p[1]` again, with another checkpoint, is refused before it writes."""
    task = dataclasses.replace(TASKS["digits"])
    model = ModelConfig("efficientnet-b0", 10, task.mean, task.std, True, width_coefficient=0.1, depth_coefficient=0.1)
    images = tmp_path / "images [1]"
    example = unlabeled_example(tf.io.encode_png(tf.zeros([16, 16, 3], tf.uint8)).numpy())
    write_shard(str(images / "train-00000-of-00001"), [example] * 3)
    checkpoints = [str(tmp_path / f"teacher {seed}*") for seed in (1, 2)]
    for seed, folder in enumerate(checkpoints):
        network = EfficientNet(model, seed=seed)
        writing.save_tensors(folder, 1, dict(network.named_variables()))
    config = PredictConfig(
        "predict", model, checkpoints[0], str(images), str(tmp_path / "p[1]"), 16, num_shards=1, use_averages=False,
        samples_per_class=0, device=DeviceConfig(use_tpu=False),
    )  # fmt: skip
    predict(config)
    before = {path.name: path.read_bytes() for path in (tmp_path / "p[1]").iterdir()}
    with pytest.raises(UserError, match=r"^--output_dir: .*p\[1\] was begun with predict_ckpt_path='model.ckpt-1 \("):
        predict(dataclasses.replace(config, checkpoint=checkpoints[1]))
    assert {path.name: path.read_bytes() for path in (tmp_path / "p[1]").iterdir()} == before
