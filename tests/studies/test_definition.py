"""Studies are data: what may stand in their files, and one line for what may not."""

from __future__ import annotations

import pytest

from runtime.errors import UserError
from studies import definition
from studies.definition import Arm, load, read

PARTS = {
    "question": "Which?",
    "claim": "This.",
    "source": "section 1",
    "arms": [{"name": "a"}, {"name": "b", "student": ["--unl_aug=none"]}],
    "contrasts": [{"better": "a", "worse": "b"}],
}


@pytest.mark.parametrize("name", definition.names())
def test_the_paper_s_studies_are_whole(name):
    study = load(name)
    assert study.name == name
    assert study.source.startswith("section ")
    assert len(study.arms) > 1


def test_all_of_the_paper_s_claims_are_asked():
    asked = " ".join(load(name).source for name in definition.names())
    assert "section 4.1" in asked
    assert "section 4.2" in asked
    assert all(f"finding {number}" in asked for number in range(1, 9))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": ""}, "--study: s.toml: question is missing or not a text"),
        ({"arms": []}, "--study: s.toml: arms is missing or not a list of tables"),
        ({"colour": "red"}, "--study: s.toml: got 'colour', expected question, claim, source, arms, contrasts"),
        ({"arms": [{"name": "a"}, {"name": "a", "flags": ["--seed=1"]}]}, "two arms are called 'a'"),
        ({"arms": [{"name": "a"}, {"name": "b"}]}, "the arms 'a' and 'b' are equal; leave one out"),
        (
            {"arms": [{"name": "a"}, {"name": "b", "student": "--x"}]},
            r"arm 2 \(b\): student: got '--x', expected a list",
        ),
        ({"arms": [{"name": "a"}, {"flags": []}]}, "arm 2: expected a table with a name"),
        (
            {"arms": [{"name": "a"}, {"name": "b", "size": 3}]},
            r"arm 2 \(b\): got 'size', expected name, flags, student",
        ),
        (
            {"arms": [{"name": "a"}, {"name": "b", "measured": "x"}]},
            "measured: got 'x', expected student, teacher or labels",
        ),
        ({"arms": [{"name": "a"}, {"name": "b", "rounds": []}]}, "rounds: expected a list of flags for each student"),
        ({"contrasts": [{"better": "a"}]}, "contrast 1: got .*, expected better = ARM and worse = ARM"),
        ({"contrasts": [{"better": "a", "worse": "c"}]}, "contrast 1: got 'c', expected an arm: a, b"),
        ({"contrasts": [{"better": "a", "worse": "a"}]}, "contrast 1: got 'a' twice, expected two arms"),
    ],
)
def test_what_may_not_stand_in_a_study_is_said_in_a_line(changes, message):
    with pytest.raises(UserError, match=message):
        read({**PARTS, **changes}, "s", "s.toml")


def test_a_study_of_one_s_own_is_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'question = "Q"\nclaim = "C"\nsource = "me"\n[[arms]]\nname = "a"\n[[arms]]\nname = "b"\nrounds = [[], ["--seed=1"]]\n'
        '[[contrasts]]\nbetter = "a"\nworse = "b"\n'
    )
    study = load(str(path))
    assert (study.name, study.arms[1]) == ("mine", Arm("b", rounds=((), ("--seed=1",))))
    path.write_text("question = ")
    with pytest.raises(UserError, match=r"mine\.toml is not TOML"):
        load(str(path))
    with pytest.raises(UserError, match=r"--study: got 'nothing\.toml', no such file"):
        load("nothing.toml")
    with pytest.raises(UserError, match=r"--study: got 'nothing', expected one of balance, .*, all, or a \.toml file"):
        load("nothing")
