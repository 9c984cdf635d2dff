"""The loop killed at random moments (tests/chaos.py; `--kills=20` by hand), and that the comparison sees what differs."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tests import chaos


@pytest.fixture
def run_dir(tmp_path):
    """A folder with one checkpoint, one event file and one text file."""

    def make(name, weight=1.0, text="x"):
        folder = tmp_path / name
        (folder / "teacher").mkdir(parents=True)
        tf.raw_ops.SaveV2(
            prefix=str(folder / "teacher" / "model.ckpt-1"),
            tensor_names=["w"],
            shape_and_slices=[""],
            tensors=[tf.constant([weight, 2.0])],
        )
        (folder / "teacher" / f"events.out.tfevents.{name}").write_text(name)
        (folder / "stats.json").write_text(f"{text} {folder}")
        return folder

    return make


def _differences(one, other):
    return chaos.compare(chaos.contents(str(one)), chaos.contents(str(other)))


def test_runs_that_differ_in_their_place_alone_are_the_same(run_dir):
    assert _differences(run_dir("one"), run_dir("other")) == {"different": [], "missing": [], "left_over": []}


def test_a_changed_weight_a_changed_byte_a_missing_and_a_left_over_file_are_seen(run_dir):
    one, other = run_dir("one"), run_dir("other", weight=1.0000001, text="y")
    (one / "gone").write_text("")
    (other / "stats.json.writing-1").write_text("")
    assert _differences(one, other) == {
        "different": ["stats.json", "teacher/model.ckpt-1.index"],
        "missing": ["gone"],
        "left_over": ["stats.json.writing-1"],
    }


def test_killed_runs_end_as_an_undisturbed_one(tmp_path):
    summary = chaos.chaos(kills=2, seed=1, steps=12, folder=str(tmp_path))
    assert summary["kills"] == 2
    assert summary["same"], summary
