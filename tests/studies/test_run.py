"""A study of two arms and one seed, from flags to the answer: what arms share is done once, what is done is not done again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluation.run import right_answers
from flags.build.studies import study_config
from pseudo_label.manifest import Stage
from runtime.errors import UserError
from studies import results, run
from studies.definition import load
from studies.plan import runs
from tests.flags.parsing import parsed

STUDENT = "--model_name=efficientnet-b0\n--unlabel_ratio=2\n--train_steps=4\n--num_image=10\n"
MINE = """
question = "Which noise?"
claim = "Augmentation helps."
source = "us"
[[arms]]
name = "augmented"
student = ["--augment_name=v1"]
[[arms]]
name = "not augmented"
[[arms]]
name = "labels alone"
measured = "labels alone"
student = ["--train_steps=3"]
[[contrasts]]
better = "augmented"
worse = "not augmented"
"""


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "mine.toml").write_text(MINE)
    (folder / "student.flags").write_text(STUDENT)
    return folder, (
        "--mode=study", f"--study={folder / 'mine.toml'}", f"--work_dir={folder / 'run'}", "--seeds=3", "--task_name=digits",
        "--num_labeled=20", "--num_test_images=30", "--train_steps=4", "--train_batch_size=10", "--width_coefficient=0.1",
        "--depth_coefficient=0.1", "--min_threshold=0", f"--rounds=@{folder / 'student.flags'}", "--use_tpu=False",
        "--teacher_softmax_temp=1",
    )  # fmt: skip


def asked(*arguments):
    return study_config(parsed(*arguments))


def counting(monkeypatch):
    """Names of the stages that are run, as they are run."""
    ran = []
    plain = Stage.__getattribute__

    def get(stage, name):
        if name == "run":
            ran.append(plain(stage, "name"))
        return plain(stage, name)

    monkeypatch.setattr(Stage, "__getattribute__", get)
    return ran


def test_what_arms_share_is_done_once_and_what_has_a_result_is_not_done_again(arguments, monkeypatch, capsys):
    folder, given = arguments
    ran = counting(monkeypatch)
    # Killed while the second arm trains.
    train, calls = run._answers, []

    def killed(each):
        calls.append(each.arm)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(each)

    monkeypatch.setattr(run, "_answers", killed)
    with pytest.raises(KeyboardInterrupt):
        run.run(asked(*given))
    assert ran == ["prepare", "teacher", "round1/predict", "round1/balance", "round1/student"]
    monkeypatch.setattr(run, "_answers", train)
    found = run.run(asked(*given))["mine"]
    assert ran[5:] == ["round1/student", "teacher"]
    assert all(set(arm.accuracies) == {3} for arm in found.arms)
    kept = sorted((folder / "run" / "results").iterdir())
    assert len(kept) == 3
    assert json.loads(kept[0].read_text())["versions"]["tensorflow"]

    ran.clear()
    again = run.run(asked(*given))["mine"]
    assert ran == []
    assert again == found
    assert "0 runs to do of 3" in capsys.readouterr().out

    planned = list(runs(load(str(folder / "mine.toml")), parsed(*given), [3], run.Fast()))
    correct, labels = right_answers(planned[0].network)
    stored = results.load(str(folder / "run" / "results"), planned[0])
    assert stored is not None
    assert stored.correct is not None
    assert np.array_equal(stored.correct, correct)
    assert len(labels) == 30
    evaluation = json.loads((folder / "run/seed3/mine/augmented/round1/student/evaluation.json").read_text())
    assert evaluation["correct"] == correct.sum()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("--seeds=1,1", "--seeds: got '1,1', expected different numbers of at least 0"),
        ("--seeds=x", "--seeds: got 'x', expected different numbers"),
        ("--study=nothing", "--study: got 'nothing', expected one of"),
        ("--work_dir=", "--work_dir is missing"),
        ("--rounds=efficientnet-b9:4", "--study=mine, arm 'augmented': --rounds: round 2: got 'efficientnet-b9'"),
        ("--augment_name=v1", "the arms 'augmented' and 'not augmented' come to the same run"),
    ],
)
def test_what_is_wrong_is_said_before_anything_trains(arguments, changed, message, tmp_path):
    _, given = arguments
    with pytest.raises(UserError, match=message):
        run.run(asked(*given, f"--work_dir={tmp_path}", changed))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ('flags = ["--no_such_flag=1"]', "--no_such_flag=1: Unknown command line flag 'no_such_flag'"),
        ('flags = ["--seed=1"]', "got --seed, which the study or iterate decides itself"),
        ('student = ["--task_name=svhn"]', "got --task_name among a student's flags, but it holds for the whole run"),
        ('flags = ["--export_tf1"]', "got --export_tf1, which no stage of a run reads"),
        ('flags = ["--min_threshold=x"]', "--min_threshold=x: expected a number >= 0"),
    ],
)
def test_a_flag_that_an_arm_cannot_have_is_named(arguments, arm, message, tmp_path):
    _, given = arguments
    path = tmp_path / "bad.toml"
    path.write_text(MINE.replace('name = "not augmented"', f'name = "not augmented"\n{arm}'))
    with pytest.raises(UserError, match=f"arm 'not augmented': .*{message}"):
        run.run(asked(*given, f"--study={path}", f"--work_dir={tmp_path / 'run'}"))


def test_a_run_that_fails_is_kept_as_such_and_the_next_goes_on(arguments, monkeypatch, tmp_path, capsys):
    _, given = arguments
    tried = []

    def fails(each):
        tried.append(each.arm)
        raise UserError("no such thing")

    monkeypatch.setattr(run, "_answers", fails)
    found = run.run(asked(*given, f"--work_dir={tmp_path}"))["mine"]
    assert tried == ["augmented", "not augmented", "labels alone"]
    assert found.arms[0].failed == {3: "error: no such thing"}
    assert "failed: error: no such thing" in capsys.readouterr().err
    assert "a seed" not in found.contrasts[0].verdict
    assert found.contrasts[0].seeds == ()
    run.run(asked(*given, f"--work_dir={tmp_path}"))
    assert len(tried) == 6
