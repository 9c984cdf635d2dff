"""The numbers of a run, computed from what its stages left."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import binomtest

from data.records.examples import prediction_example, prediction_name
from data.records.shards import read_shard, write_shard
from pseudo_label.results import collect, merge_bins
from runtime.errors import UserError
from tests.reporting import synthetic

PIXELS = np.random.default_rng(0).integers(0, 256, [300, 8, 8, 3]).astype(np.uint8)
TRUE = np.random.default_rng(1).integers(0, 10, 300)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = synthetic.write_work_dir(
        tmp_path_factory.mktemp("run"), [synthetic.png(image) for image in PIXELS], TRUE, rounds=2
    )
    return folder, collect(str(folder), 2, (), str(folder / "data"))


def copy_of(written, tmp_path):
    return shutil.copytree(written[0], tmp_path / "run")


def test_accuracies_intervals_and_gains(written):
    _, results = written
    teacher, first, second = results["networks"]
    assert [each["name"] for each in results["networks"]] == ["teacher", "student 1", "student 2"]
    assert teacher["test"]["accuracy"] == 0.8
    assert teacher["test"]["num_images"] == 500
    assert teacher["test"]["interval"] == [
        0.762711,
        0.832715,
    ]  # scipy.stats.binomtest(400, 500).proportion_ci(method="wilson")
    assert teacher["gain"] is None
    assert (first["gain"], second["gain"]) == (0.06, 0.12)
    assert (first["model"], second["model"]) == ("efficientnet-b0", "efficientnet-b1")
    assert [each["step"] for each in first["history"]] == [40, 80, 120, 160, 200]
    assert first["history"][-1]["accuracy"] == 0.86
    assert first["last_logged"]["step"] == 200


def test_pseudo_label_accuracy_by_hand(written):
    folder, results = written
    by_shard = []
    for shard in range(synthetic.NUM_SHARDS):
        workers = []
        for worker in range(synthetic.NUM_WORKERS):
            name = prediction_name("train", shard, synthetic.NUM_SHARDS, worker)
            workers.append(list(read_shard(str(folder / "round1/predictions" / name))))
        # Workers take turns; the shards themselves were dealt out the same way.
        turns = [workers[place % 2][place // 2] for place in range(sum(map(len, workers)))]
        by_shard.append([np.asarray(_floats(record, "probabilities")) for record in turns])
    probabilities = np.stack([by_shard[place % 2][place // 2] for place in range(300)])
    right = probabilities.argmax(axis=1) == TRUE
    confidence = probabilities.max(axis=1)
    sure = confidence >= 0.3

    quality = results["rounds"][0]["quality"]
    assert quality["all"]["images"] == 300
    assert quality["all"]["correct"] == right.sum()
    assert quality["all"]["accuracy"] == pytest.approx(right.mean(), abs=1e-6)
    assert quality["above_threshold"]["images"] == sure.sum()
    assert quality["above_threshold"]["correct"] == right[sure].sum()
    kept = [entry["kept_unique"] for entry in results["rounds"][0]["balance"]["classes"]]
    assert quality["kept"]["images"] == sum(kept)
    for label, entry in enumerate(quality["by_class"]):
        own = probabilities.argmax(axis=1) == label
        assert entry["true_images"] == np.sum(label == TRUE)
        assert entry["all"]["images"] == own.sum()
        assert entry["above_threshold"]["correct"] == right[own & sure].sum()
    bins = quality["by_confidence"]
    assert bins["images"][-1] == (confidence >= 0.95).sum()
    assert bins["correct"][-1] == right[confidence >= 0.95].sum()
    assert sum(bins["images"]) == 300
    share = binomtest(bins["correct"][-1], bins["images"][-1])
    assert bins["accuracy"][-1] == pytest.approx(share.statistic, abs=1e-6)
    assert bins["interval"][-1] == pytest.approx(share.proportion_ci(method="wilson"), abs=1e-6)
    assert bins["images"][0] == 0
    assert (bins["accuracy"][0], bins["interval"][0]) == (None, [0.0, 1.0])


def _floats(record, name):
    return tf.train.Example.FromString(record).features.feature[name].float_list.value


def test_counts_before_and_after_balancing(written):
    folder, results = written
    stats = json.loads((folder / "round1/balanced/stats.json").read_text())
    balance = results["rounds"][0]["balance"]
    assert balance["records"] == 200
    assert balance["unique"] == stats["num_unique"]
    assert sum(balance["confidence_histogram"]["counts"]) == balance["predictions"] == 300
    for entry, listed in zip(balance["classes"], stats["classes"]):
        assert entry["predictions"] >= entry["candidates"] == listed["candidates"] >= entry["kept_unique"]
        assert entry["records"] == 20
    assert sum(entry["predictions"] for entry in balance["classes"]) == 300


def test_true_labels_of_other_images_are_refused(written, tmp_path):
    folder = copy_of(written, tmp_path)
    path = folder / "data/unlabeled/labels_for_report.json"
    truth = json.loads(path.read_text())
    truth["train-00001-of-00002"].append(3)
    path.write_text(json.dumps(truth))
    with pytest.raises(
        UserError, match=r"predictions: got 150 predictions for train-00001-of-00002, but .* lists 151 images"
    ):
        collect(str(folder), 2, (), str(folder / "data"))


def test_a_missing_worker_is_refused(written, tmp_path):
    folder = copy_of(written, tmp_path)
    extra = prediction_name("train", 0, 2, worker=2)
    write_shard(str(folder / "round1/predictions" / extra), [prediction_example(np.ones(10) / 10)])
    with pytest.raises(UserError, match=r"got 75 predictions of train-00000-of-00002 from worker 0, expected 51 of 3"):
        collect(str(folder), 2, (), str(folder / "data"))


def test_bins_are_merged_evenly():
    edges, counts = merge_bins(np.linspace(0, 1, 101), np.arange(100))
    np.testing.assert_allclose(edges, np.linspace(0, 1, 21))
    assert counts[0] == 0 + 1 + 2 + 3 + 4
    assert counts.sum() == np.arange(100).sum()
