"""Prediction killed and continued, shared by workers, on two devices; and what ends it with one line."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import pickle
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from checkpoints import reading, writing
from checkpoints.reading import Reader
from data.config import AugmentConfig, TeacherNoise
from data.fast import Fast
from data.records import shards
from data.records.examples import prediction_count_name, prediction_name, shard_name, unlabeled_example
from data.records.shards import offset_of, read_shard, write_shard
from data.streams import prediction
from efficientnet.model import EfficientNet
from efficientnet.ops import Ops
from efficientnet.variants import ModelConfig
from pseudo_label.config import PredictConfig
from pseudo_label.predict import run
from pseudo_label.predict.run import SETTINGS_FILE
from pseudo_label.predict.shards import find_shards
from pseudo_label.quality import read_predictions
from runtime import devices, files
from runtime.config import DeviceConfig
from runtime.errors import UserError
from runtime.files import is_temporary
from runtime.workers import Pipeline

SHARDS, IN_A_SHARD, PIXELS = 4, 5, 16
BATCH = 3  # no divisor of a shard, so that batches span shards and the last one is short
KILL_AT = 13  # in the middle of the third shard


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images in four shards, and a network's checkpoint."""
    made = tmp_path_factory.mktemp("predict")
    generator = np.random.default_rng(0)
    for shard in range(SHARDS):
        images = generator.integers(0, 256, [IN_A_SHARD, PIXELS, PIXELS, 3], np.uint8)
        examples = [unlabeled_example(tf.io.encode_png(image).numpy()) for image in images]
        write_shard(str(made / "images" / shard_name("train", shard, SHARDS)), examples)
    writing.write(str(made / "model.ckpt-0"), dict(EfficientNet(model_config()).named_variables()))
    return made


def model_config() -> ModelConfig:
    return ModelConfig("efficientnet-b0", 7, small_image_model=True, width_coefficient=0.1, depth_coefficient=0.1)


def config_for(folder, output_dir) -> PredictConfig:
    return PredictConfig(
        "predict",
        model_config(),
        str(folder / "model.ckpt-0"),
        str(folder / "images"),
        str(output_dir),
        PIXELS,
        num_shards=SHARDS,
        shard_ids=None,
        batch_size=BATCH,
        samples_per_class=0,
        use_averages=False,
        device=DeviceConfig(use_tpu=False),
    )


def run_worker(config, folder, option):
    """Predicts in a process of its own; returns its exit status and what it said."""
    path = str(folder / "config.pickle")
    with open(path, "wb") as file:
        pickle.dump(config, file)
    command = [sys.executable, "-m", "tests.pseudo_label.predict.predict_worker", path, option]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)
    return done.returncode, done.stdout[-3000:]


def contents(output_dir):
    return {name: (output_dir / name).read_bytes() for name in sorted(os.listdir(output_dir))}


def labels(output_dir):
    """float32 [N, C] of all shards."""
    names = [shard_name("train", shard, SHARDS) for shard in range(SHARDS)]
    return np.concatenate([read_predictions(str(output_dir), name, 7) for name in names])


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """The predictions of a run that nothing disturbs."""
    output_dir = tmp_path_factory.mktemp("whole") / "out"
    summary = run.predict(config_for(folder, output_dir))
    line = r"predict: 20 images, [\d.]+ images/s, [\d.]+ of [\d.]+ s lost to input"
    assert re.fullmatch(line, summary.line("predict"))
    return output_dir


def test_killed_in_a_shard_it_redoes_that_shard_and_gives_the_same_bytes(folder, whole, tmp_path, capsys):
    output_dir = tmp_path / "out"
    config = config_for(folder, output_dir)
    status, said = run_worker(config, tmp_path, f"--kill_at={KILL_AT}")
    assert status == -signal.SIGKILL, said
    left = contents(output_dir)
    assert [name for name in left if name.endswith(".txt")] == [f"info-0000{n}-of-00004-00000.txt" for n in range(2)]
    assert sum(is_temporary(name) for name in left) == 1
    run.predict(config)
    output = capsys.readouterr().out
    assert "predict: 10 images, " in output
    assert "(2 shards were finished before)" in output
    assert contents(output_dir) == contents(whole)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"store_top_k": 2}, "store_top_k=0, got 2"),
        ({"total_replicas": 2}, "total_replicas=1, got 2"),
        ({"use_averages": True}, "use_averages=False, got True"),
        ({"checkpoint": "other"}, r"predict_ckpt_path='model.ckpt-\d+ \(\w{12}\)', got 'model.ckpt-\d+ \(\w{12}\)'"),
    ],
)
def test_labels_made_otherwise_are_not_taken_for_finished(folder, whole, tmp_path, change, named):
    config = config_for(folder, whole)
    if "checkpoint" in change:
        source = reading.resolve(config.checkpoint, "predict_ckpt_path")
        change = {"checkpoint": str(tmp_path / os.path.basename(source))}
        reader = Reader(source, "predict_ckpt_path")
        writing.write(change["checkpoint"], {name: reader.tensor(name) + 1 for name in reader.shapes})
    before = contents(whole)
    with pytest.raises(UserError, match=rf"^--output_dir: .* was begun with {named}; name another --output_dir"):
        run.predict(dataclasses.replace(config, **change))
    assert contents(whole) == before


