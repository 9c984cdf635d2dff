"""The commands of docs/adding_a_task.md are ones that these flags take, in the order in which it gives them."""

from __future__ import annotations

import re
import shlex
from typing import Any, Callable

from PIL import Image

from flags import build, rounds
from tests.flags.parsing import ROOT, parsed

BUILDERS: dict[str, Callable[..., Any]] = {
    "prepare": build.prepare_config,
    "train_and_eval": build.train_config,
    "predict": build.predict_config,
    "balance": build.balance_config,
    "classify": build.classify_config,
    "iterate": rounds.iterate_config,
}


def commands():
    text = (ROOT / "docs/adding_a_task.md").read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line)[2:] for line in re.findall(r"^python main\.py .*$", text, re.MULTILINE)]


def test_every_command_builds_its_config(tmp_path, monkeypatch):
    for number, folder in enumerate(("labeled/cat", "labeled/dog", "unlabeled", "test/cat")):
        (tmp_path / "pictures" / folder).mkdir(parents=True)
        for copy in range(4):
            Image.new("RGB", (8, 8), (number * 60, copy * 9, 0)).save(tmp_path / f"pictures/{folder}/{copy}.png")
    monkeypatch.chdir(tmp_path)
    modes = []
    for arguments in commands():
        values = parsed(*arguments)
        config = BUILDERS[values.mode](values)
        modes.append(values.mode)
        if values.mode == "prepare":
            from data.prepare.run import prepare

            prepare(config)
    assert modes == ["iterate", "prepare", "train_and_eval", "predict", "balance", "train_and_eval", "classify"]
