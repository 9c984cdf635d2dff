from __future__ import annotations

import copy
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from pseudo_label.results import collect
from reporting import numbers, plots, report, samples
from tests.reporting import synthetic

NAMES = [f"digit {number}" for number in range(10)]
PIXELS = np.random.default_rng(0).integers(0, 256, [300, 8, 8, 3]).astype(np.uint8)
TRUE = np.random.default_rng(1).integers(0, 10, 300)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = synthetic.write_work_dir(
        tmp_path_factory.mktemp("run"), [synthetic.png(image) for image in PIXELS], TRUE, rounds=2
    )
    results = write_report(folder, 2, NAMES, command="python main.py --seed=0")
    return folder, results


def write_report(folder, num_rounds, class_names=(), finetuned=(), **how):
    """The report of a work_dir, as `iterate` writes it."""
    numbers_of_run = collect(str(folder), num_rounds, class_names, str(folder / "data"), finetuned)
    return report.write_report(str(folder), numbers_of_run, **how)


def copy_of(written, tmp_path):
    return shutil.copytree(written[0], tmp_path / "run")


def test_a_finetuned_student_stands_beside_it_and_labels_the_next_round(written, tmp_path):
    folder = copy_of(written, tmp_path)
    synthetic.write_network(folder / "round1/finetuned", "efficientnet-b0", 445, 500, 200, False, seed=9)
    path = folder / "round1/finetuned/model.json"
    path.write_text(path.read_text().replace('"image_size": 16', '"image_size": 24'))
    results = write_report(folder, 2, NAMES, finetuned=[1])
    names = ["teacher", "student 1", "student 1 finetuned", "student 2"]
    assert [each["name"] for each in results["networks"]] == names
    assert [each["gain"] for each in results["networks"]] == [None, 0.06, 0.09, 0.12]
    assert [each["labeled_by"] for each in results["rounds"]] == ["teacher", "student 1 finetuned"]
    text = (folder / "report/report.md").read_text()
    assert "| student 1 finetuned | efficientnet-b0 | 89.0 % |" in text
    assert (
        "Student 1 finetuned (efficientnet-b0, 24 px) learned on from there, from the labeled images alone.\n"
        "Student 1 finetuned then labeled 300 images;"
    ) in text
    assert "![Training of student 1 finetuned](training-student1finetuned.png)" in text
    assert (folder / "report/training-student1finetuned.png").stat().st_size > 0


def test_a_student_of_unlabeled_images_alone_is_told_apart(written):
    results = copy.deepcopy(written[1])
    assert "learned from these and the labeled images together, with noise." in report.markdown(results, set(), "")
    for student in results["networks"][1:]:
        del student["last_logged"]["labeled_loss"]
    assert "learned from these alone, with noise." in report.markdown(results, set(), "")


def test_every_picture_is_in_the_text_and_opens(written):
    folder, _ = written
    text = (folder / "report/report.md").read_text()
    pictures = sorted(path.name for path in (folder / "report").glob("*.png"))
    assert pictures == sorted(
        ["accuracy.png", "training-teacher.png", "training-student1.png", "training-student2.png"]
        + [f"round{number}-{kind}.png" for number in (1, 2) for kind in ("confidence", "classes", "mosaic")]
    )
    assert sorted(re.findall(r"\]\(([^)]+\.png)\)", text)) == pictures
    for name in pictures:
        with Image.open(folder / "report" / name) as image:
            image.load()
            assert image.width == 1350
            assert 200 < image.height < 2000
            assert np.asarray(image.convert("L")).std() > 10


