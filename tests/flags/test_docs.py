"""The commands of these documents are ones that these flags take, in the order given there."""

from __future__ import annotations

import re
import shlex
from typing import Any, Callable

from PIL import Image

from data.prepare.config import PrepareConfig
from data.prepare.run import prepare
from flags import build, rounds
from tests.flags.parsing import ROOT, parsed

BUILDERS: dict[str, Callable[..., Any]] = {
    "prepare": build.prepare_config,
    "train_and_eval": rounds.training_config,
    "predict": build.predict_config,
    "balance": build.balance_config,
    "classify": build.classify_config,
    "iterate": rounds.iterate_config,
    "export": build.export_config,
}


def commands(document):
    text = (ROOT / document).read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line)[2:] for line in re.findall(r"^python main\.py .*$", text, re.MULTILINE)]


def test_every_command_builds_its_config(tmp_path, monkeypatch):
    for number, folder in enumerate(("labeled/cat", "labeled/dog", "unlabeled", "test/cat")):
        (tmp_path / "pictures" / folder).mkdir(parents=True)
        for copy in range(4):
            Image.new("RGB", (8, 8), (number * 60, copy * 9, 0)).save(tmp_path / f"pictures/{folder}/{copy}.png")
    monkeypatch.chdir(tmp_path)
    modes = []
    for arguments in [*commands("docs/own_pictures.md"), *commands("docs/adding_a_task.md")]:
        values = parsed(*arguments)
        config = BUILDERS[values.mode](values)
        modes.append(values.mode)
        if values.mode == "prepare":
            prepare(config)
    one_command = ["iterate", "classify", "export"]
    by_stage = ["iterate", "prepare", "train_and_eval", "predict", "balance", "train_and_eval", "classify"]
    assert modes == one_command + by_stage


def test_a_student_with_flags_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/experiments.md").read_text(encoding="utf-8")
    for name, lines in re.findall(r"^```\n# (\w+\.flags)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(lines)
    pictures = {f"labeled/{name}/{name}.png": name for name in ("cat", "dog")} | {
        "unlabeled/1.png": "",
        "unlabeled/2.png": "",
    }
    for number, path in enumerate(pictures):
        (tmp_path / "pictures" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 80), (number * 60, 0, 0)).save(tmp_path / "pictures" / path)
    prepare(PrepareConfig("folder", "DATA", source_dir="pictures", num_shards=1))
    (arguments,) = commands("docs/experiments.md")
    first, second = rounds.iterate_config(parsed(*arguments)).rounds
    assert (first.student.model.name, first.balance.num_image) == ("efficientnet-b0", 1)
    assert (second.student.model.name, second.balance.num_image) == ("efficientnet-b1", 200)
    assert (second.student.optimizer.train_steps, second.student.optimizer.unlabel_ratio) == (1400, 4)
    assert [each.outcome.data.image_size for each in (first, second)] == [300, 300]
