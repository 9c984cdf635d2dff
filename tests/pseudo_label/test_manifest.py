"""A work_dir that an earlier version left is continued: its settings are read in today's terms.

tests/golden/manifests/ holds what this project wrote before evaluation had a config of its own, for the flags below:
`trained.json` of a run that trained its teacher, `ready_made.json` of one that was given --teacher_model_path=made/teacher.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpoints import writing
from data.tasks import TASK_FILE, TASKS
from efficientnet.variants import ModelConfig
from flags.rounds import iterate_config
from pseudo_label import rounds
from pseudo_label.manifest import Manifest, in_todays_terms
from runtime.errors import UserError
from runtime.work_dir import EVALUATION_FILE, MANIFEST_FILE, STATS_FILE
from tests.flags.parsing import ROOT, describe, parsed

GIVEN = (
    "--mode=iterate", "--task_name=digits", "--num_labeled=40", "--num_test_images=50", "--seed=3",
    "--model_name=efficientnet-b0", "--width_coefficient=0.1", "--depth_coefficient=0.1", "--rounds=efficientnet-b0:4",
    "--train_steps=4", "--train_batch_size=20", "--base_learning_rate=0.01", "--final_base_lr=0.001",
    "--moving_average_decay=0.98", "--weight_decay=1e-5", "--teacher_softmax_temp=1", "--randaug_layer=1", "--randaug_mag=5",
    "--stochastic_depth_rate=0.1", "--dropout_rate=0.2", "--min_threshold=0", "--num_image=12", "--eval_batch_size=100",
    "--steps_per_eval=2", "--save_checkpoints_steps=2", "--log_step_count_steps=2", "--use_tpu=False", "--use_bfloat16=False",
)  # fmt: skip
READY_MADE = "--teacher_model_path=made/teacher"


@pytest.fixture(autouse=True)
def made_teacher(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = TASKS["digits"]
    model = ModelConfig(
        "efficientnet-b0", 10, task.mean, task.std, True, width_coefficient=0.1, depth_coefficient=0.1,
        dropout_rate=0.2, stochastic_depth_rate=0.1
    )  # fmt: skip
    describe(tmp_path / "made" / "teacher", model, 16, task)


def left_by(name, tmp_path):
    """A work_dir with the manifest and, empty, the files that the manifest's stages are known by."""
    folder = tmp_path / "work"
    for path in (
        f"data/{TASK_FILE}", f"teacher/{EVALUATION_FILE}", f"round1/balanced/{STATS_FILE}",
        *(f"round1/predictions/train-info-{shard:05d}-of-00004-00000" for shard in range(4)),
        *(f"{network}/model.ckpt-4{suffix}" for network in ("teacher", "round1/student")
          for suffix in (writing.INDEX_SUFFIX, writing.DATA_SUFFIX)),
    ):  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    shutil.copy(ROOT / "tests/golden/manifests" / name, folder / MANIFEST_FILE)
    return str(folder)


def stages_of(work_dir, *more):
    return rounds.stages(iterate_config(parsed(*GIVEN, f"--work_dir={work_dir}", *more)))


@pytest.mark.parametrize(("name", "more"), [("trained.json", ()), ("ready_made.json", (READY_MADE,))])
def test_nothing_is_done_again(tmp_path, name, more):
    work_dir = left_by(name, tmp_path)
    planned, manifest = stages_of(work_dir, *more), Manifest(work_dir)
    assert all(stage.is_there() for stage in planned)
    for stage in planned:
        manifest.check(stage)
    assert rounds.stages_to_do(planned, manifest) == set()
    os.remove(os.path.join(work_dir, "round1/student/model.ckpt-4.index"))
    assert rounds.stages_to_do(planned, manifest) == {"round1/student"}


@pytest.mark.parametrize(
    ("flag", "more", "message"),
    [
        ("--train_steps=3", (), "teacher done with optimizer.train_steps=4, these flags give 3"),
        ("--eval_split=train", (), "teacher done with evaluation.num_images=50, these flags give None"),
        ("--save_checkpoints_steps=3", (), "teacher done with save_checkpoints_steps=2, these flags give 3"),
        ("--num_test_images=49", (), "prepare done with num_test_images=50, these flags give 49"),
        ("--num_image=11", (), "round1/balance done with num_image=12, these flags give 11"),
        ("--randaug_mag=7", (READY_MADE,), "round1/student done with data.augment.magnitude=5.0, these flags give 7.0"),
        ("--eval_split=dev", (READY_MADE,), "teacher/evaluate done with data.num_images=50, these flags give None"),
    ],
)
def test_other_settings_are_told_apart(tmp_path, flag, more, message):
    work_dir = left_by("ready_made.json" if more else "trained.json", tmp_path)
    manifest = Manifest(work_dir)
    with pytest.raises(UserError) as caught:
        for stage in stages_of(work_dir, *more, flag):
            manifest.check(stage)
    assert str(caught.value) == (
        f"--work_dir: {work_dir} has the stage {message}; use another --work_dir, or the flags of before"
    )


def test_what_a_run_leaves_today_is_known_by_the_same_settings(tmp_path):
    stages, manifest = stages_of(tmp_path), Manifest(str(tmp_path))
    for stage in stages:
        manifest.mark_begun(stage)
        manifest.mark_done(stage)
    again = Manifest(str(tmp_path))
    for stage in stages:
        again.check(stage)
        assert again.is_done(stage)


