"""The recipe of a run on one's own pictures: what is written, what is read again, and what wins."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from data.tasks import TASK_FILE
from flags import recipe, rounds
from runtime.errors import UserError
from tests.flags.parsing import PRESETS, parsed
from training import speed

OWN = ("--mode=iterate", "--task_name=folder", "--source_dir=pictures", "--work_dir=run")


@pytest.fixture(autouse=True)
def in_a_folder_with_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    parts = ["labeled/a", "labeled/b", "labeled/c", "test/a", "test/b", "test/c", *["unlabeled"] * 6]
    for number in range(48):
        folder = os.path.join("pictures", parts[number % len(parts)])
        os.makedirs(folder, exist_ok=True)
        pixels = random.integers(0, 256, (30, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(os.path.join(folder, f"{number}.png"))


def iterate(*arguments):
    return rounds.iterate_config(parsed(*arguments), "the command")


def edit(path, before, after):
    with open(path) as file:
        text = file.read()
    assert before in text
    with open(path, "w") as file:
        file.write(text.replace(before, after))


def test_one_command_without_a_number(capsys):
    config = iterate(*OWN)
    first, second = config.rounds
    for training in (config.teacher, first.student, second.student):
        assert training.model.small_image_model
        assert training.data.image_size == 30
        assert training.data.augment.enabled
        assert 0 < training.optimizer.train_batch_size <= 12  # the labeled pictures
        assert training.optimizer.final_base_lr < training.optimizer.base_learning_rate
        assert training.optimizer.train_steps < 10_000
    assert first.student.model.head_channels >= config.teacher.model.head_channels
    assert first.student.optimizer.unlabel_ratio > 0
    assert first.student.optimizer.teacher_softmax_temp == 1
    assert first.balance.num_image == 8
    said = capsys.readouterr().out
    assert "recipe: 3 classes, 12 labeled pictures (4 a class), 24 unlabeled, 12 to test, 30 pixels wide; " in said
    for flag in ("--train_steps=", "--base_learning_rate=", "--randaug_mag=", "--num_image=8", "--unlabel_ratio="):
        lines = [line for line in said.splitlines() if line.strip().startswith(flag)]
        assert lines
        assert all(len(line.split("  ")[-1]) > 8 for line in lines), lines  # its reason


def test_the_same_command_and_the_written_file_give_the_same_run(capsys):
    first = iterate(*OWN, "--train_steps=30", "--seed=3")
    capsys.readouterr()
    assert iterate(*OWN, "--train_steps=30", "--seed=3") == first
    assert f"recipe: as {os.path.join('run', 'recipe', 'run.flags')} says" in capsys.readouterr().out
    assert iterate("--flagfile=run/recipe/run.flags") == first
    assert iterate("--mode=iterate", "--work_dir=run") == first


def test_the_recipe_is_written_with_every_reason():
    iterate(*OWN, "--train_steps=30")
    with open("run/recipe/run.flags") as file:
        lines = file.read().splitlines()
    assert {"--train_steps=30", "--source_dir=pictures", "--rounds=@round1.flags"} <= set(lines)
    chosen = lines[lines.index("--train_steps=30") + 1 :]
    for number, line in enumerate(chosen):
        if line.startswith("--") and not line.startswith(("--rounds", "--source_dir")):
            assert chosen[number - 1].startswith("# "), line
    with open("run/recipe/facts.json") as file:
        facts = json.load(file)["facts"]
    assert (facts["labeled"], facts["unlabeled"], facts["side"], facts["effort"]) == (12, 24, 30, 1.0)


def test_an_edited_file_counts_and_a_given_flag_wins():
    first = iterate(*OWN)
    edit("run/recipe/run.flags", "--dropout_rate=0.2", "--dropout_rate=0.4")
    edit("run/recipe/round1.flags", "--unlabel_ratio=2.0", "--unlabel_ratio=1.5")
    edited = iterate(*OWN)
    assert first.teacher.model.dropout_rate == 0.2
    assert edited.teacher.model.dropout_rate == edited.rounds[0].student.model.dropout_rate == 0.4
    assert edited.rounds[0].student.optimizer.unlabel_ratio == 1.5
    assert iterate("--flagfile=run/recipe/run.flags") == edited
    given = iterate(*OWN, "--dropout_rate=0.3")
    assert given.teacher.model.dropout_rate == 0.3
    # For another run: the file's numbers, and what is chosen is written there again.
    other = iterate("--flagfile=run/recipe/run.flags", "--work_dir=other", "--data_dir=run/data")
    assert other.teacher.model.dropout_rate == 0.4
    assert other.rounds[0].student.optimizer.unlabel_ratio == 1.5
    assert iterate("--mode=iterate", "--work_dir=other") == other


def test_a_flag_on_the_command_line_holds_for_teacher_and_students():
    config = iterate(*OWN, "--train_steps=77", "--base_learning_rate=0.05")
    for training in (config.teacher, config.rounds[0].student):
        assert training.optimizer.train_steps == 77
        assert training.optimizer.base_learning_rate == 0.05


def test_students_that_are_given_get_the_numbers_that_they_lack():
    with open("mine.flags", "w") as file:
        file.write("--model_name=efficientnet-b1\n--unlabel_ratio=3\n--train_steps=55\n")
    given = (*OWN, "--rounds=efficientnet-b0:1.5,efficientnet-b1:2", "--rounds=@mine.flags")
    config = iterate(*given)
    one, two, three = (each.student for each in config.rounds)
    assert (one.optimizer.unlabel_ratio, two.optimizer.unlabel_ratio, three.optimizer.unlabel_ratio) == (1.5, 2.0, 3.0)
    assert two.model.width_coefficient is None  # the b1 that was asked for, not one of the teacher's width
    assert two.model.name == three.model.name == "efficientnet-b1"
    assert three.optimizer.train_steps == 55
    assert one.optimizer.train_steps > 55 < two.optimizer.train_steps
    assert iterate(*given) == config
    assert iterate("--mode=iterate", "--work_dir=run") == config


def test_paths_of_any_name_and_of_finetunings():
    os.rename("pictures", "p [1] # 'ü'")
    with open("fine.flags", "w") as file:
        file.write("--train_steps=5\n")
    own = [flag for flag in OWN if "source_dir" not in flag]
    config = iterate(*own, "--source_dir=p [1] # 'ü'", "--finetune=fine.flags")
    assert [each.finetune.optimizer.train_steps for each in config.rounds] == [5, 5]
    assert iterate("--flagfile=run/recipe/run.flags") == config


def test_what_has_begun_without_a_recipe_goes_on_without():
    os.makedirs("run")
    with open("run/manifest.json", "w") as file:
        file.write('{"done": {}, "begun": {}}')
    with pytest.raises(UserError, match=r"^--rounds is missing"):
        iterate(*OWN)
    assert not os.path.exists("run/recipe")


def test_tasks_that_are_built_in_and_presets_keep_their_numbers():
    preset = f"--flagfile={PRESETS / 'digits.flags'}"
    config = iterate(preset, "--work_dir=run")
    assert config.teacher.optimizer.train_steps == 800
    training = rounds.training_config(
        parsed("--mode=train", "--task_name=imagenet", "--label_data_dir=data", "--model_dir=model")
    )
    assert training.optimizer.train_steps == 109474
    assert not os.path.exists("run/recipe")
    assert not os.path.exists("model")


def test_a_training_alone():
    iterate(*OWN)
    folder = ("--mode=train_and_eval", "--data_dir=run/data")
    teacher = rounds.training_config(parsed(*folder, "--model_dir=teacher"))
    assert teacher.optimizer.train_steps < 10_000
    assert not teacher.optimizer.unlabel_ratio
    assert rounds.training_config(parsed(*folder, "--model_dir=teacher")) == teacher
    assert rounds.training_config(parsed("--flagfile=teacher/recipe/run.flags")) == teacher
    student = rounds.training_config(parsed(*folder, "--model_dir=student", "--unlabel_data_dir=balanced/data"))
    assert student.optimizer.unlabel_ratio > 0
    assert student.optimizer.teacher_softmax_temp == 1
    assert student.model.head_channels >= teacher.model.head_channels


def test_without_unlabeled_pictures_there_is_no_student():
    iterate(*OWN)
    with open(f"run/data/{TASK_FILE}") as file:
        task = json.load(file)
    del task["num_images"]["unlabeled"]
    with open(f"run/data/{TASK_FILE}", "w") as file:
        json.dump(task, file)
    with pytest.raises(UserError, match=r"there is no unlabeled picture, .*--mode=train_and_eval"):
        iterate("--mode=iterate", "--task_name=folder", "--data_dir=run/data", "--work_dir=other")


def test_a_broken_note_beside_the_recipe():
    iterate(*OWN)
    with open("run/recipe/facts.json", "w") as file:
        file.write("{")
    with pytest.raises(UserError, match=r"facts.json: not JSON .*; copy it again"):
        iterate(*OWN)


TINY = ("--width_coefficient=0.1", "--depth_coefficient=0.1", "--input_image_size=16", "--train_batch_size=4")


def test_a_recipe_for_a_time(capsys):
    config = iterate(*OWN, *TINY, "--minutes=600")
    assert "measuring some steps, to see what fits into 600 minutes" in capsys.readouterr().out
    with open("run/recipe/facts.json") as file:
        noted = json.load(file)
    measured = noted["measured"]
    assert measured["minutes"] == 600
    assert measured["second"] > 1e6
    assert noted["facts"]["effort"] == measured["effort"] != 1
    unhurried = recipe.training(recipe.Facts(**{**noted["facts"], "effort": 1.0}), {"train_batch_size": 4})
    steps = next(choice.value for choice in unhurried if choice.flag == "train_steps")
    assert config.teacher.optimizer.train_steps == pytest.approx(steps * measured["effort"], abs=1)
    # It is kept: the machine is not measured again.
    assert iterate(*OWN, *TINY, "--minutes=600") == config
    assert iterate("--flagfile=run/recipe/run.flags") == config
    assert "measuring" not in capsys.readouterr().out


def test_a_time_that_is_too_short_or_has_no_recipe(monkeypatch):
    monkeypatch.setattr(speed, "measure", lambda config, fast: (1e12, 10.0))
    with pytest.raises(
        UserError, match=r"--minutes: got 0.01, but to begin . trainings alone takes 0.[35] minutes here"
    ):
        iterate(*OWN, *TINY, "--minutes=0.01")
    with pytest.raises(UserError, match=r"--minutes: only the recipe for one's own pictures"):
        iterate("--mode=iterate", "--task_name=digits", "--work_dir=run", "--rounds=efficientnet-b0:1", "--minutes=3")
