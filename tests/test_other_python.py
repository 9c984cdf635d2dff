"""This Python and one of the other kind, with another TensorFlow: what one writes, the other reads, and their numbers agree.

NOISY_STUDENT_OTHER_PYTHON is the other interpreter, with its packages; `make test-other` makes one and runs this.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.tasks import TASK_FILE
from pseudo_label.quality import read_predictions
from runtime import work_dir as layout

ROOT = Path(__file__).parents[1]
OTHER = os.environ.get("NOISY_STUDENT_OTHER_PYTHON", "")
PYTHONS = {"this": sys.executable, "other": OTHER}
BOTH_WAYS = [("this", "other"), ("other", "this")]
SHARDS = ("train-00000-of-00002", "train-00001-of-00002")
NUM_CLASSES = 10
NETWORK = ["--width_coefficient=0.1", "--depth_coefficient=0.1", "--use_tpu=False"]
LOOP = [
    "--mode=iterate",
    "--task_name=digits",
    "--num_labeled=20",
    "--num_test_images=60",
    f"--num_shards={len(SHARDS)}",
    *NETWORK,
    "--train_batch_size=8",
    "--train_steps=40",
    "--save_checkpoints_steps=10",
    "--log_step_count_steps=1",
    "--teacher_softmax_temp=1",
    "--augment_name=v1",
    "--randaug_mag=5",
    "--num_image=20",
    "--rounds=efficientnet-b0:2",
]
# What both do with the exports of both: the SavedModel's probabilities, and the .h5 file's logits.
ANSWERS = """
import sys
import numpy as np
import runtime
import tensorflow as tf
from checkpoints.description import Description
from efficientnet.model import EfficientNet
side = Description.beside(sys.argv[3]).image_size
images = np.random.default_rng(0).integers(0, 256, (16, side, side, 3)).astype(np.uint8)
answers = {}
for name, folder in zip(sys.argv[2::2], sys.argv[3::2]):
    serve = tf.saved_model.load(folder + "/saved_model").signatures["serving_default"]
    answers[name] = serve(jpegs=tf.stack([tf.io.encode_jpeg(image) for image in images]))["probabilities"]
    network = EfficientNet(Description.beside(folder).model)
    network.load_weights(folder + "/weights.h5")
    answers[name + "_h5"] = tf.nn.softmax(network(tf.cast(images, tf.float32)))
np.savez(sys.argv[1], **answers)
"""

pytestmark = [
    pytest.mark.more,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not OTHER, reason="NOISY_STUDENT_OTHER_PYTHON names no interpreter: `make test-other` does"),
]


def _environment() -> dict[str, str]:
    return {**os.environ, "NOISY_STUDENT_PROGRESS": "off"}


def _python(which: str, *arguments: object) -> str:
    command = [PYTHONS[which], *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{which}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def _losses(model_dir: str) -> list[float]:
    return [json.loads(line)["loss"] for line in Path(model_dir, layout.METRICS_FILE).read_text().splitlines()]


def _predictions(folder: str) -> np.ndarray:
    """Of the first shard: `--mode=predict` does one shard a call."""
    found = read_predictions(folder, SHARDS[0], NUM_CLASSES)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The work_dir of a whole loop with each Python, left alone."""
    folder = tmp_path_factory.mktemp("loops")
    for which in PYTHONS:
        _python(which, "main.py", *LOOP, f"--work_dir={folder / which}")
    return {which: str(folder / which) for which in PYTHONS}


def test_they_are_of_two_kinds() -> None:
    tensorflow = [
        _python(which, "-c", "import runtime, tensorflow; print(tensorflow.__version__)") for which in PYTHONS
    ]
    assert tensorflow[0].split()[-1] != tensorflow[1].split()[-1]


def test_prepared_records_are_the_same_bytes(loops: dict[str, str]) -> None:
    def contents(work_dir: str) -> dict[str, bytes]:
        files = Path(layout.data_dir(work_dir)).rglob("*")
        return {str(path.relative_to(work_dir)): path.read_bytes() for path in files if path.is_file()}

    ours, theirs = contents(loops["this"]), contents(loops["other"])
    assert any(path.endswith(TASK_FILE) for path in ours)
    assert ours == theirs


def test_the_loops_end_with_a_report_and_begin_with_the_same_losses(loops: dict[str, str]) -> None:
    for work_dir in loops.values():
        assert Path(layout.report_dir(work_dir), layout.REPORT_FILE).exists()
    ours, theirs = (_losses(layout.teacher_dir(work_dir)) for work_dir in loops.values())
    assert len(ours) == len(theirs) == 40
    np.testing.assert_allclose(ours[:4], theirs[:4], rtol=1e-5)


@pytest.mark.parametrize(("writer", "reader"), BOTH_WAYS)
def test_a_checkpoint_of_one_gives_the_same_predictions_in_the_other(
    loops: dict[str, str], writer: str, reader: str, tmp_path: Path
) -> None:
    written = loops[writer]
    _python(
        reader, "main.py", "--mode=predict", f"--predict_ckpt_path={layout.teacher_dir(written)}", "--use_tpu=False",
        f"--unlabel_data_dir={layout.data_dir(written)}/unlabeled", f"--output_dir={tmp_path}", "--task_name=digits",
        f"--num_shards={len(SHARDS)}",
    )  # fmt: skip
    expected = _predictions(layout.predictions_dir(written, 1))
    assert len(expected) > 800
    np.testing.assert_allclose(_predictions(str(tmp_path)), expected, rtol=0, atol=1e-5)


def test_an_export_of_one_answers_the_same_in_the_other(loops: dict[str, str], tmp_path: Path) -> None:
    folders: list[Any] = []
    for which, work_dir in loops.items():
        folders += [which, tmp_path / which]
        _python(
            which, "main.py", "--mode=export", f"--predict_ckpt_path={layout.student_dir(work_dir, 1)}",
            f"--output_dir={tmp_path / which}",
        )  # fmt: skip
    answers = {}
    for which in PYTHONS:
        _python(which, "-c", ANSWERS, tmp_path / f"{which}.npz", *folders)
        answers[which] = dict(np.load(tmp_path / f"{which}.npz"))
    assert sorted(answers["this"]) == ["other", "other_h5", "this", "this_h5"]
    for name, ours in answers["this"].items():
        np.testing.assert_allclose(ours, answers["other"][name], rtol=0, atol=1e-5, err_msg=f"export of {name}")


@pytest.mark.parametrize(("begins", "continues"), BOTH_WAYS)
def test_a_run_begun_on_one_continues_on_the_other(
    loops: dict[str, str], begins: str, continues: str, tmp_path: Path
) -> None:
    """Stopped by SIGTERM in the middle of the teacher's training, which saves what it has."""
    work_dir = str(tmp_path / "run")
    command = [PYTHONS[begins], "main.py", *LOOP, f"--work_dir={work_dir}"]
    metrics = Path(layout.teacher_dir(work_dir), layout.METRICS_FILE)
    with subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (metrics.exists() and metrics.read_text()):  # written with each checkpoint
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 143
    text = metrics.read_text()
    before = text.count("\n")
    assert 10 <= before < 40
    _python(continues, "main.py", *LOOP, f"--work_dir={work_dir}")
    assert metrics.read_text().startswith(text)
    losses, expected = (_losses(layout.teacher_dir(folder)) for folder in (work_dir, loops[begins]))
    assert len(losses) == len(expected)
    # The first step after the stop has the weights that the other Python left.
    np.testing.assert_allclose(losses[: before + 1], expected[: before + 1], rtol=1e-5)
    assert Path(layout.report_dir(work_dir), layout.REPORT_FILE).exists()
