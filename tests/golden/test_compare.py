from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

from checkpoints.names import AVERAGE_SUFFIX, SQUARES_SUFFIX
from checkpoints.reading import Reader
from efficientnet.model import EfficientNet
from runtime.errors import UserError
from tests.efficientnet.tiny import images, tiny
from tests.golden import compare_trajectory
from tests.golden.checks import Checks
from tests.golden.compare import compare, kind_of, main, read
from training.state import TrainingState

FOLDER = os.path.dirname(__file__)
RATES = os.path.join(FOLDER, "learning_rate.json")
RUN = os.path.join(FOLDER, "trajectory", "hard_offline.npz")

# The release's own arrays, where somebody has them: NOISY_STUDENT_GOLDEN=/path/to/golden pytest tests/golden
FULL = os.environ.get("NOISY_STUDENT_GOLDEN", "")
FULL_FILES = sorted(str(path) for path in Path(FULL).rglob("*") if path.suffix in (".npz", ".json")) if FULL else []


@pytest.mark.skipif(not FULL, reason="NOISY_STUDENT_GOLDEN names no folder")
@pytest.mark.parametrize("path", FULL_FILES)
def test_a_whole_file_of_the_release_agrees(path: str) -> None:
    result = compare(path)
    assert result["ok"], result


# --- the tool -------------------------------------------------------------------------------------------------------


def test_a_file_that_agrees_prints_one_line_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([RATES]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert (result["file"], result["kind"], result["ok"]) == (RATES, "learning_rate", True)
    deviation = result["deviations"]["learning_rate"]
    assert 0 <= deviation["largest"] <= deviation["tolerance"] == 1e-6
    assert deviation["where"].startswith("table ")


def test_a_file_that_deviates_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = read(RATES)
    tables[2]["learning_rate"][3] *= 1.00001
    path = tmp_path / "rates.json"
    path.write_text(json.dumps(tables))
    assert main([str(path), RATES]) == 1
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["ok"], second["ok"]) == (False, True)
    where = f"table 2, step {tables[2]['steps'][3]}"
    assert first["deviations"]["learning_rate"]["where"] == where
    assert first["deviations"]["learning_rate"]["largest"] == pytest.approx(1e-5, rel=0.05)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("missing.npz", None, "cannot be read: "),
        ("text.json", b"{", "cannot be read: "),
        ("cut.npz", b"PK\x03\x04 not a zip", "cannot be read: "),
        (
            "other.json",
            b'{"a": 1}',
            "of no known kind: expected variables, learning rates, images, corruptions, attacks, robustness scores or a "
            "trajectory",
        ),
        ("rates.json", b'[{"steps": [1], "learning_rate": [1]}]', "is no whole learning_rate file: KeyError: 'flags'"),
    ],
)
def test_what_cannot_be_compared_is_named_and_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: Optional[bytes], expected: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert main([str(path), RATES]) == 2
    output = capsys.readouterr()
    (error,) = output.err.splitlines()
    assert error.startswith(f"error: {path}: {expected}")
    assert len(output.out.splitlines()) == 1


