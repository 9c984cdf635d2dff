from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import shutil
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from data.records.encoding import filtered_examples
from data.records.examples import (
    CONFIDENCE,
    FILENAME,
    IMAGE,
    LABEL,
    PROBABILITIES,
    filtered_example,
    labeled_example,
    name_of,
    prediction_example,
    prediction_name,
    shard_name,
    unlabeled_example,
)
from data.records.shards import read_shard, write_shard
from pseudo_label.balance import beam
from pseudo_label.balance import plan as balance_plan
from pseudo_label.balance import shards as balance_shards
from pseudo_label.balance.inputs import find_shards
from pseudo_label.balance.plan import (
    Confidences,
    Plan,
    count_ranked,
    find_thresholds,
    fine_histogram,
    merge,
    merge_overviews,
    union,
)
from pseudo_label.balance.run import balance
from pseudo_label.balance.shards import read_confidences, write_balanced
from pseudo_label.config import BalanceConfig
from runtime.errors import UserError
from runtime.files import temporary_beside

CLASSES = 3


def config_for(folder: Path, **changes) -> BalanceConfig:
    values = {
        "title": "balance",
        "input_dir": f"{folder}/images",
        "prediction_dir": f"{folder}/predictions",
        "output_dir": f"{folder}/out",
        "num_classes": CLASSES,
        "num_image": 10,
        "min_threshold": 0.4,
        "num_shards": 3,
    }
    return BalanceConfig(**{**values, **changes})


def write_inputs(folder: Path, shards: list[np.ndarray], workers: int = 1) -> None:
    """Writes one image shard for each float32 [n, C] of probabilities, and its predictions by `workers` workers."""
    for shard, probabilities in enumerate(shards):
        name = shard_name("train", shard, len(shards))
        images = [unlabeled_example(image_bytes(shard, row)) for row in range(len(probabilities))]
        write_shard(f"{folder}/images/{name}", images)
        for worker in range(workers):
            name = prediction_name("train", shard, len(shards), worker)
            write_predictions(f"{folder}/predictions/{name}", probabilities[worker::workers])


def write_predictions(path: str, probabilities: np.ndarray) -> None:
    write_shard(path, (prediction_example(row) for row in probabilities))


def image_bytes(shard: int, row: int) -> bytes:
    return f"image {row} of shard {shard} {'x' * (7 * row % 200)}".encode()


def float32(rows: Any) -> np.ndarray:
    return np.asarray(rows, np.float32)


def random_shards(seed: int = 0, sizes: tuple[int, ...] = (40, 25, 31)) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    # Few distinct values, so that there are ties.
    return [(rng.integers(1, 8, (size, CLASSES)) / 8).astype(np.float32) for size in sizes]


def output_shards(folder: Path, name: str = "out") -> list[list[tf.train.Example]]:
    paths = sorted((folder / name / "data").iterdir())
    return [[tf.train.Example.FromString(record) for record in read_shard(str(path))] for path in paths]


def output_bytes(folder: Path) -> dict[str, bytes]:
    paths = [*sorted((folder / "data").iterdir()), folder / "stats.json"]
    return {path.name: path.read_bytes() for path in paths}


def image_of(example: tf.train.Example) -> bytes:
    return example.features.feature[IMAGE].bytes_list.value[0]


def naive_candidates(shards: list[np.ndarray], config: BalanceConfig) -> dict[int, list[tuple[float, int, int]]]:
    """All candidates of each class, best first, as (confidence, shard, row): one sort over everything."""
    found: dict[int, list[tuple[float, int, int]]] = {}
    for shard, probabilities in enumerate(shards):
        for row, values in enumerate(probabilities):
            confidence = values.max()
            if confidence > 0 and np.float32(config.min_threshold) <= confidence <= np.float32(config.max_prob):
                found.setdefault(int(values.argmax()), []).append((float(confidence), shard, row))
    return {label: sorted(rows, key=lambda row: (-row[0], row[1], row[2])) for label, rows in found.items()}


def check_copies(copies: dict[int, Counter], shards: list[np.ndarray], config: BalanceConfig) -> None:
    """Compares {class: Counter of (shard, row)} with the rule, applied by brute force."""
    expected = naive_candidates(shards, config)
    assert sorted(copies) == sorted(expected)
    for label, ordered in expected.items():
        places = [(shard, row) for _, shard, row in ordered]
        if config.use_all:
            assert copies[label] == Counter(places)
        elif len(places) >= config.num_image:
            assert copies[label] == Counter(places[: config.num_image])
        elif not config.upsample:
            assert copies[label] == Counter(places)
        else:
            low = config.num_image // len(places)
            assert set(copies[label]) == set(places)
            assert sum(copies[label].values()) == config.num_image
            assert set(copies[label].values()) <= {low, low + 1}


