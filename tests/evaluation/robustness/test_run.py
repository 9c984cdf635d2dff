"""`--mode=robustness`: networks with known answers on known pictures, and what a killed run leaves."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Optional

import numpy as np
import pytest

from checkpoints import writing
from checkpoints.names import AVERAGE_SUFFIX, STEP_NAME
from data.config import SplitConfig
from data.prepare.config import PrepareConfig
from data.prepare.run import prepare
from data.records.examples import labeled_example
from data.records.shards import write_shard
from data.tasks import TASKS
from efficientnet.model import EfficientNet
from efficientnet.variants import ModelConfig
from evaluation.robustness import alexnet, published, run
from evaluation.robustness.config import AttackConfig, Network, RobustnessConfig
from evaluation.robustness.corruptions import corrupt, picture_generator
from evaluation.robustness.networks import AnsweringNetwork
from evaluation.robustness.outcomes import shards_of
from evaluation.robustness.scores import corruption_scores
from evaluation.robustness.split import TestSplit
from runtime.config import DeviceConfig
from runtime.errors import UserError, one_line
from runtime.workers import Pipeline
from tests.evaluation.robustness.test_archives import FEW, JPEG, WNIDS, imagenet_c, imagenet_p, save, subset, video

TASK = TASKS["digits"]
MODEL = ModelConfig("efficientnet-b0", 10, TASK.mean, TASK.std, True, width_coefficient=0.1, depth_coefficient=0.1)


def checkpoint(folder: Path, model: ModelConfig, seed: int, says: Optional[int] = None) -> str:
    """A network of random weights, or one that gives every picture the same class."""
    tensors = {name: variable.numpy() for name, variable in EfficientNet(model, seed=seed).named_variables().items()}
    if says is not None:
        tensors["efficientnet-b0/head/dense/bias"] = 1000.0 * np.eye(model.num_classes, dtype=np.float32)[says]
    averages = {name + AVERAGE_SUFFIX: value for name, value in tensors.items()}
    prefix = str(folder / f"model-{seed}" / "model.ckpt-5")
    writing.write(prefix, {**tensors, **averages, STEP_NAME: np.int64(5)})
    return prefix


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RobustnessConfig:
    folder = tmp_path_factory.mktemp("digits")
    prepare(PrepareConfig("digits", str(folder / "data"), 20, num_test_images=21, num_shards=2))
    networks = tuple(
        Network(name, checkpoint(folder, MODEL, seed), MODEL, 16) for seed, name in enumerate(("teacher", "student"))
    )
    return RobustnessConfig(
        "robustness",
        networks,
        ("generated",),
        str(folder / "out"),
        data=SplitConfig(TASK, str(folder / "data" / "labeled")),
        image_size=16,
        every=11,  # two pictures
        num_processes=1,
        eval_batch_size=50,
        device=DeviceConfig(use_tpu=False),
    )


def measure(config: RobustnessConfig) -> dict:
    results = run.measure(config)
    assert results is not None
    return results


def measures(results: dict) -> dict[str, dict]:
    return {
        each["key"]: each for section in results["sections"] for each in (*section["measures"], *section["details"])
    }


@pytest.fixture(scope="module")
def results(config: RobustnessConfig) -> dict:
    return measure(config)


def test_errors_are_those_of_the_networks_own_answers(config: RobustnessConfig, results: dict) -> None:
    assert config.data is not None
    split = TestSplit(config.data)
    pictures = list(split.pictures(range(0, 21, 11), 16, small=True))
    labels = np.array([picture.label for picture in pictures])
    for number, network in enumerate(config.networks):
        model = EfficientNet(MODEL, seed=number)
        errors = {
            name: {
                severity: np.mean(
                    model(
                        np.stack(
                            [
                                corrupt(
                                    each.images[0], name, severity, picture_generator(0, name, severity, each.position)
                                )
                                for each in pictures
                            ]
                        ).astype(np.float32)
                    )
                    .numpy()
                    .argmax(axis=1)
                    != labels
                )
                for severity in range(1, 6)
            }
            for name in ("fog", "snow")
        }
        expected = corruption_scores(errors, errors)
        for name in errors:
            found = measures(results)[f"generated-c-{name}"]["values"][number]["value"]
            assert found == pytest.approx(expected.error[name]), network.name


def test_the_page_has_every_number_with_interval_count_and_definition(config: RobustnessConfig, results: dict) -> None:
    text = (Path(config.output_dir) / "robustness.md").read_text()
    assert json.loads((Path(config.output_dir) / "robustness.json").read_text()) == json.loads(json.dumps(results))
    for measure in measures(results).values():
        assert measure["num_pictures"] == 2
        assert measure["definition"]
        for value in measure["values"]:
            if value["value"] is None:  # relative to a network that never flips
                assert value["interval"] is None
                continue
            low, high = value["interval"] or (value["value"], value["value"])
            assert low - 1e-9 <= value["value"] <= high + 1e-9
    for name in ("strip.png", "generated-c-severity.png", "generated-c-corruptions.png", "generated-p-flips.png"):
        assert f"({name})" in text
        assert (Path(config.output_dir) / name).read_bytes().startswith(b"\x89PNG")
    assert "Only every 11th picture was shown (`--every=11`)" in text
    assert "Frost is drawn by this project" in text
    assert "mCE" not in text.replace("generated mCE", "").replace("a published mCE", "")


def test_a_run_that_was_killed_continues(
    config: RobustnessConfig, results: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = sorted(Path(config.output_dir).glob("outcomes/generated-c-*/*/*.npz"))[-1]
    before = student.read_bytes()
    student.unlink()
    asked = []
    logits = AnsweringNetwork.logits

    def noted(self: AnsweringNetwork, images: np.ndarray) -> np.ndarray:
        asked.append((self.network.name, len(images)))
        return logits(self, images)

    monkeypatch.setattr(AnsweringNetwork, "logits", noted)
    assert measure(config) == results
    assert len({name for name, _ in asked}) == 1
    assert sum(count for _, count in asked) == 2 * 76
    with np.load(student) as found, np.load(io.BytesIO(before)) as expected:
        assert all(np.array_equal(found[name], expected[name]) for name in expected.files)


def test_neither_batches_nor_processes_change_anything(
    config: RobustnessConfig,
    results: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """Two processes share the shards; the last one writes the page."""
    other = dataclasses.replace(config, output_dir=str(tmp_path), eval_batch_size=33)
    monkeypatch.setattr("evaluation.robustness.outcomes.ANSWERS_A_SHARD", 80)  # one picture
    monkeypatch.setattr(run.devices, "place_in_cluster", lambda: Pipeline(0, 2))
    assert run.measure(other) is None
    assert "other processes are still at work" in capsys.readouterr().out
    monkeypatch.setattr(run.devices, "place_in_cluster", lambda: Pipeline(1, 2))
    assert measure(other)["sections"] == results["sections"]


def test_a_damaged_outcome_is_named(config: RobustnessConfig, results: dict, tmp_path: Path) -> None:
    path = next(Path(config.output_dir).glob("outcomes/generated-p-*/*/*.npz"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(UserError) as error:
            run.measure(config)
    finally:
        path.write_bytes(whole)
    assert str(path) in one_line(error.value)
    assert "remove it and run the same command again" in one_line(error.value)


def test_attacks(config: RobustnessConfig) -> None:
    attack = AttackConfig(epsilons=(0.0, 255.0), steps=2)
    found = measures(measure(dataclasses.replace(config, measures=("fgsm", "pgd"), attack=attack)))
    for how in ("fgsm", "pgd"):
        assert found[f"{how}-0"]["values"] == found["fgsm-0"]["values"]
        for clean, attacked in zip(found[f"{how}-0"]["values"], found[f"{how}-255"]["values"]):
            assert attacked["value"] <= clean["value"]


def test_shards_cover_everything_once() -> None:
    shards = shards_of(1003, every=10, shown_each=76)
    assert [position for shard in shards for position in shard.positions] == list(range(0, 1003, 10))
    assert max(len(shard.positions) for shard in shards) * 76 <= 5000
    assert len({shard.name for shard in shards}) == len(shards)
    assert [len(shard.positions) for shard in shards_of(3, 1, 10_000)] == [1, 1, 1]


# --- published sets -------------------------------------------------------------------------------------------------


def published_config(folder: Path, classes: tuple[str, ...], *names: str, says: int = 0) -> RobustnessConfig:
    task = dataclasses.replace(TASKS["imagenet"], num_classes=len(classes), class_names=classes)
    model = ModelConfig("efficientnet-b0", len(classes), width_coefficient=0.1, depth_coefficient=0.1)
    network = Network("network", checkpoint(folder, model, 0, says), model, 32)
    return RobustnessConfig(
        "robustness",
        (network,),
        names,
        str(folder / "out"),
        data=SplitConfig(task, str(folder / "none")),
        image_size=32,
        robustness_dir=str(folder / "sets"),
        eval_batch_size=64,
        device=DeviceConfig(use_tpu=False),
    )


def test_mce_of_a_network_that_says_always_the_same(tmp_path: Path) -> None:
    save(tmp_path / "sets" / "imagenet-c", imagenet_c())
    found = measures(measure(published_config(tmp_path, FEW, "c", says=1)))
    # Two of three classes are wrong in every cell.
    expected = np.mean([100 * (5 * 2 / 3) / sum(row.values()) for row in alexnet.ERRORS.values()])
    assert found["c-mce"]["values"][0]["value"] == pytest.approx(expected)
    assert found["c-accuracy"]["values"][0]["value"] == pytest.approx(100 / 3)
    assert found["c-mce"]["num_pictures"] == 6
    assert "6 of the 50,000 published pictures were shown" in (tmp_path / "out" / "robustness.md").read_text()


def test_no_mce_without_every_cell(tmp_path: Path) -> None:
    files = {name: content for name, content in imagenet_c().items() if not name.startswith("fog/5/")}
    save(tmp_path / "sets" / "imagenet-c", files)
    with pytest.raises(UserError) as error:
        run.measure(published_config(tmp_path, FEW, "c"))
    assert "ImageNet-C lacks 1 of 75 cells: fog 5" in one_line(error.value)


def test_sets_of_some_and_of_all_classes(tmp_path: Path) -> None:
    save(tmp_path / "sets" / "imagenet-a", subset())
    save(
        tmp_path / "sets" / "imagenetv2-matched-frequency-format-val",
        {f"{label}/0.jpeg": JPEG for label in range(1000)},
    )
    save(tmp_path / "sets" / "sketch", {f"{wnid}/0.JPEG": JPEG for wnid in WNIDS})
    found = measures(measure(published_config(tmp_path, WNIDS, "a", "v2", "sketch", says=5)))
    # A's classes here are every fifth one, so class 5 is among them and answers one of 200; of all classes, one of 1,000.
    assert found["a-right"]["values"][0]["value"] == pytest.approx(100 / 200)
    assert found["a-right_among_all"]["values"][0]["value"] == pytest.approx(100 / 200)
    assert found["v2-matched-frequency"]["values"][0]["value"] == pytest.approx(100 / 1000)
    assert found["sketch-accuracy"]["values"][0]["value"] == pytest.approx(100 / 1000)
    assert found["a-calibration"]["values"][0]["value"] > 50  # sure of everything, and wrong
    assert found["a-aurra"]["values"][0]["value"] >= 0


def test_sequences_of_a_network_that_says_always_the_same(tmp_path: Path) -> None:
    save(tmp_path / "sets" / "imagenet-p", imagenet_p(video(), video(41)))
    found = measures(measure(published_config(tmp_path, FEW, "p", says=1)))
    assert found["p-mfr"]["values"][0]["value"] == 0
    assert found["p-accuracy"]["values"][0]["value"] == pytest.approx(100 / 3)
    assert found["p-flips"]["num_pictures"] == 3


def test_pictures_of_no_known_class_are_compared_with_those_of_the_set_s_classes(tmp_path: Path) -> None:
    save(tmp_path / "sets" / "imagenet-o", subset())
    config = published_config(tmp_path, WNIDS, "o", says=5)
    assert config.data is not None
    os.makedirs(config.data.label_data_dir)
    known = [labeled_example(JPEG, label + 1) for label in (0, 5, 10, 11, 12)]
    write_shard(os.path.join(config.data.label_data_dir, "test-00000-of-00001"), known)
    results = measure(config)
    assert "against the 3 validation pictures of the set's 200 classes" in results["sections"][0]["about"][0]
    found = measures(results)
    # It is as sure of the unknown as of the known.
    assert found["o-auroc"]["values"][0] == {"value": 50.0, "interval": [50.0, 50.0]}
    assert found["o-fpr95"]["values"][0]["value"] == 100
    assert found["o-aupr"]["values"][0]["value"] == pytest.approx(100 * 200 / 203)


def test_real_labels_count_only_pictures_that_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "REAL_PICTURES", 4)
    save(tmp_path / "sets" / "val", {f"ILSVRC2012_val_{number:08d}.JPEG": JPEG for number in range(1, 5)})
    (tmp_path / "sets" / "real.json").write_text("[[1, 5], [], [5], [7]]")
    found = measures(measure(published_config(tmp_path, WNIDS, "real", says=5)))["real-accuracy"]
    assert found["num_pictures"] == 3
    assert found["values"][0]["value"] == pytest.approx(100 * 2 / 3)


def test_missing_validation_pictures_are_said(tmp_path: Path) -> None:
    save(tmp_path / "sets" / "val", {"ILSVRC2012_val_00000001.JPEG": JPEG})
    with pytest.raises(
        UserError, match=r"val: holds 1 pictures named ILSVRC2012_val_00000001.JPEG and so on, expected 50,000"
    ):
        published.validation_pictures(str(tmp_path / "sets"))
    os.rename(tmp_path / "sets" / "val", tmp_path / "sets" / "other")
    with pytest.raises(UserError, match="holds no validation pictures, which ReaL's labels are for"):
        published.validation_pictures(str(tmp_path / "sets"))


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    files = subset()
    files["n01440764/0.jpg"] = b"no picture"
    save(tmp_path / "sets" / "imagenet-a", files)
    with pytest.raises(UserError, match=r"imagenet-a/n01440764/0\.jpg: no picture, or cut short; get it again"):
        run.measure(published_config(tmp_path, WNIDS, "a"))