@pytest.mark.parametrize("failing", ["accuracy", "training", "confidence", "classes", "mosaic"])
def test_a_plot_that_fails_does_not_cost_the_report(written, tmp_path, failing, monkeypatch, capsys):
    def fail(*arguments):
        raise RuntimeError("no such font\nand more")

    folder = copy_of(written, tmp_path)
    shutil.rmtree(folder / "report")
    monkeypatch.setattr(plots, failing, fail)
    write_report(folder, 2, NAMES)
    text = (folder / "report/report.md").read_text()
    pictures = {path.name for path in (folder / "report").glob("*.png")}
    assert set(re.findall(r"\]\(([^)]+\.png)\)", text)) == pictures
    assert not [name for name in pictures if failing in name]
    assert (folder / "report/results.json").exists()
    lines = capsys.readouterr().err.splitlines()
    assert lines
    for line in lines:
        assert line.endswith(".png could not be drawn (RuntimeError: no such font); the report goes without it")


def test_the_text_states_the_result(written):
    text = (written[0] / "report/report.md").read_text()
    assert text.startswith("# Noisy Student on digits\n")
    assert (
        "**Student 2 (efficientnet-b1, 16 px) classifies 92.0 % of the 500 test images correctly, "
        "12.0 points more than the teacher (80.0 %).**"
    ) in text
    assert "| student 1 | efficientnet-b0 | 86.0 % | 82.7 % to 88.8 % | +6.0 points |" in text
    assert "python main.py --seed=0" in text
    assert not re.search(r"\b(nan|None)\b", text)


def test_results_are_the_same_twice_and_hold_no_path(written, tmp_path):
    folder = copy_of(written, tmp_path)
    before = (written[0] / "report/results.json").read_text()
    results = write_report(folder, 2, NAMES)
    after = (folder / "report/results.json").read_text()
    assert after == before
    assert json.loads(after) == results
    assert str(tmp_path) not in after
    assert "/" not in after
    assert "per_second" not in after
    assert list(json.loads(after)) == sorted(results)
    assert not [path for path in (folder / "report").iterdir() if ".writing-" in path.name]


def test_summary_table(written):
    assert report.summary_table(written[1]).splitlines() == [
        "network    model            accuracy  95 % interval     gain over teacher",
        "---------  ---------------  --------  ----------------  -----------------",
        "teacher    efficientnet-b0  80.0 %    76.3 % to 83.3 %",
        "student 1  efficientnet-b0  86.0 %    82.7 % to 88.8 %  +6.0 points",
        "student 2  efficientnet-b1  92.0 %    89.3 % to 94.1 %  +12.0 points",
        "(500 test images)",
    ]


def test_headline_of_a_worse_an_equal_and_an_earlier_best_student(written):
    networks = copy.deepcopy(written[1]["networks"])
    networks[2]["test"]["accuracy"], networks[2]["gain"] = 0.78, -0.02
    assert "2.0 points less than the teacher (80.0 %).** The best is student 1 with 86.0 %." in report.headline(
        networks
    )
    networks[2]["test"]["accuracy"], networks[2]["gain"] = 0.8, 0.0
    assert "correctly, as many as the teacher (80.0 %).**" in report.headline(networks)


def test_without_true_labels_test_split_and_images(written, tmp_path):
    folder = copy_of(written, tmp_path)
    shutil.rmtree(folder / "report")
    shutil.rmtree(folder / "data")
    for path in [*folder.rglob("evaluation.json"), *folder.rglob("evaluations.jsonl")]:
        path.unlink()
    results = write_report(folder, 2, has_images=False)
    assert [each["test"] for each in results["networks"]] == [None] * 3
    assert [each["quality"] for each in results["rounds"]] == [None] * 2
    text = (folder / "report/report.md").read_text()
    assert "No network was evaluated" in text
    assert "The true labels of the unlabeled images are not known" in text
    pictures = {path.name for path in (folder / "report").glob("*.png")}
    assert set(re.findall(r"\]\(([^)]+\.png)\)", text)) == pictures
    assert "accuracy.png" not in pictures
    assert "round1-mosaic.png" not in pictures
    assert "round1-classes.png" in pictures
    assert report.summary_table(results).splitlines()[2] == "teacher    efficientnet-b0  not evaluated"
    assert report.summary_table(results).endswith("(no network was evaluated)")