def make_plan(parts: list[Confidences], config: BalanceConfig) -> Plan:
    """The steps of the pipeline in a plain loop, the shards in another order."""
    overview = merge_overviews(balance_plan.overview(part, config) for part in parts)
    fine = merge(fine_histogram(part, overview, config) for part in parts)
    thresholds = find_thresholds(fine, overview, config)
    ranked = union(count_ranked(part, thresholds, config) for part in reversed(parts))
    return balance_plan.make_plan(ranked, thresholds, config)


def plan_copies(shards: list[np.ndarray], config: BalanceConfig) -> tuple[dict[int, Counter], Plan]:
    """{class: Counter of (shard, row)} and the plan behind it, without files."""
    dtype = np.min_scalar_type(config.num_classes - 1)
    parts = [Confidences(shard, p.argmax(1).astype(dtype), p.max(1)) for shard, p in enumerate(shards)]
    plan = make_plan(parts, config)
    result: dict[int, Counter] = {}
    for part in parts:
        copies = balance_plan.copies(part, plan, config)
        for row in np.flatnonzero(copies).tolist():
            result.setdefault(int(part.labels[row]), Counter())[part.shard, row] = int(copies[row])
    return result, plan


def balance_without_beam(config: BalanceConfig) -> None:
    files = find_shards(config)
    parts = [read_confidences(one, config) for one in files]
    plan = make_plan(parts, config)
    for one, part in zip(files, parts):
        write_balanced(one, part, plan, config)


