"""Flags of `--mode=robustness` and of iterate's last stage: what becomes of them, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex

import pytest

from checkpoints.description import write_description
from data.tasks import TASKS, Task
from efficientnet.variants import ModelConfig
from flags import build, rounds
from flags.build.robustness import names_of
from runtime.errors import UserError
from tests.flags.parsing import PRESETS, ROOT, parsed

TASK = dataclasses.replace(TASKS["digits"], num_images={"train": 20, "test": 21})


def network(folder, task: Task = TASK, classes: int = 10, size: int = 16) -> str:
    model = ModelConfig("efficientnet-b0", classes, task.mean, task.std, task.small_image_model)
    write_description(str(folder), model, size, task.to_json())
    return str(folder)


def config(*arguments: str):
    return build.robustness_config(parsed("--mode=robustness", "--output_dir=o", *arguments))


def test_networks_are_taken_as_they_are_given(tmp_path):
    first, second = network(tmp_path / "a,b"), network(tmp_path / "c; d")
    found = config(
        f"--checkpoints={first}", f"--checkpoints={second}", "--robustness=pgd,generated", "--label_data_dir=l"
    )
    assert [each.checkpoint for each in found.networks] == [first, second]
    assert [each.name for each in found.networks] == ["a,b", "c; d"]
    assert found.measures == ("generated", "pgd")
    assert (found.image_size, found.data.split, found.every) == (16, "test", 1)
    assert (found.attack.steps, found.attack.epsilons, found.attack.step_size) == (10, (0, 2, 4, 8, 16), None)


def test_a_released_checkpoint_needs_the_name_of_its_network():
    found = config("--checkpoints=noisy_student_efficientnet-b7/model.ckpt", "--model_name=efficientnet-b7", "--robustness=a",
                   "--robustness_dir=sets")  # fmt: skip
    (only,) = found.networks
    assert (only.model.name, only.image_size, only.model.num_classes) == ("efficientnet-b7", 600, 1000)
    assert found.data is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--checkpoints is missing: --mode=robustness needs it, the networks, the teacher first"),
        (("--checkpoints=c",), "--robustness is missing: --mode=robustness needs it, what to measure, e.g. generated,fgsm,pgd"),
        (("--checkpoints=c", "--robustness=generated,cifar"), "--robustness: got 'cifar', expected some of generated, fgsm,"),
        (("--checkpoints=c", "--robustness=c,v2"), "--robustness_dir is missing: --robustness=c,v2 needs it, the folder of the"),
        (("--checkpoints=c", "--robustness=pgd", "--label_data_dir=l", "--epsilons=-1,2"), "--epsilons: got -1, expected 0 to "),
        (("--checkpoints=c", "--robustness=pgd", "--label_data_dir=l", "--epsilons=2;4"), "--epsilons: got '2;4', expected nu"),
        (("--checkpoints=c", "--robustness=fgsm"), "--label_data_dir is missing"),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_said(arguments, message):
    with pytest.raises(UserError) as error:
        config(*arguments)
    assert str(error.value).startswith(message)


def test_networks_of_two_tasks_are_refused(tmp_path):
    digits, svhn = network(tmp_path / "digits"), network(tmp_path / "svhn", TASKS["svhn"], size=32)
    with pytest.raises(UserError) as error:
        config(f"--checkpoints={digits}", f"--checkpoints={svhn}", "--robustness=generated", "--label_data_dir=l")
    assert str(error.value) == (
        f"--checkpoints: {digits} is a network of digits with 10 classes, {svhn} one of svhn with 10; compare networks of one "
        "task"
    )


def test_a_network_of_other_classes_than_the_data_s_is_refused(tmp_path):
    letters = dataclasses.replace(TASK, name="folder", class_names=tuple("abcdefghij"))
    ours = network(tmp_path / "digits", dataclasses.replace(TASK, name="folder"))
    other = network(tmp_path / "letters", letters)
    with pytest.raises(UserError, match="compare networks of one task"):
        config(f"--checkpoints={ours}", f"--checkpoints={other}", "--robustness=generated", "--label_data_dir=l")


def test_data_without_a_test_split_are_refused(tmp_path):
    only = network(tmp_path / "a", dataclasses.replace(TASK, eval_split=""))
    with pytest.raises(
        UserError, match=r"--robustness: the data of --task_name=digits have no test split; prepare them with"
    ):
        config(f"--checkpoints={only}", "--robustness=generated", "--label_data_dir=l")


@pytest.mark.parametrize("path", sorted((PRESETS / "robustness").glob("*.flags")), ids=lambda path: path.stem)
def test_a_preset_measures_a_released_checkpoint(path):
    found = config(f"--flagfile={path}", "--checkpoints=c", "--robustness_dir=sets")
    (only,) = found.networks
    assert found.measures == ("a", "r", "v2", "real", "sketch")
    assert path.stem in (f"imagenet_{only.model.name[-2:]}", f"imagenet_l2_{only.image_size}")
    comment = path.read_text().split("\n--")[0]
    assert f"--flagfile=flags/presets/robustness/{path.name}" in comment
    assert len(re.findall(r"\d\d\.\d{3}", comment)) == 6


def test_the_commands_of_the_docs(tmp_path, monkeypatch):
    """Each is one that the flags take; those of released checkpoints need nothing else to be there."""
    text = (ROOT / "docs/robustness.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = [shlex.split(line)[2:] for line in re.findall(r"^python main\.py .*$", text, re.MULTILINE)]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flags").symlink_to(ROOT / "flags")
    network(tmp_path / "runs/digits/teacher")
    network(tmp_path / "runs/digits/round1/student")
    (tmp_path / "runs/digits/data").mkdir()
    (tmp_path / "runs/digits/data/task.json").write_text(json.dumps(TASK.to_json()))
    configs = [build.robustness_config(parsed(*arguments)) for arguments in commands]
    assert [each.measures for each in configs] == [
        ("generated", "fgsm", "pgd"),
        ("a", "c", "p"),
        ("a", "r", "v2", "real", "sketch"),
    ]
    assert [len(each.networks) for each in configs] == [2, 2, 1]


def test_names_are_where_the_paths_differ():
    assert names_of(["runs/x/teacher", "runs/x/round1/student"]) == ["teacher", "round1/student"]
    assert names_of(["runs/x/teacher"]) == ["teacher"]
    assert names_of(["a/teacher", "b/teacher"]) == ["a/teacher", "b/teacher"]
    assert names_of(["a", "a"]) == ["a (1)", "a (2)"]


def test_iterate_ends_with_the_teacher_and_the_outcome_of_each_round():
    flagfile = f"--flagfile={PRESETS / 'digits'}.flags"
    values = parsed(flagfile, "--work_dir=w", "--robustness=generated,fgsm", "--every=5", "--epsilons=0,1")
    found = rounds.iterate_config(values).robustness
    assert found is not None
    assert found.data is not None
    assert [(each.name, each.checkpoint) for each in found.networks] == [
        ("teacher", "w/teacher"),
        ("student 1", "w/round1/student"),
    ]
    assert (found.output_dir, found.measures, found.every) == ("w/robustness", ("generated", "fgsm"), 5)
    assert (found.image_size, found.attack.epsilons, found.data.num_images) == (16, (0, 1), 500)
    assert rounds.iterate_config(parsed(flagfile, "--work_dir=w", "--robustness=")).robustness is None