def test_shards_missing_anywhere_are_predicted_to_the_same_bytes(folder, whole, tmp_path):
    """Of four shards the first and the third: before, between and after finished ones."""
    output_dir = tmp_path / "out"
    shutil.copytree(whole, output_dir)
    for name in contents(whole):
        if "00000-of" in name or "00002-of" in name:
            (output_dir / name).unlink()
    assert len(contents(output_dir)) == len(contents(whole)) - 4
    assert run.predict(config_for(folder, output_dir)).skipped_shards == 2
    assert contents(output_dir) == contents(whole)


def test_a_count_file_without_a_count(folder, tmp_path):
    config = config_for(folder, tmp_path)
    count = pathlib.Path(find_shards(config)[0].count_file)
    count.write_text("five")
    with pytest.raises(
        UserError, match=re.escape("got 'five', expected {\"image_num\": n}; remove it, then its shard")
    ):
        run.predict(config)
    assert count.read_text() == "five"


def test_workers_of_tf_config_share_the_shards_without_talking_to_each_other(folder, whole, tmp_path, monkeypatch):
    """Each runs when the one before has ended, and nobody listens at their addresses: one that waited would not end."""
    output_dir = tmp_path / "out"
    cluster = {"chief": ["127.0.0.1:9"], "worker": ["127.0.0.1:10", "127.0.0.1:11"]}
    counts = []
    for kind, index in [("worker", 1), ("chief", 0), ("worker", 0)]:
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}))
        counts.append(run.predict(config_for(folder, output_dir)).images)
    assert counts == [5, 10, 5]
    assert list(contents(output_dir)) == list(contents(whole))
    np.testing.assert_allclose(labels(output_dir), labels(whole), rtol=1e-4, atol=1e-6)


def test_replicas_of_each_shard_give_what_one_gives(folder, whole, tmp_path):
    for worker in range(3):
        run.predict(dataclasses.replace(config_for(folder, tmp_path), total_replicas=3, worker_id=worker))
    assert len(contents(tmp_path)) == 2 * 3 * SHARDS + 1  # and the settings
    np.testing.assert_allclose(labels(tmp_path), labels(whole), rtol=1e-4, atol=1e-6)


def test_two_devices_give_what_one_gives(folder, whole, tmp_path):
    """One half of each shard is predicted here, the other on two devices."""
    here, there = (
        dataclasses.replace(config_for(folder, tmp_path / "out"), total_replicas=2, worker_id=worker)
        for worker in range(2)
    )
    run.predict(here)
    status, said = run_worker(there, tmp_path, "--devices=2")
    assert status == 0, said
    np.testing.assert_allclose(labels(tmp_path / "out"), labels(whole), rtol=1e-4, atol=1e-6)


def test_a_noised_teacher_says_the_same_of_an_image_however_the_work_is_shared(folder, whole, tmp_path):
    """Another batch size, three workers, two shards of all images in another order: labels follow from seed and image."""
    noise = TeacherNoise(AugmentConfig(magnitude=5), True, seed=3)
    base = dataclasses.replace(config_for(folder, ""), noise=noise, model=noisy(model_config()))

    def predicted(name, **changes):
        run.predict(dataclasses.replace(base, output_dir=str(tmp_path / name), **changes))
        return tmp_path / name

    together = labels(predicted("together"))
    for worker in range(3):
        predicted("shared", worker_id=worker, total_replicas=3, batch_size=4)
    np.testing.assert_allclose(labels(tmp_path / "shared"), together, rtol=1e-4, atol=1e-6)
    examples = [
        example
        for shard in range(SHARDS)
        for example in read_shard(str(folder / "images" / shard_name("train", shard, SHARDS)))
    ]
    write_shard(str(tmp_path / "turned" / shard_name("train", 0, 1)), examples[::-1])
    turned = predicted("out", input_dir=str(tmp_path / "turned"), num_shards=1)
    backwards = read_predictions(str(turned), "train-00000-of-00001", 7)
    assert backwards is not None
    np.testing.assert_allclose(backwards[::-1], together, rtol=1e-4, atol=1e-6)
    other = labels(predicted("other", noise=dataclasses.replace(noise, seed=4)))
    quiet = labels(predicted("quiet", noise=None))
    assert np.mean(np.abs(other - together).max(1) > 1e-4) > 0.9
    assert np.mean(np.abs(quiet - together).max(1) > 1e-4) > 0.9
    np.testing.assert_allclose(quiet, labels(whole), rtol=1e-4, atol=1e-6)