@st.composite
def predictions(draw) -> list[np.ndarray]:
    levels = draw(st.sampled_from([2, 5, 1000, 1 << 22]))
    sizes = draw(st.lists(st.integers(0, 30), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return [(rng.integers(0, levels + 1, (size, CLASSES)) / levels).astype(np.float32) for size in sizes]


@given(
    predictions(),
    st.integers(1, 40),
    st.sampled_from([(0.0, 2.0), (0.3, 2.0), (0.5, 2.0), (1.0, 2.0), (0.0, 0.9), (0.3, 0.9), (0.5, 0.9)]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
)
def test_exactly_the_records_of_a_naive_sort(shards, num_image, limits, upsample, use_all, seed):
    min_threshold, max_prob = limits
    config = config_for(
        Path("unused"),
        num_image=num_image,
        min_threshold=min_threshold,
        max_prob=max_prob,
        upsample=upsample,
        use_all=use_all,
        only_get_stats=True,
        seed=seed,
    )
    copies, plan = plan_copies(shards, config)
    check_copies(copies, shards, config)
    for label, ordered in naive_candidates(shards, config).items():
        assert plan.thresholds.candidates[label] == len(ordered)
        assert plan.kept[label] == len(copies[label])
        assert plan.records[label] == sum(copies[label].values())
        assert plan.thresholds.bits.view(np.float32)[label] == ordered[len(copies[label]) - 1][0]


@pytest.mark.parametrize("workers", [1, 3])
def test_output_holds_the_planned_copies(tmp_path, workers):
    shards = random_shards()
    write_inputs(tmp_path, shards, workers)
    config = config_for(tmp_path, num_image=37)
    stats = balance(config)

    found: dict[int, Counter] = {}
    for shard, examples in enumerate(output_shards(tmp_path)):
        for example in examples:
            values = example.features.feature
            row = int(image_of(example).split()[1])
            assert image_of(example) == image_bytes(shard, row)
            probabilities = shards[shard][row]
            np.testing.assert_array_equal(values[PROBABILITIES].float_list.value, probabilities)
            label = probabilities.argmax()
            assert values[LABEL].int64_list.value == [label]
            assert values[CONFIDENCE].float_list.value == [probabilities[label]]
            found.setdefault(int(label), Counter())[shard, row] += 1
    check_copies(found, shards, config)
    assert found == plan_copies(shards, config)[0]
    assert stats["num_records"] == sum(sum(counter.values()) for counter in found.values()) == 37 * CLASSES


def test_same_bytes_on_every_run_and_for_every_number_of_workers(tmp_path, monkeypatch):
    write_inputs(tmp_path, random_shards(), workers=2)
    config = config_for(tmp_path, num_image=37)
    processes = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    # Workers must find these modules wherever the program was started.
    monkeypatch.chdir(tmp_path)
    balance(dataclasses.replace(config, output_dir=f"{tmp_path}/one process"))
    balance(dataclasses.replace(config, output_dir=f"{tmp_path}/processes", beam_args=processes))
    first = output_bytes(tmp_path / "one process")
    assert set(first) == {*(f"train-0-0000{shard}-of-00003" for shard in range(3)), "stats.json"}
    assert output_bytes(tmp_path / "processes") == first

    # One predictor or two, the images of a shard are the same; and so is a plain loop over the shards.
    shutil.rmtree(tmp_path / "predictions")
    write_inputs(tmp_path, random_shards(), workers=1)
    balance_without_beam(dataclasses.replace(config, output_dir=f"{tmp_path}/loop"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "loop" / "data").iterdir()} == {
        name: content for name, content in first.items() if name != "stats.json"
    }


def test_another_seed_draws_and_orders_otherwise(tmp_path):
    write_inputs(tmp_path, random_shards())
    first, second = config_for(tmp_path, num_image=37), config_for(tmp_path, num_image=37, seed=1)
    counted = [
        {label: sum(counter.values()) for label, counter in plan_copies(random_shards(), one)[0].items()}
        for one in (first, second)
    ]
    assert counted[0] == counted[1] == dict.fromkeys(range(CLASSES), 37)
    assert plan_copies(random_shards(), first)[0] != plan_copies(random_shards(), second)[0]
    balance_without_beam(first)
    balance_without_beam(dataclasses.replace(second, output_dir=f"{tmp_path}/second"))
    assert output_shards(tmp_path) != output_shards(tmp_path, "second")


def test_copies_of_an_image_do_not_stand_together(tmp_path):
    write_inputs(tmp_path, [np.tile(float32([0.9, 0.1, 0.0]), (10, 1))])
    balance_without_beam(config_for(tmp_path, num_shards=1, num_image=1000))
    images = [image_of(example) for example in output_shards(tmp_path)[0]]
    assert Counter(Counter(images).values()) == {100: 10}
    neighbours = sum(left == right for left, right in zip(images, images[1:]))
    assert neighbours < 200  # 100 are expected of a random order


def test_windows_bound_memory_and_change_only_the_order(tmp_path, monkeypatch):
    write_inputs(tmp_path, random_shards(), workers=2)
    config = config_for(tmp_path, num_image=37)
    balance_without_beam(dataclasses.replace(config, output_dir=f"{tmp_path}/whole"))
    monkeypatch.setattr(balance_shards, "WINDOW_BYTES", 1000)
    for batch in (1024, 7, 1):
        monkeypatch.setattr(balance_shards, "BATCH", batch)
        balance_without_beam(dataclasses.replace(config, output_dir=f"{tmp_path}/batches of {batch}"))
    whole, windows = output_shards(tmp_path, "whole"), output_shards(tmp_path, "batches of 1024")
    assert whole != windows
    for left, right in zip(whole, windows):
        assert Counter(map(image_of, left)) == Counter(map(image_of, right))
    assert windows == output_shards(tmp_path, "batches of 7") == output_shards(tmp_path, "batches of 1")


@pytest.mark.parametrize("limit", [1, 10, 35, 1000])
def test_windows_hold_little_more_than_their_limit(monkeypatch, limit):
    monkeypatch.setattr(balance_shards, "WINDOW_BYTES", limit)
    batches = [[b"x" * size for size in sizes] for sizes in ([3, 12, 7], [], [1, 1, 1, 30, 8], [9])]
    windows = list(balance_shards._windows(batches))
    assert sum(windows, []) == sum(batches, [])
    for window in windows[:-1]:
        assert sum(map(len, window)) >= limit > sum(map(len, window[:-1]))


def test_memory_is_bounded_by_batch_and_window_not_by_the_shard(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    number, image_size, classes = 2000, 1500, 100
    probabilities = rng.dirichlet(np.ones(classes), number).astype(np.float32)
    images = (unlabeled_example(rng.bytes(image_size)) for _ in range(number))
    write_shard(f"{tmp_path}/images/train-00000-of-00001", images)
    write_predictions(f"{tmp_path}/predictions/train-info-00000-of-00001-00000", probabilities)
    monkeypatch.setattr(balance_shards, "BATCH", 16)
    monkeypatch.setattr(balance_shards, "WINDOW_BYTES", 50_000)
    config = config_for(tmp_path, num_shards=1, num_classes=classes, num_image=100, min_threshold=0.0)
    balance_without_beam(dataclasses.replace(config, output_dir=f"{tmp_path}/warm"))  # fills the caches of layouts
    tracemalloc.start()
    balance_without_beam(config)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number * image_size == 3_000_000
    assert number * classes * 4 == 800_000
    assert peak < 600_000  # the probabilities alone would be 800,000, the images 3,000,000


def test_what_travels_between_the_steps_is_small():
    """A shard costs its number of records times 5 bytes, a histogram no more than its bins, whatever the confidences are."""
    rng = np.random.default_rng(0)
    number, classes = 50_000, 20
    config = config_for(Path("unused"), num_classes=classes, num_image=1000, min_threshold=0.0)
    labels = rng.integers(0, classes, number).astype(np.uint8)
    part = Confidences(0, labels, rng.uniform(0.05, 1.0, number).astype(np.float32))
    overview = balance_plan.overview(part, config)
    fine = fine_histogram(part, overview, config)
    assert len(pickle.dumps(part)) < 5 * number + 1000
    # 0.05 to 1 are five octaves of 128 bins; a threshold bin holds a 128th of an octave.
    assert len(overview.coarse.keys) <= 5 * 128 * classes
    assert len(fine.keys) <= 0.02 * number


def test_statistics(tmp_path):
    # Class 0: three candidates, one too many. Class 1: one. Class 2: none.
    rows = float32([[0.9, 0.1, 0], [0.7, 0.3, 0], [0.7, 0.2, 0.1], [0.05, 0.95, 0], [0.3, 0.3, 0.35], [0.4, 0.6, 0]])
    write_inputs(tmp_path, [rows[:3], rows[3:]])
    config = config_for(tmp_path, num_shards=2, num_image=2, min_threshold=0.65)
    stats = balance(config)
    assert stats == json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["classes"] == [
        {"label": 0, "candidates": 3, "threshold": pytest.approx(0.7), "kept_unique": 2, "records": 2},
        {"label": 1, "candidates": 1, "threshold": pytest.approx(0.95), "kept_unique": 1, "records": 2},
        {"label": 2, "candidates": 0, "threshold": None, "kept_unique": 0, "records": 0},
    ]
    assert {
        key: stats[key] for key in ("num_image", "min_threshold", "num_predictions", "num_records", "num_unique")
    } == {
        "num_image": 2,
        "min_threshold": 0.65,
        "num_predictions": 6,
        "num_records": 4,
        "num_unique": 3,
    }
    histogram = stats["confidence_histogram"]
    assert len(histogram["edges"]) == 21
    assert [sum(row) for row in histogram["per_class"]] == [3, 2, 1]
    assert histogram["per_class"][0][18] == histogram["per_class"][1][19] == histogram["per_class"][2][7] == 1
    # The first tie of class 0 is kept: record 1 of shard 0.
    assert Counter(map(image_of, output_shards(tmp_path)[0])) == {image_bytes(0, 0): 1, image_bytes(0, 1): 1}


def test_threshold_is_compared_in_float32(tmp_path):
    write_inputs(tmp_path, [float32([[0.3, 0.3, 0.3]])])
    config = config_for(tmp_path, num_shards=1, min_threshold=0.3, max_prob=0.3, num_image=1)
    assert balance(config)["num_records"] == 1


def test_an_image_that_was_left_out_is_neither_a_candidate_nor_a_prediction():
    config = config_for(Path("unused"), num_image=5, min_threshold=0.0)
    shards = [float32([[0, 0, 0], [0.2, 0.8, 0], [0.1, 0.9, 0]])]
    copies, plan = plan_copies(shards, config)
    assert list(copies) == [1]
    assert plan.thresholds.candidates.tolist() == [0, 2, 0]
    part = Confidences(0, shards[0].argmax(1).astype(np.uint8), shards[0].max(1))
    assert balance_plan.overview(part, config).report.sum() == 2


def test_only_get_stats_writes_no_shard_and_stops_no_later_run(tmp_path, capsys):
    write_inputs(tmp_path, random_shards())
    config = config_for(tmp_path, only_get_stats=True)
    stats = balance(config)
    assert capsys.readouterr().out == "balance: 30 records of 30 images would be written\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["stats.json"]
    assert stats["only_get_stats"] is True
    full = balance(dataclasses.replace(config, only_get_stats=False, num_image=11))
    assert full["only_get_stats"] is False
    assert full["num_records"] == 33
    assert len(output_shards(tmp_path)) == 3


def test_only_get_stats_without_any_candidate_shows_the_histogram(tmp_path):
    write_inputs(tmp_path, random_shards())
    stats = balance(config_for(tmp_path, only_get_stats=True, min_threshold=1.5))
    assert stats["num_records"] == 0
    assert np.sum(stats["confidence_histogram"]["per_class"]) == stats["num_predictions"] == 96


def test_only_use_num_shards_and_several_directories(tmp_path):
    shards = random_shards()
    write_inputs(tmp_path, shards)
    (tmp_path / "more").mkdir()
    (tmp_path / "images" / "train-00001-of-00003").rename(tmp_path / "more" / "train-00001-of-00003")
    config = config_for(tmp_path, input_dir=f"{tmp_path}/images;{tmp_path}/more", only_use_num_shards=2)
    assert balance(config)["num_predictions"] == len(shards[0]) + len(shards[1])
    assert [path.name for path in sorted((tmp_path / "out" / "data").iterdir())] == [
        "train-0-00000-of-00003",
        "train-0-00001-of-00003",
    ]


def test_finished_run_is_not_repeated(tmp_path, capsys):
    write_inputs(tmp_path, random_shards())
    config = config_for(tmp_path)
    stats = balance(config)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert capsys.readouterr().out == "balance: 30 records of 30 images\n"
    assert balance(dataclasses.replace(config, title="again", beam_args=("--runner=NoSuchRunner",))) == stats
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    assert capsys.readouterr().out == f"again: {tmp_path}/out is balanced already with these settings, nothing to do\n"


def test_interrupted_run_goes_on_with_what_is_missing(tmp_path):
    write_inputs(tmp_path, random_shards())
    config = config_for(tmp_path)
    balance(config)
    complete = output_bytes(tmp_path / "out")
    data = tmp_path / "out" / "data"
    (tmp_path / "out" / "stats.json").unlink()
    (data / "train-0-00001-of-00003").unlink()
    Path(temporary_beside(f"{data}/train-0-00001-of-00003")).write_bytes(b"half a shard")
    kept = (data / "train-0-00000-of-00003").stat().st_mtime_ns
    balance(config)
    assert output_bytes(tmp_path / "out") == complete
    assert (data / "train-0-00000-of-00003").stat().st_mtime_ns == kept


def test_newer_predictions_make_the_output_stale(tmp_path):
    write_inputs(tmp_path, random_shards())
    config = config_for(tmp_path)
    balance(config)
    shutil.rmtree(tmp_path / "predictions")
    write_inputs(tmp_path, random_shards(seed=1))
    balance(config)
    renewed = output_bytes(tmp_path / "out")
    balance(dataclasses.replace(config, output_dir=f"{tmp_path}/fresh"))
    assert renewed == output_bytes(tmp_path / "fresh")


def test_other_settings_do_not_touch_a_folder(tmp_path):
    write_inputs(tmp_path, random_shards())
    config = config_for(tmp_path)
    balance(config)
    before = output_bytes(tmp_path / "out")
    message = "--output_dir: .*/out was begun with num_image=10, got 11; name another --output_dir, or remove this one yourself"
    with pytest.raises(UserError, match=message):
        balance(dataclasses.replace(config, num_image=11))
    with pytest.raises(UserError, match=message):
        balance(dataclasses.replace(config, num_image=11, only_get_stats=True))
    assert output_bytes(tmp_path / "out") == before
    (tmp_path / "out" / "settings.json").unlink()
    with pytest.raises(UserError, match=r"--output_dir: .*/data holds shards but .*settings\.json is missing"):
        balance(config)


def test_settings_that_left_nothing_do_not_bar_the_right_ones(tmp_path):
    write_inputs(tmp_path, random_shards())
    config = config_for(tmp_path)
    with pytest.raises(
        UserError, match=r"--min_threshold: no prediction has a confidence in 1\.5\.\.2\.0; the 96 there are"
    ):
        balance(dataclasses.replace(config, min_threshold=1.5))
    assert not list(tmp_path.glob("out/data/train-*"))
    stats = balance(config)
    assert json.loads((tmp_path / "out/settings.json").read_text())["min_threshold"] == 0.4
    assert stats["num_records"] > 0


def drop(name: str):
    return lambda folder: (folder / name).unlink()


def predict_again(name: str, probabilities):
    return lambda folder: write_predictions(f"{folder}/predictions/{name}", float32(probabilities))


def flip_byte(name: str, offset: int):
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[offset] ^= 1
        (folder / name).write_bytes(bytes(content))

    return change


def cut(name: str, size: int):
    return lambda folder: os.truncate(folder / name, size)


def rewrite(name: str, examples: list[bytes]):
    return lambda folder: write_shard(f"{folder}/{name}", examples)


IMAGES_1 = "images/train-00001-of-00002"
PREDICTIONS_0 = "predictions/train-info-00000-of-00002-00000"
PREDICTIONS_1 = "predictions/train-info-00001-of-00002-00000"
IMAGE_BYTES = 8 + 4 + len(unlabeled_example(image_bytes(1, 0))) + 4
PREDICTION_BYTES = 8 + 4 + len(prediction_example(np.zeros(CLASSES, np.float32))) + 4


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop(IMAGES_1), r"--input_dir: train-00001-of-00002 is missing in .*/images; expected shards 0\.\.1"),
        (
            drop(PREDICTIONS_1),
            r"--prediction_dir: train-info-00001-of-00002-00000 is missing in .*, of 4 \(2 shards, 2 workers\); run predict "
            r"again, with the flags of before and --shard_id=1 --worker_id=0 --total_replicas=2$",
        ),
        (
            drop("predictions/train-info-00001-of-00002-00001"),
            r"train-info-00001-of-00002-00001 is missing in .*; run predict again, .* --shard_id=1 --worker_id=1 --total_",
        ),
        (
            lambda folder: [drop(name)(folder) for name in (PREDICTIONS_0, PREDICTIONS_1)],
            r"train-info-00000-of-00002-00000 and 1 more is missing in .* --shard_id=0,1 --worker_id=0 --total_replicas=2$",
        ),
        (
            predict_again("train-info-00001-of-00002-00000", [[0.9, 0.1, 0]]),
            r"train-info-00001-of-00002-00000: got 1 predictions, expected 2 of the shard's 3 from worker 0 of 2; run predict",
        ),
        (
            rewrite(IMAGES_1, [unlabeled_example(b"x")] * 7),
            r"train-00001-of-00002: got 7 images and 4 predictions \(.*\); expected one prediction an image",
        ),
        (
            rewrite(IMAGES_1, [unlabeled_example(b"x")] * 3),
            r"train-00001-of-00002: got 3 images and 4 predictions",
        ),
        (
            predict_again("train-info-00001-of-00002-00000", [[0.5, 0.5]] * 2),
            r"-00000: record 0: got 2 values of 'probabilities', expected 3; is --num_label_classes that of the teacher\?",
        ),
        (
            predict_again("train-info-00001-of-00002-00000", [[0.5, 0.5, 0], [0.9, np.nan, 0]]),
            r"-00000: record 1: got the probability nan for class 1, expected finite values >= 0",
        ),
        (
            predict_again("train-info-00001-of-00002-00001", [[0.5, 0.5, 0], [0.9, 0, -1]]),
            r"-00001: record 1: got the probability -1\.0 for class 2, expected finite values >= 0",
        ),
        (cut(PREDICTIONS_1, PREDICTION_BYTES + 20), r"-00000: record 1 is truncated or corrupt; write the file again"),
        (cut(PREDICTIONS_1, PREDICTION_BYTES + 5), r"-00000: got 1 predictions, expected 2 of the shard's 3"),
        (flip_byte(PREDICTIONS_1, PREDICTION_BYTES - 6), r"-00000: record 0 is truncated or corrupt"),
        (flip_byte(IMAGES_1, IMAGE_BYTES + 20), r"train-00001-of-00002: record 1 is truncated or corrupt"),
        (rewrite(IMAGES_1, [b"\xff\xff"] * 4), r"train-00001-of-00002: record 0 is not a tf\.train\.Example"),
        (
            rewrite(IMAGES_1, [unlabeled_example(b"x"), *[prediction_example(np.ones(2, np.float32))] * 3]),
            r"train-00001-of-00002: record 1: got 0 values of 'image/encoded', expected 1",
        ),
    ],
)
def test_bad_input_is_named_on_one_line(tmp_path, damage, message):
    write_inputs(tmp_path, [np.tile(float32([0.9, 0.1, 0.0]), (4, 1))] * 2, workers=2)
    damage(tmp_path)
    with pytest.raises(UserError, match=message) as raised:
        balance_without_beam(config_for(tmp_path, num_shards=2))
    assert len(str(raised.value).splitlines()) == 1
    assert not list(tmp_path.glob("out/data/*00001-of*"))


def test_classes_without_a_candidate_are_named(tmp_path, capsys):
    write_inputs(tmp_path, [np.tile(float32([0.9, 0.1, 0.0]), (4, 1))] * 3)
    balance(config_for(tmp_path))
    said = "balance: 10 records of 10 images; 2 of 3 classes have no candidate and so no record: 1, 2\n"
    assert said in capsys.readouterr().out
    balance(config_for(tmp_path, output_dir=f"{tmp_path}/named", label_names=("cat", "猫", "$1_$2")))
    assert "no candidate and so no record: 猫, $1_$2\n" in capsys.readouterr().out
    every = np.eye(3, dtype=np.float32)
    other = tmp_path / "other"
    write_inputs(other, [every] * 3)
    balance(config_for(other, num_image=3))
    assert "balance: 9 records of 9 images\n" in capsys.readouterr().out


def test_where_there_is_no_picture_the_threshold_is_not_to_blame(tmp_path):
    write_inputs(tmp_path, [np.zeros((0, 3), np.float32)] * 3)
    with pytest.raises(UserError, match=r"--input_dir: .*/images holds no picture that a label was predicted for"):
        balance(config_for(tmp_path))
    left_out = tmp_path / "left out"
    write_inputs(left_out, [np.zeros((2, 3), np.float32)] * 3)
    with pytest.raises(UserError, match=r"--input_dir: .*/images holds no picture that a label was predicted for"):
        balance(config_for(left_out))


def test_where_all_are_too_sure_the_limit_above_is_to_blame(tmp_path):
    write_inputs(tmp_path, [np.tile(float32([0.9, 0.1, 0.0]), (4, 1))] * 3)
    with pytest.raises(UserError, match=r"--max_prob: .*; the 12 there are lie in 0\.90\.\.0\.95; raise --max_prob"):
        balance(config_for(tmp_path, max_prob=0.5))


@pytest.mark.parametrize("whole", [0, 3, 5])
def test_images_that_are_cut_short_where_prediction_left_off_are_balanced_up_to_there(tmp_path, whole):
    shards = [random_shards()[0], random_shards()[1][:whole]]
    write_inputs(tmp_path, shards, workers=2)
    config = config_for(tmp_path, num_shards=2)
    balance_without_beam(config)
    images = tmp_path / IMAGES_1
    with images.open("ab") as file:
        file.write(b"the start of a record")
    balance_without_beam(dataclasses.replace(config, output_dir=f"{tmp_path}/cut"))
    assert output_shards(tmp_path, "cut") == output_shards(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_dir": "/nowhere"}, r"--input_dir: no file matches /nowhere/train-\?{5}-of-00003"),
        ({"prediction_dir": "/nowhere"}, r"--prediction_dir: no file matches /nowhere/train-info-\?{5}-of-00003-\?{5}"),
        ({"num_shards": 4}, r"--input_dir: no file matches .*/train-\?{5}-of-00004"),
        (
            {"min_threshold": 1.5},
            r"--min_threshold: no prediction has a confidence in 1\.5\.\.2\.0; .* lie in 0\.10\.\.0\.90; lower --min_threshold",
        ),
    ],
)
def test_bad_settings_are_named(tmp_path, changes, message):
    write_inputs(tmp_path, random_shards())
    with pytest.raises(UserError, match=message):
        balance_without_beam(config_for(tmp_path, **changes))