def test_more_steps_train_what_nothing_was_made_with_yet(tmp_path):
    work_dir = left_by("trained.json", tmp_path)
    planned, manifest = stages_of(work_dir, "--train_steps=6"), Manifest(work_dir)
    for stage in planned:
        manifest.check(stage)
    assert rounds.stages_to_do(planned, manifest) == {"round1/student"}
    teacher, student = (stage for stage in planned if stage.name in ("teacher", "round1/student"))
    assert manifest.is_longer(teacher)  # but the labels are its own
    manifest.mark_begun(student)
    manifest.mark_done(student)
    again = Manifest(work_dir)
    assert rounds.stages_to_do(planned, again) == set()
    with pytest.raises(UserError, match=r"student done with optimizer.train_steps=6, these flags give 5"):
        for stage in stages_of(work_dir, "--train_steps=5"):
            again.check(stage)


@pytest.mark.parametrize("steps", [4, 6])
def test_the_end_of_a_schedule_stays_where_it_was(tmp_path, steps):
    given = ("--train_last_step_num=2", f"--train_steps={steps}")
    manifest = Manifest(str(tmp_path))
    for stage in stages_of(tmp_path, "--train_last_step_num=2"):
        manifest.mark_begun(stage)
        manifest.mark_done(stage)
    if steps == 4:
        assert rounds.stages_to_do(stages_of(tmp_path, *given), manifest) >= {"teacher"}  # nothing is there
        return
    with pytest.raises(UserError, match=r"teacher done with optimizer.train_steps=4, these flags give 6"):
        for stage in stages_of(tmp_path, *given):
            manifest.check(stage)


def write_shards(folder, content=b"one"):
    for path in ("labeled/train-00000-of-00001", "labeled/test-00000-of-00001", "unlabeled/train-00000-of-00001"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode() + content)
    (folder / TASK_FILE).write_text(json.dumps(TASKS["digits"].to_json()))


def begin_all(work_dir, data):
    config = iterate_config(parsed(*GIVEN, f"--work_dir={work_dir}", f"--data_dir={data}"))
    manifest = Manifest(config.work_dir)
    for stage in rounds.stages(config):
        manifest.mark_begun(stage)
        manifest.mark_done(stage)


def check_all(work_dir, data):
    config = iterate_config(parsed(*GIVEN, f"--work_dir={work_dir}", f"--data_dir={data}"))
    manifest = Manifest(config.work_dir)
    for stage in rounds.stages(config):
        manifest.check(stage)


# What a shell, a script or a person makes of the same two folders, from the folder that holds them.
SPELLINGS = (
    "{home}/{name}",
    "{name}",
    "./{name}",
    "{name}/",
    "{name}//",
    "~/{name}",
    "link/{name}",
    "x/../{name}",
    "{name}/.",
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.tuples(*[st.sampled_from(SPELLINGS)] * 2), after=st.tuples(*[st.sampled_from(SPELLINGS)] * 2))
def test_a_folder_is_the_same_however_it_is_spelled(tmp_path, before, after):
    home = tempfile.mkdtemp(dir=tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", home)
        patch.chdir(home)
        os.symlink(home, "link")
        os.mkdir("x")
        write_shards(Path(home, "my data"))
        first, then = (
            [spelling.format(home=home, name=name) for spelling, name in zip(spellings, ("my run", "my data"))]
            for spellings in (before, after)
        )
        begin_all(*first)
        check_all(*then)
        with pytest.raises(UserError, match=r"teacher done with data\.label_data_dir="):
            check_all(then[0], "other")


@pytest.mark.parametrize("content", [b"one", b"two"])
def test_moved_data_are_known_by_what_they_are(tmp_path, content):
    write_shards(tmp_path / "before" / "data")
    begin_all(tmp_path / "before" / "run", tmp_path / "before" / "data")
    os.rename(tmp_path / "before", tmp_path / "after")
    write_shards(tmp_path / "after" / "data", content)
    if content == b"one":
        check_all(tmp_path / "after" / "run", tmp_path / "after" / "data")
        return
    with pytest.raises(UserError, match=r"teacher done with data\.label_data_dir="):
        check_all(tmp_path / "after" / "run", tmp_path / "after" / "data")


def test_data_that_were_repaired_in_their_place_are_the_same(tmp_path):
    write_shards(tmp_path / "data")
    begin_all(tmp_path / "run", tmp_path / "data")
    write_shards(tmp_path / "data", b"repaired")
    check_all(tmp_path / "run", tmp_path / "data")


def test_another_eval_batch_size_is_no_other_run(tmp_path):
    work_dir = left_by("trained.json", tmp_path)
    planned, manifest = stages_of(work_dir, "--eval_batch_size=7"), Manifest(work_dir)
    for stage in planned:
        manifest.check(stage)
    assert rounds.stages_to_do(planned, manifest) == set()


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float
    added: tuple[int, ...] = (1, 2)


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner
    name: str
    teacher: Optional[Inner] = None
    counts: dict[str, int] = dataclasses.field(default_factory=dict)


def test_todays_terms():
    now = {"inner": {"rate": 0.5, "added": [7]}, "name": "now", "teacher": None, "counts": {"a": 1}}
    config = Outer(Inner(0.5, (7,)), "now", None, {"a": 1})
    before = {"inner": {"rate": 0.1, "gone": 3}, "also_gone": True, "teacher": {"rate": 2}}
    assert in_todays_terms(before, now, config) == {
        "inner": {"rate": 0.1, "added": [1, 2]},
        "name": "now",
        "teacher": {"rate": 2},
        "counts": {"a": 1},
    }
    assert in_todays_terms({**before, "counts": {"b": 1}}, now, config)["counts"] == {"b": 1}
    del now["name"]  # a setting that does not matter
    assert "name" not in in_todays_terms({**before, "name": "before"}, now, config)