def test_a_run_that_only_has_a_teacher(written, tmp_path):
    shutil.copytree(written[0] / "teacher", tmp_path / "teacher")
    results = write_report(tmp_path, 0)
    assert results["rounds"] == []
    text = (tmp_path / "report/report.md").read_text()
    assert "**The teacher (efficientnet-b0, 16 px) classifies 80.0 % of the 500 test images correctly.**" in text
    assert "## Pseudo labels" not in text


def test_a_repeated_step_counts_once_and_a_torn_line_not_at_all(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 20, "loss": 9.0}\n{"step": 10, "loss": 3.0}\n{"step": 20, "loss": 2.0}\n{"st'
    )
    assert numbers.training_log(str(tmp_path)) == [{"step": 10, "loss": 3.0}, {"step": 20, "loss": 2.0}]


def test_the_mosaic_shows_each_image_once_and_at_most_twelve_classes(written):
    folder, results = written
    picked = samples.pick(str(folder / "round1/balanced"), list(range(10)), seed=0)
    assert list(picked) == list(range(10))
    for images in picked.values():
        assert len({each.encoded for each in images}) == len(images) <= samples.PER_CLASS
        assert images == sorted(images, reverse=True)
        assert min(each.confidence for each in images) >= 0.3
    assert samples.pick(str(folder / "round1/balanced"), list(range(10)), seed=0) == picked
    assert samples.pick(str(folder / "round1/balanced"), list(range(10)), seed=1) != picked
    shown = results["rounds"][0]["samples"]
    assert [each["label"] for each in shown] == list(range(10))
    assert shown[3]["confidences"] == pytest.approx([each.confidence for each in picked[3]], abs=1e-6)


def test_tiles():
    tiny = samples.tile(synthetic.png(PIXELS[0]), 50)
    assert tiny.shape == (50, 50, 3)
    np.testing.assert_array_equal(tiny[1:49:6, 1:49:6], PIXELS[0])
    assert (tiny[0] == 255).all()
    wide = np.zeros([40, 100, 3], np.uint8)
    wide[:, 30:70] = 200
    np.testing.assert_array_equal(samples.tile(synthetic.png(wide), 20), 200)


def test_a_hundred_classes_and_long_names_still_draw(tmp_path):
    images = [synthetic.png(image) for image in np.repeat(PIXELS, 4, axis=0)]
    true = np.random.default_rng(2).integers(0, 100, 1200)
    synthetic.write_work_dir(tmp_path, images, true, num_classes=100, num_image=5, steps=20)
    names = [f"a class with quite a long name {number} | {number}" for number in range(100)]
    write_report(tmp_path, 1, names)
    text = (tmp_path / "report/report.md").read_text()
    assert "The 12 classes whose labels are least often right:" in text
    assert "long name 7 \\| 7" in text or "\\|" in text
    with Image.open(tmp_path / "report/round1-mosaic.png") as image:
        assert image.width == 1350


def test_balancing_is_told_from_what_came_out_of_it(written):
    pseudo = copy.deepcopy(written[1]["rounds"][0])
    text = "\n".join(report._round_lines(pseudo, NAMES, set()))
    assert "the same number of records (20)" in text
    for entry in pseudo["balance"]["classes"]:
        entry["records"] = entry["kept_unique"] = 7
    assert "at most 20 candidates are kept" in "\n".join(report._round_lines(pseudo, NAMES, set()))
    pseudo["balance"]["classes"][0]["records"] = 21
    assert "Every candidate is kept, once." in "\n".join(report._round_lines(pseudo, NAMES, set()))


def test_no_samples_no_mosaic():
    assert plots.mosaic({}, NAMES) is None


def test_a_single_logged_step_is_drawn(written):
    network = written[1]["networks"][1]
    one = plots.training(
        {**network, "history": []}, [{"step": 5, "loss": 2.0, "labeled_loss": 2.0, "learning_rate": 0.1}]
    )
    with Image.open(io.BytesIO(one)) as image:
        assert image.width == 1350