def test_the_same_shard_in_two_directories(tmp_path):
    write_inputs(tmp_path, random_shards())
    shutil.copytree(tmp_path / "images", tmp_path / "more")
    with pytest.raises(UserError, match=r"--input_dir: .* are the same shard; name only one of the directories"):
        find_shards(config_for(tmp_path, input_dir=f"{tmp_path}/images;{tmp_path}/more"))


def test_unwritable_output(tmp_path):
    write_inputs(tmp_path, random_shards())
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(UserError, match=r"--output_dir: cannot write .*/file/out/data: .*"):
        balance(config_for(tmp_path, output_dir=f"{tmp_path}/file/out"))


def test_errors_in_the_pipeline_are_one_line_and_leave_finished_shards(tmp_path, caplog, capfd):
    write_inputs(tmp_path, random_shards())
    rewrite("images/train-00002-of-00003", [unlabeled_example(b"x")] * 7)(tmp_path)
    with pytest.raises(UserError) as raised:
        balance(config_for(tmp_path))
    assert str(raised.value).startswith(f"{tmp_path}/images/train-00002-of-00003: got 7 images and 31 predictions")
    assert str(raised.value).endswith("expected one prediction an image: run predict for this shard again")
    assert not (tmp_path / "out" / "stats.json").exists()
    assert not list(tmp_path.glob("out/data/*writing*"))
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("beam_args", [(), ("--runner=DirectRunner",)])
def test_the_local_runner_needs_no_download(tmp_path, monkeypatch, beam_args):
    from apache_beam.runners.portability import prism_runner

    def download(*_):
        raise AssertionError("Prism would be downloaded")

    monkeypatch.setattr(prism_runner.PrismRunner, "run_pipeline", download)
    write_inputs(tmp_path, random_shards())
    assert balance(config_for(tmp_path, beam_args=beam_args))["num_records"] == 30