def test_a_corrupt_trajectory_is_named(tmp_path: Path) -> None:
    content = bytearray(Path(RUN).read_bytes())
    content[len(content) // 2] ^= 0xFF
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{path}: cannot be read: "):
        compare(str(path))


def test_a_trajectory_without_its_first_weights_is_named(tmp_path: Path) -> None:
    arrays = read(RUN)
    del arrays["init/efficientnet-b0/stem/conv2d/kernel"]
    path = tmp_path / "run.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=rf"^{path}: a trajectory without init/efficientnet-b0/stem/conv2d/kernel$"):
        compare(str(path))


def test_a_flag_that_nobody_knows_is_named(tmp_path: Path) -> None:
    arrays = {**read(RUN), "flags": np.array(json.dumps(["--no_such_flag=1"]))}
    path = tmp_path / "run.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=rf"^{path}: flags of the file: Unknown command line flag 'no_such_flag'"):
        compare(str(path))


def test_a_run_s_checkpoint_stands_for_its_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{tmp_path}/run.npz: cannot be read: "):
        compare(str(tmp_path / "run" / "final.ckpt.index"))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"flags": 0, "history/train/lr": 0, "init/x": 0, "final/x": 0}, "trajectory"),
        ({"jpeg/a.jpg": 0, "eval/a.jpg/224": 0}, "preprocess"),
        ({"image/noise": 0, "Rotate/3/pos/noise": 0}, "randaugment"),
        ({"sequences": [], "calibration": []}, "robustness_metrics"),
        ({"flip_tables": []}, "robustness_metrics"),
        ({"input/32/0": 0, "contrast/32/1/0": 0}, "corruptions"),
        ({"input/32/0": 0, "p/rotate/32/frames": 0}, "corruptions"),
        ({"image": 0, "label": 0, "ema/clean/gradient": 0}, "attacks"),
        ({"efficientnet-b0": {"params": 1, "variables": []}}, "variables"),
        ([{"flags": {}, "steps": [], "learning_rate": []}], "learning_rate"),
        ([], None),
        ({}, None),
        ({"image": 0}, None),
        (3, None),
    ],
)
def test_kinds_are_found_from_the_content(content: Any, kind: Optional[str]) -> None:
    assert kind_of(content) == kind


def test_robustness_scores_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = os.path.join(FOLDER, "metrics.json")
    tables = read(path)
    tables["flip_tables"][1]["mfr"] += 1e-6
    deviating, broken = tmp_path / "deviating.json", tmp_path / "broken.json"
    deviating.write_text(json.dumps(tables))
    del tables["corruption_tables"][0]["reference_errors"]["fog"]
    broken.write_text(json.dumps(tables))
    assert main([path, str(deviating), str(broken)]) == 2
    output = capsys.readouterr()
    first, second = (json.loads(line) for line in output.out.splitlines())
    assert (first["kind"], first["ok"], second["ok"]) == ("robustness_metrics", True, False)
    assert second["deviations"]["mfr"]["where"] == "flip_tables 1"
    assert output.err.startswith(
        f"error: {broken}: CE: got 75 of the 70 cells (corruption and severity), expected each"
    )


# --- how trajectories are compared ----------------------------------------------------------------------------------


def _history(**changes: Any) -> dict[str, np.ndarray]:
    values = {"train/lr": [0.0, 0.1], "lab/loss": [2.0, 1.0], "train/data_loss": [2.0, 1.0], "train/loss": [2.5, 1.5]}
    return {f"history/{name}": np.array(value) for name, value in {**values, **changes}.items()}


OURS = [
    {"learning_rate": 0.0, "labeled_loss": 2.0, "data_loss": 2.0, "loss": 2.5},
    {"learning_rate": 0.1, "labeled_loss": 1.0, "data_loss": 1.0, "loss": 1.5},
]


def _compared(arrays: dict[str, np.ndarray], *, noise: bool = False, teacher: bool = False) -> dict[str, Any]:
    checks = Checks()
    compare_trajectory.compare_history(OURS, arrays, checks, noise=noise, teacher=teacher)
    return checks.report()


def test_a_loss_is_compared_at_every_step() -> None:
    assert _compared(_history())["ok"]
    result = _compared(_history(**{"lab/loss": [2.0, 1.001]}))
    assert not result["ok"]
    assert result["deviations"]["labeled_loss"] == {
        "largest": pytest.approx(1e-3, rel=0.01),
        "tolerance": 1e-4,
        "where": "step 1",
    }


def test_a_constant_of_the_teacher_s_weights_is_left_out() -> None:
    shifted = _history(**{"train/loss": [2.6, 1.6]})
    assert not _compared(shifted)["ok"]
    assert _compared(shifted, teacher=True)["ok"]
    assert not _compared(_history(**{"train/loss": [2.6, 1.61]}), teacher=True)["ok"]