def noisy(model):
    return dataclasses.replace(model, dropout_rate=0.5, stochastic_depth_rate=0.5)


@pytest.mark.parametrize(("replicas", "hosts"), [(1, 1), (4, 1), (4, 2)])
def test_hosts_share_every_step(folder, replicas, hosts):
    files = shards.find_shards(str(folder / "images"), "train-*", "unlabel_data_dir")
    seen = []
    for host in range(hosts):
        batches = prediction.prediction_stream(
            files, PIXELS, True, BATCH, (0, 1), replicas=replicas, pipeline=Pipeline(host, hosts)
        )
        own = list(batches.as_numpy_iterator())
        steps = -(-SHARDS * IN_A_SHARD // (BATCH * replicas))
        assert len(own) == steps * replicas // hosts
        seen += [
            (int(file), int(number))
            for batch in own
            for file, number, weight in zip(batch["file"], batch["number"], batch["weight"])
            if weight
        ]
    assert sorted(seen) == [(shard, number) for shard in range(SHARDS) for number in range(IN_A_SHARD)]


@pytest.mark.parametrize("finished", [[2, 0, 0], [0, 3, 1], [BATCH * 4 + 1, 0, BATCH * 2]])
def test_images_stand_where_they_would_have_stood(folder, finished):
    """Each file begins in its step after as many places as finished images would have taken."""
    files = shards.find_shards(str(folder / "images"), "train-*", "unlabel_data_dir")[:3]
    stream = prediction.prediction_stream(files, PIXELS, True, BATCH, (0, 1), replicas=2, finished_before=finished)
    order = [int(number) for batch in stream.as_numpy_iterator() for number in batch["file"] * 100 + batch["number"]]
    step, place = 2 * BATCH, 0
    for file, before in enumerate(finished):
        place += before
        for number in range(IN_A_SHARD):
            assert order.index(100 * file + number) % step == place % step
            place += 1


def test_an_input_file_that_vanishes_is_named_and_finished_shards_stay(folder, tmp_path, monkeypatch):
    images = tmp_path / "images"
    images.mkdir()
    for name in os.listdir(folder / "images"):
        os.link(folder / "images" / name, images / name)
    output_dir = tmp_path / "out"
    config = dataclasses.replace(config_for(folder, output_dir), input_dir=str(images))
    vanishing = images / shard_name("train", 3, SHARDS)
    expected = run.expected_images

    def count_then_remove(*values):
        total = expected(*values)
        vanishing.unlink()
        return total

    monkeypatch.setattr(run, "expected_images", count_then_remove)
    with pytest.raises(
        UserError, match=r"train-00003-of-00004: the file is gone; put it back and run the same command"
    ):
        run.predict(config)
    monkeypatch.undo()
    assert not any(is_temporary(name) for name in os.listdir(output_dir))
    os.link(folder / "images" / vanishing.name, vanishing)
    summary = run.predict(config)
    assert summary.images + IN_A_SHARD * summary.skipped_shards == SHARDS * IN_A_SHARD


def test_a_shard_that_is_cut_short_is_left_out_from_there_on_if_asked(folder, tmp_path, capsys):
    images = tmp_path / "images"
    shutil.copytree(folder / "images", images)
    cut = images / shard_name("train", 2, SHARDS)
    content = cut.read_bytes()
    cut.write_bytes(content[: offset_of(str(cut), 3) + 40])
    config = dataclasses.replace(config_for(folder, tmp_path / "out"), input_dir=str(images))
    with pytest.raises(UserError, match=r"train-00002-of-00004: record 3 at byte \d+ is truncated or corrupt"):
        run.predict(config)
    summary = run.predict(dataclasses.replace(config, skip_corrupt_records=True))
    assert summary.images == SHARDS * IN_A_SHARD - 2
    assert "leaves out the rest of 1 corrupt shard, the first in" in capsys.readouterr().out
    assert len(list(read_shard(str(tmp_path / "out" / "train-info-00002-of-00004-00000")))) == 3


def test_images_that_cannot_be_decoded_are_counted_apart(folder, tmp_path, capsys):
    images = tmp_path / "images"
    shutil.copytree(folder / "images", images)
    one = str(images / shard_name("train", 1, SHARDS))
    examples = list(read_shard(one))
    write_shard(one, [examples[0], *[unlabeled_example(b"no image")] * 2, *examples[3:]])
    config = dataclasses.replace(config_for(folder, tmp_path / "out"), input_dir=str(images), skip_corrupt_records=True)
    summary = run.predict(config)
    assert (summary.images, summary.left_out) == (SHARDS * IN_A_SHARD - 2, 2)
    assert " s lost to input (2 images were left out)\n" in capsys.readouterr().out
    # One prediction for each record all the same, which is how balance finds its image.
    assert len(list(read_shard(str(tmp_path / "out" / "train-info-00001-of-00004-00000")))) == IN_A_SHARD


def test_the_network_knows_how_many_images_all_shards_hold_whatever_is_left_to_do(folder, tmp_path):
    counts = []

    def plain(count_up_to):
        counts.append(count_up_to(1000))
        return Ops()

    fast = Fast(inference=plain)
    config = config_for(folder, tmp_path / "out")
    run.predict(config, fast)
    (tmp_path / "out" / prediction_count_name(1, SHARDS, 0)).unlink()
    run.predict(config, fast)
    assert counts == [SHARDS * IN_A_SHARD] * 2


def test_a_full_disk_is_one_line_and_leaves_finished_shards_whole(folder, whole, tmp_path, monkeypatch):
    output_dir = tmp_path / "out"
    config = config_for(folder, output_dir)
    beside, name = files.temporary_beside, prediction_name("train", 1, SHARDS, 0)

    def on_a_full_device(path):
        temporary = beside(path)
        if os.path.basename(path) == name:
            os.symlink("/dev/full", temporary)
        return temporary

    monkeypatch.setattr(files, "temporary_beside", on_a_full_device)
    with pytest.raises(UserError) as error:
        run.predict(config)
    assert str(error.value) == (
        f"--output_dir: cannot write {output_dir}/train-info-00001-of-00004-00000: No space left on device; make room or "
        "name another folder, and run the same command again"
    )
    finished = {name: text for name, text in contents(whole).items() if "00000-of-00004-00000" in name}
    assert contents(output_dir) == {**finished, SETTINGS_FILE: contents(whole)[SETTINGS_FILE]}


def test_missing_and_doubled_shards_are_said_with_the_flag_that_gave_them(folder, tmp_path):
    config = dataclasses.replace(config_for(folder, tmp_path / "out"), input_flag="label_data_dir")
    with pytest.raises(UserError, match=r"^--label_data_dir: no file nowhere/train-00000-of-00004; check --num_shards"):
        run.predict(dataclasses.replace(config, input_dir="nowhere"))
    again = tmp_path / "again"
    again.mkdir()
    name = shard_name("train", 2, SHARDS)
    os.link(folder / "images" / name, again / name)
    with pytest.raises(UserError) as error:
        run.predict(dataclasses.replace(config, input_dir=f"{folder}/images;{again}"))
    assert str(error.value) == (
        f"--label_data_dir: {again}/{name} and {folder}/images/{name} are the same shard; name only one of the directories"
    )
    for place in ("one", "other"):
        write_shard(str(tmp_path / place / "train-0-00000-of-00001"), [])
    balanced = dataclasses.replace(config, reassign_label=True, input_dir=f"{tmp_path}/one;{tmp_path}/other")
    with pytest.raises(UserError, match=r"/other/train-0-\S+ and \S+/one/train-0-\S+ are the same shard"):
        find_shards(balanced)


@pytest.mark.parametrize("below", ["", "out"])
def test_a_file_in_the_way_of_the_output_is_one_line(folder, tmp_path, below):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(UserError, match=r"^--output_dir: cannot write .*file.*; make room or name another folder"):
        run.predict(config_for(folder, blocked / below))


def test_a_tf_config_that_says_nothing_of_this_process_is_one_line(monkeypatch):
    for text in ("{", '{"cluster": {"worker": ["a:1", "b:1"]}}', '{"cluster": {"worker": ["a:1", "b:1"]}, "task": 3}'):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(UserError, match=r"^TF_CONFIG: got \{.*, expected .* with one of the workers listed$"):
            devices.place_in_cluster()
    monkeypatch.setenv("TF_CONFIG", "")
    assert devices.place_in_cluster() == Pipeline(0, 1)