@pytest.mark.parametrize(
    ("beam_args", "large", "workers"),
    [
        ([], False, 1),
        ([], True, 3),  # eight cores, but only three shards
        (["--direct_num_workers=1"], True, 1),
        (["--direct_num_workers=4"], False, 4),
        (["--direct_running_mode=multi_processing"], False, 8),
        (["--direct_running_mode=multi_processing", "--direct_num_workers=2"], False, 2),
    ],
)
def test_number_of_processes(tmp_path, monkeypatch, beam_args, large, workers):
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

    write_inputs(tmp_path, random_shards())
    monkeypatch.setattr(beam.machine, "cores", lambda: 8)
    monkeypatch.setattr(beam, "SMALL_INPUT_BYTES", 1000 if large else 1_000_000)
    options = PipelineOptions(flags=beam_args)
    runner = beam._local_runner(options, beam_args, find_shards(config_for(tmp_path)), "log")
    assert options.view_as(DirectOptions).direct_num_workers == workers
    in_processes = "Subprocess" in type(runner._default_environment).__name__
    assert in_processes == (workers > 1)


def test_errors_of_worker_processes_are_unwrapped():
    wrapped = RuntimeError(
        "Traceback (most recent call last):\n  ...\n"
        "errors.UserError: /a/b: record 3 is broken; write the file again [while running 'read confidences']\n\nDuring..."
    )
    assert str(beam._user_error(wrapped)) == "/a/b: record 3 is broken; write the file again"
    assert beam._user_error(RuntimeError("ValueError: a bug")) is None