def test_of_a_noisy_run_only_the_rates_count() -> None:
    assert _compared(_history(**{"lab/loss": [9.0, 9.0]}), noise=True)["ok"]
    assert not _compared(_history(**{"train/lr": [0.0, 0.2]}), noise=True)["ok"]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_not_a_number_never_agrees(wrong: float) -> None:
    result = _compared(_history(**{"lab/loss": [2.0, wrong]}))
    assert not result["ok"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.fixture(scope="module")
def frozen() -> TrainingState:
    return TrainingState(EfficientNet(tiny(fix_layer_num=0)))


def _final(state: TrainingState, **changes: Any) -> dict[str, Any]:
    theirs = {name: variable.numpy() for name, variable in state.named_variables().items()}
    theirs.update(changes)
    checks = Checks()
    arrays = {f"final/{name}": value for name, value in theirs.items() if value is not None}
    compare_trajectory.compare_final(state, arrays, checks)
    return checks.report()


def test_logits_of_weights_and_averages_take_one_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow warns of a network that is traced, or called without a graph, again for each."""
    batch, arrays = images(3), {}
    for seed, (quantity, suffix) in enumerate([("raw_logits", ""), ("ema_logits", AVERAGE_SUFFIX)]):
        network = EfficientNet(tiny(), seed=seed)
        arrays[f"eval/{quantity}"] = network(batch).numpy()
        variables = network.named_variables().items()
        arrays.update({f"final/{name}{suffix}": variable.numpy() for name, variable in variables})
    calls, call = [], EfficientNet.call

    def counted(self: EfficientNet, images: Any, forward: Any = None) -> Any:  # Keras reads the signature
        calls.append(images.shape)
        return call(self, images, forward)

    monkeypatch.setattr(EfficientNet, "call", counted)
    inference, checks = compare_trajectory.Inference(tiny(), batch), Checks()
    compare_trajectory.check_logits(arrays, inference, checks)
    assert checks.report()["ok"]
    assert sorted(checks.worst) == ["ema_logits", "raw_logits"]
    assert calls == [(3, 16, 16, 3)]


STEM = "efficientnet-b0/stem/conv2d/kernel"
MEAN = "efficientnet-b0/stem/tpu_batch_normalization/moving_mean"


def test_a_frozen_statistic_may_have_an_average_with_the_release(frozen: TrainingState) -> None:
    assert _final(frozen)["ok"]
    assert _final(frozen, **{MEAN + AVERAGE_SUFFIX: np.zeros(8, np.float32)})["ok"]
    moved = _final(frozen, **{MEAN + AVERAGE_SUFFIX: np.ones(8, np.float32)})
    assert moved["deviations"]["final_averages"]["where"] == MEAN + AVERAGE_SUFFIX
    assert not moved["ok"]


def test_names_must_be_the_same_on_both_sides(frozen: TrainingState) -> None:
    kernel = frozen.named_variables()[STEM].numpy()
    trained = _final(frozen, **{STEM + SQUARES_SUFFIX: np.ones_like(kernel)})
    assert trained["deviations"]["final"]["where"] == f"{STEM}{SQUARES_SUFFIX} is not in ours"
    gone = _final(frozen, **{STEM: None})
    assert gone["deviations"]["final"] == {"largest": "inf", "tolerance": 0.0, "where": f"{STEM} is ours alone"}
    reshaped = _final(frozen, **{STEM: kernel[:1]})
    assert "shape [3, 3, 3, 8], expected [1, 3, 3, 8]" in reshaped["deviations"]["final_weights"]["where"]
    teacher = _final(frozen, **{f"teacher_model/{STEM}": kernel})
    assert teacher["ok"]


def test_a_weight_may_deviate_by_a_thousandth_of_the_largest(frozen: TrainingState) -> None:
    kernel = frozen.named_variables()[STEM].numpy()
    largest = np.abs(kernel).max()
    assert _final(frozen, **{STEM: kernel + 0.9e-3 * largest})["ok"]
    assert not _final(frozen, **{STEM: kernel + 1.2e-3 * largest})["ok"]


FLAGS = [
    "--use_tpu=False",
    "--use_bfloat16=False",
    "--dropout_rate=0",
    "--stochastic_depth_rate=0",
    "--train_batch_size=4",
    "--num_train_images=16",
    "--train_steps=30",
    "--task_name=imagenet",
    "--num_label_classes=7",
    "--width_coefficient=0.25",
    "--depth_coefficient=0.1",
    "--model_name=efficientnet-b2",
]


def _config(tmp_path: Path, *flags: str, **arrays: Any) -> Any:
    named = {
        "flags": np.array(json.dumps([*FLAGS, *flags])),
        **arrays,
    }
    return compare_trajectory.train_config(named, str(tmp_path / "none"), str(tmp_path))


def test_a_run_s_flags_become_a_training_s_config(tmp_path: Path) -> None:
    config = _config(
        tmp_path,
        "--fix_layer_num=2",
        "--train_ratio=2",
        "--train_last_step_num=6",
        "--final_base_lr=0.01",
        "--moving_average_decay=0.99",
        "--label_smoothing=0.2",
        "--model_dir=gs://bucket/model",
        "--init_model",
        "--init_model_path=/elsewhere/model.ckpt",
    )
    assert (config.model.name, config.model.num_classes, config.model.fix_layer_num) == ("efficientnet-b2", 7, 2)
    assert config.data.task.num_classes == 7
    assert config.model.mean == (0.485, 0.456, 0.406)
    assert (config.optimizer.train_steps, config.optimizer.steps_to_train) == (60, 12)
    assert (config.optimizer.final_base_lr, config.optimizer.moving_average_decay) == (0.01, 0.99)
    assert config.optimizer.label_smoothing == 0.2
    assert config.model_dir == f"{tmp_path}/model"
    assert (config.teacher, config.init_path, config.evaluation) == (None, "", None)


def test_a_teacher_without_a_checkpoint_is_written_from_the_file(tmp_path: Path) -> None:
    kernel = np.ones(3, np.float32)
    flags = ("--teacher_model_name=efficientnet-b1", "--teacher_softmax_temp=0.5", "--unlabel_ratio=1.5")
    arrays = {"batch/0/unl_probs": np.zeros([6, 7]), "init/teacher_model/efficientnet-b1/x": kernel}
    config = _config(tmp_path, *flags, **arrays)
    assert (config.teacher.name, config.teacher.num_classes) == ("efficientnet-b1", 7)
    assert (config.optimizer.unlabel_ratio, config.optimizer.teacher_softmax_temp) == (1.5, 0.5)
    reader = Reader(config.teacher_path, "teacher_model_path")
    np.testing.assert_array_equal(reader.tensor("efficientnet-b1/x" + AVERAGE_SUFFIX), kernel)
    with pytest.raises(
        UserError, match=r"neither init/teacher_model/... in the file nor .*teacher.ckpt.index beside it"
    ):
        _config(tmp_path, *flags)


def test_batches_are_cut_into_labeled_and_unlabeled_images(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {}
    for index in range(3):
        arrays[f"batch/{index}/image"] = images(10, seed=index).astype(np.uint8)
        arrays[f"batch/{index}/label"] = np.arange(10) % 7
        arrays[f"batch/{index}/unl_probs"] = np.full([6, 7], 1 / 7, np.float32)
        arrays[f"batch/{index}/teacher_image"] = images(10, size=24, seed=index)
    flags = ("--teacher_model_name=efficientnet-b1", "--unlabel_ratio=1.5")
    config = _config(tmp_path, *flags, **arrays, **{"init/teacher_model/efficientnet-b1/x": np.ones(3, np.float32)})
    batches = compare_trajectory.make_batches(arrays, config)
    first, *_, again = (next(batches) for _ in range(4))
    np.testing.assert_array_equal(first["labeled"]["image"], images(10)[:4])
    np.testing.assert_array_equal(first["unlabeled"]["image"], images(10)[4:])
    np.testing.assert_array_equal(first["unlabeled"]["label"], [4, 5, 6, 0, 1, 2])
    np.testing.assert_array_equal(first["unlabeled"]["teacher_image"], images(10, size=24)[4:])
    np.testing.assert_array_equal(again["labeled"]["image"], first["labeled"]["image"])
