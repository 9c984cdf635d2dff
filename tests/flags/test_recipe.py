"""The recipe as a table: what follows from which facts."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.prepare.config import PrepareConfig
from flags import recipe as recipes
from flags.definitions import SCOPES
from flags.kinds import Scope
from flags.recipe import Facts
from flags.students import OF_A_ROUND
from tests.flags.parsing import parsed
from training.config import OptimizerConfig
from training.decay import steps_above

DIGITS = Facts(labeled=40, unlabeled=1257, test=500, classes=10, fewest=4, most=4, side=8)
ITERATE = {"mode": "iterate"}

# fmt: off
TABLE = [
    # facts that differ from those of the digits       flags of the teacher, and of the first student
    ({}, {"small_image_model": True, "input_image_size": 24, "train_batch_size": 20, "train_steps": 500, "num_image": 126,
          "min_threshold": 0.3, "model_name": "efficientnet-b0", "width_coefficient": 0.5, "use_tpu": False},
         {"unlabel_ratio": 4.0, "train_batch_size": 12, "train_steps": 700, "width_coefficient": 0.75}),
    ({"side": 16}, {"input_image_size": 32}, {}),
    ({"side": 28}, {"input_image_size": 28}, {}),
    ({"side": 64}, {"small_image_model": True, "input_image_size": 48}, {}),
    ({"side": 480}, {"small_image_model": True, "input_image_size": 48}, {}),
    ({"side": 64, "device": "gpu"}, {"small_image_model": True, "input_image_size": 64}, {}),
    ({"side": 65, "device": "gpu"}, {"small_image_model": False, "input_image_size": 65}, {}),
    ({"labeled": 160, "classes": 8}, {"train_steps": 1600}, {"train_steps": 700}),
    ({"labeled": 600}, {"train_steps": 2000}, {}),
    ({"side": 480, "device": "gpu"}, {"small_image_model": False, "input_image_size": 224}, {}),
    ({"device": "gpu"}, {"model_name": "efficientnet-b0", "use_tpu": False},
     {"model_name": "efficientnet-b1"}),
    ({"labeled": 5, "classes": 2}, {"train_batch_size": 5, "num_image": 629}, {"train_batch_size": 5}),
    ({"labeled": 8000}, {"train_batch_size": 160, "train_steps": 2000}, {"unlabel_ratio": 1.0, "train_batch_size": 96,
                                                                       "train_steps": 1000}),
    ({"labeled": 100, "unlabeled": 250}, {}, {"unlabel_ratio": 2.5}),
    ({"classes": 100, "labeled": 400}, {"min_threshold": 0.03, "num_image": 13}, {}),
    ({"effort": 2.0}, {"train_steps": 1000}, {"train_steps": 1400}),
    ({"fewest": 2, "most": 4}, {"even_classes": True}, {}),
    ({"memory": 2 << 30}, {"eval_batch_size": 25}, {}),
    ({"memory": 8 << 30}, {"eval_batch_size": 100}, {}),
    ({"unlabeled": 4000}, {"num_image": 400}, {"train_steps": 1200}),
    ({"device": "tpu"}, {}, {}),
]
# fmt: on


def chosen(choices):
    return {choice.flag: choice.value for choice in choices}


@pytest.mark.parametrize(("facts", "teacher", "student"), TABLE)
def test_the_table(facts, teacher, student):
    made = recipes.recipe(dataclasses.replace(DIGITS, **facts), ITERATE)
    run = chosen(made.run)
    first = {**run, **chosen(made.rounds[0])}
    assert {name: run[name] for name in teacher} == teacher
    assert {name: first[name] for name in student} == student
    assert ("use_tpu" in run) == (facts.get("device") != "tpu")


@pytest.mark.parametrize(("effort", "rounds"), [(0.3, 1), (1.0, 2), (4.0, 3)])
def test_more_time_is_more_students(effort, rounds):
    assert len(recipes.recipe(dataclasses.replace(DIGITS, effort=effort), ITERATE).rounds) == rounds


def test_what_is_given_is_not_chosen_and_counts_for_what_follows_from_it():
    made = recipes.recipe(
        DIGITS, {**ITERATE, "train_steps": 90, "train_batch_size": 4, "model_name": "efficientnet-b2"}
    )
    run, student = chosen(made.run), chosen(made.rounds[0])
    assert not {"train_steps", "train_batch_size", "model_name", "width_coefficient"} & set(run)
    assert not {"train_steps", "train_batch_size", "model_name"} & set(student)
    assert run["steps_per_eval"] == 23


@pytest.mark.parametrize("start", ["init_model", "pretrained"])
def test_trained_weights_are_finetuned_as_they_were_trained(start):
    given = {**ITERATE, start: "something", "model_name": "efficientnet-b2"}
    made = recipes.recipe(DIGITS, given)
    run = chosen(made.run)
    assert (run["input_image_size"], run["small_image_model"]) == (260, False)
    assert "width_coefficient" not in run
    fresh = chosen(recipes.recipe(DIGITS, ITERATE).run)
    assert run["train_steps"] < fresh["train_steps"]
    assert run["base_learning_rate"] < fresh["base_learning_rate"]
    without_name = chosen(recipes.recipe(DIGITS, {**ITERATE, start: "something"}).run)
    assert (without_name["model_name"], without_name["input_image_size"]) == ("efficientnet-b0", 224)
    assert "width_coefficient" not in without_name


def test_the_students_of_a_ready_teacher_are_like_it():
    ready = {
        "model_name": "efficientnet-b1",
        "width_coefficient": None,
        "input_image_size": 100,
        "small_image_model": False,
    }
    made = recipes.recipe(DIGITS, ITERATE, ready=ready)
    assert ready.items() <= chosen(made.run).items()
    for choices in made.rounds:
        assert not {"model_name", "width_coefficient"} & set(chosen(choices))


@st.composite
def facts(draw):
    classes = draw(st.integers(2, 2000))
    fewest = draw(st.integers(1, 500))
    most = draw(st.integers(fewest, 1000))
    return Facts(
        labeled=draw(st.integers(fewest * classes, most * classes)),
        unlabeled=draw(st.integers(1, 10**7)),
        test=draw(st.integers(0, 10**5)),
        classes=classes,
        fewest=fewest,
        most=most,
        side=draw(st.integers(2, 5000)),
        device=draw(st.sampled_from(["cpu", "gpu", "tpu"])),
        effort=draw(st.floats(0.05, 8.0)),
    )


@given(facts())
def test_whatever_the_pictures_the_recipe_can_be_trained(known):
    made = recipes.recipe(known, ITERATE)
    assert made == recipes.recipe(known, ITERATE)
    run = chosen(made.run)
    for name, said in [("teacher", {}), *((f"student {n}", chosen(each)) for n, each in enumerate(made.rounds, 1))]:
        values = {**run, **said}
        assert 1 <= values["train_batch_size"] <= known.labeled, name
        assert values["train_steps"] >= 1
        assert values["input_image_size"] >= min(known.side, 24)
        optimizer = OptimizerConfig(
            values["train_steps"], values["train_batch_size"], known.labeled,
            base_learning_rate=values["base_learning_rate"], final_base_lr=values.get("final_base_lr"),
        )  # fmt: skip
        if known.effort >= 1:  # the last step learns still
            assert steps_above(0.01, optimizer) == optimizer.train_steps
    for choices, scope in [(made.run, ~Scope(0)), *((each, OF_A_ROUND) for each in made.rounds)]:
        for choice in choices:
            assert SCOPES[choice.flag] & scope, choice
            assert len(choice.reason) > 3
        # Each flag takes its value.
        given_flags = [f"--{choice.flag}={'' if choice.value is None else choice.value}" for choice in choices]
        taken = parsed(*given_flags)
        assert all(taken[choice.flag].value == choice.value for choice in choices)


def test_prepare_has_no_number_of_its_own_to_choose():
    # What prepare decides, it decides by itself: the recipe comes after it.
    flags = {choice.flag for choice in recipes.recipe(DIGITS, ITERATE).run}
    assert not flags & {field.name for field in dataclasses.fields(PrepareConfig)}