@pytest.mark.parametrize("num_classes", [1, 2, 10, 300])
def test_filtered_examples_equal_those_made_one_by_one(num_classes):
    rng = np.random.default_rng(0)
    probabilities = rng.random((200, num_classes), np.float32)
    images = [rng.bytes(int(size)) for size in rng.integers(0, 20000, 200)]
    examples = filtered_examples(images, probabilities)
    for example, image, row in zip(examples, images, probabilities):
        assert tf.train.Example.FromString(example) == tf.train.Example.FromString(filtered_example(image, row))
    features = {
        IMAGE: tf.io.FixedLenFeature([], tf.string),
        PROBABILITIES: tf.io.FixedLenFeature([num_classes], tf.float32),
        LABEL: tf.io.FixedLenFeature([], tf.int64),
        CONFIDENCE: tf.io.FixedLenFeature([], tf.float32),
    }
    parsed = tf.io.parse_example(examples, features)
    np.testing.assert_array_equal(parsed[PROBABILITIES], probabilities)
    np.testing.assert_array_equal(parsed[LABEL], probabilities.argmax(1))
    np.testing.assert_array_equal(parsed[CONFIDENCE], probabilities.max(1))
    assert parsed[IMAGE].numpy().tolist() == images


def test_bytes_of_a_filtered_record():
    """So that shards of an interrupted run go on as they began: image, label, confidence, soft label."""
    dense = filtered_examples([b"IMG"], np.array([[0.25, 0.0, 0.75]], np.float32))
    image = b"\n\x18\n\rimage/encoded\x12\x07\n\x05\n\x03IMG"
    label = b"\n\x0e\n\x05label\x12\x05\x1a\x03\n\x01\x02"
    confidence = b"\n\x10\n\x04prob\x12\x08\x12\x06\n\x04\0\0@?"
    soft_label = b"\n!\n\rprobabilities\x12\x10\x12\x0e\n\x0c\0\0\x80>\0\0\0\0\0\0@?"
    assert dense == [b"\n\x5f" + image + label + confidence + soft_label]


