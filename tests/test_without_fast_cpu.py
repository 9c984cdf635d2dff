"""The law of fast_cpu/: without the folder everything still runs, and the numbers agree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pseudo_label.quality import read_predictions

ROOT = Path(__file__).parents[1]
LOOP = [
    "--mode=iterate",
    "--task_name=digits",
    "--num_labeled=20",
    "--num_test_images=60",
    "--num_shards=2",
    "--use_tpu=False",
    "--width_coefficient=0.1",
    "--depth_coefficient=0.1",
    "--train_batch_size=8",
    "--train_steps=4",
    "--log_step_count_steps=1",
    "--teacher_softmax_temp=1",
    "--augment_name=v1",
    "--randaug_mag=5",
    "--num_image=20",
    "--rounds=efficientnet-b0:2",
]


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree without the folder and its tests."""
    left_out = shutil.ignore_patterns("fast_cpu", ".*", "runs", "docs", "__pycache__")
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("copy") / "tree", ignore=left_out))


def _python(tree: Path, *arguments: str) -> str:
    environment = {**os.environ, "NOISY_STUDENT_PROGRESS": "off", "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def _losses(model_dir: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (model_dir / "metrics.jsonl").read_text().splitlines()]


def test_the_loop_runs_and_its_numbers_agree(hidden: Path, tmp_path: Path) -> None:
    """Teacher, predict, balance, student."""
    for name, tree in (("plain", hidden), ("fast", ROOT)):
        said = _python(tree, "main.py", *LOOP, f"--work_dir={tmp_path / name}", "--verbosity=1")
        assert f"computed the {name} way" in said
    plain, fast = tmp_path / "plain", tmp_path / "fast"
    for network in ("teacher", "round1/student"):
        np.testing.assert_allclose(_losses(plain / network), _losses(fast / network), rtol=1e-3, err_msg=network)
    for shard in ("train-00000-of-00002", "train-00001-of-00002"):
        ours, theirs = (read_predictions(str(folder / "round1/predictions"), shard, 10) for folder in (plain, fast))
        assert ours is not None
        assert theirs is not None
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert (plain / "report/report.md").exists()


def test_one_training_step_and_randaugment_s_digests(hidden: Path) -> None:
    said = _python(
        hidden, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "replayed or digests or reference_results or bit_equal",
        "tests/training/test_step.py", "tests/data/images/test_randaugment.py",
    )  # fmt: skip
    assert " passed" in said