def test_records_with_other_features_or_another_layout_are_read_too(tmp_path):
    """Labeled images as input, and predictions of another writer: what the fast way of reading does not know."""
    shards = random_shards()
    write_inputs(tmp_path, shards)
    config = config_for(tmp_path)
    balance_without_beam(config)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "out" / "data").iterdir()}
    for shard, probabilities in enumerate(shards):
        name = shard_name("train", shard, 3)
        images = [labeled_example(image_bytes(shard, row), 1) for row in range(len(probabilities))]
        write_shard(f"{tmp_path}/images/{name}", images)
        examples = [only_probabilities(row) for row in probabilities]
        write_shard(f"{tmp_path}/predictions/{prediction_name('train', shard, 3, 0)}", examples)
    balance_without_beam(dataclasses.replace(config, output_dir=f"{tmp_path}/other"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "other" / "data").iterdir()} == expected


def test_the_names_of_files_stay_with_their_images(tmp_path):
    shards = random_shards()
    write_inputs(tmp_path, shards)
    config = config_for(tmp_path)
    balance_without_beam(config)
    names = {}
    for shard, probabilities in enumerate(shards):
        images = [image_bytes(shard, row) for row in range(len(probabilities))]
        names.update({image: f"unlabeled/ü {shard}/{row}.jpg".encode() for row, image in enumerate(images) if row % 7})
        records = [unlabeled_example(image, names.get(image, b"")) for image in images]
        write_shard(f"{tmp_path}/images/{shard_name('train', shard, 3)}", records)
    balance_without_beam(dataclasses.replace(config, output_dir=f"{tmp_path}/named"))
    found = 0
    for path in (tmp_path / "named" / "data").iterdir():
        nameless = read_shard(f"{tmp_path}/out/data/{path.name}")
        for record, same in zip(read_shard(str(path)), nameless):
            named, expected = tf.train.Example.FromString(record), tf.train.Example.FromString(same)
            assert name_of(record) == names.get(image_of(expected), b"")
            found += bool(name_of(record))
            named.features.feature.pop(FILENAME, None)
            assert named == expected
    assert found > 20


def only_probabilities(row: np.ndarray) -> bytes:
    feature = {PROBABILITIES: tf.train.Feature(float_list=tf.train.FloatList(value=row))}
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def test_files_of_the_users_own_in_the_output_dir_are_not_written_over(tmp_path):
    write_inputs(tmp_path, random_shards())
    (tmp_path / "out").mkdir()
    for name in ("stats.json", "settings.json"):
        path = tmp_path / "out" / name
        path.write_text('{"mine": 1}')
        with pytest.raises(
            UserError, match=rf"^--output_dir: \S+/out/{name} is there already and was not written here"
        ):
            balance(config_for(tmp_path))
        assert path.read_text() == '{"mine": 1}'
        path.unlink()


@pytest.mark.parametrize(
    ("elements", "got"),
    [
        (
            lambda shards: [*shards, shards[0]],
            r"got 4 shards \(3 different\), 8 predictions and \d+ records, expected 3, 8 and",
        ),
        (lambda shards: shards[:-1], r"got 2 shards \(2 different\), 5 predictions and \d+ records, expected 3, 5 and"),
    ],
)
@pytest.mark.parametrize("only_get_stats", [False, True])
def test_a_runner_that_counts_wrongly_is_found(tmp_path, monkeypatch, elements, got, only_get_stats):
    import apache_beam

    rows = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0]], np.float32)
    write_inputs(tmp_path, [rows, rows[:1].repeat(3, 0), rows[1:]])
    plain = apache_beam.Create
    monkeypatch.setattr(apache_beam, "Create", lambda shards: plain(elements(shards)))
    with pytest.raises(
        UserError, match="--beam_args: the direct runner lost elements or counted some twice: "
    ) as raised:
        balance(config_for(tmp_path, only_get_stats=only_get_stats))
    assert re.search(got, str(raised.value))
    assert "run balance into another --output_dir with another runner" in str(raised.value)
    assert not (tmp_path / "out" / "stats.json").exists()
