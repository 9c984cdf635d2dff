"""Draws docs/studies.md from the results that are kept: `make studies-page`, or `python -m studies.docs`. Trains nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence

from absl.flags import FlagValues

from data.fast import Fast
from flags.build.studies import flags_of
from studies import page, results
from studies.answer import Answer
from studies.definition import load, names
from studies.plan import runs

BASE = "studies/digits.flags"
RESULTS = "studies/results/digits"
SEEDS = range(5)
PAGE, PLOTS = "docs/studies.md", "docs/studies"
HEAD = """# The paper's studies, run here

What matters in self-training with noise? Section 4 of the paper and its appendix make ten claims. Each is a study here, and one
of ours is about the threshold. A study trains some arms, which differ in one thing, with several seeds. The base is the run of
`flags/presets/digits.flags`: 40 labeled digits, some 1,257 unlabeled ones, 500 for testing. No arm was tuned: base, arms,
contrasts and seeds were written down before the first run. Noise, iteration, unlabeled and labels may get more seeds until a
difference of 2 points is decided, up to ten. Small digits are not ImageNet: a claim that fails here may hold there.

```
make studies          # trains what has no result yet in studies/results/digits (some hours on 2 CPU cores); may be stopped
make studies-page     # draws this page from the results
python main.py --flagfile=studies/digits.flags --study=noise --seeds=0,1,2 --work_dir=RUN      # one study
python main.py --mode=study --study=my_study.toml --flagfile=MY_RUN.flags --work_dir=RUN       # your own, on your task
```

The flags beside `--study` describe the run that the arms change, as for `--mode=iterate`. A study of your own is a file like
those in `studies/paper/`; the head of `studies/definition.py` says what may stand in it. What arms share (teacher, predictions,
balanced records) is made once. Each arm and seed leaves a small file with the answer to each test picture. What has one is not
trained again.

A verdict needs two intervals of 95 % that leave out zero: over seeds (paired t test) and over test pictures (paired bootstrap).
"""


def main() -> None:
    """Writes the page and its plots."""
    values = flags_of(f"--flagfile={BASE}", "--work_dir=runs/studies")
    answers = [(name, _answer(name, values, SEEDS)) for name in names()]
    lines = [HEAD, "| study | the paper says | here | |", "|---|---|---|---|"]
    for name, found in answers:
        done = sum(len(arm.accuracies) for arm in found.arms)
        whole = len(found.arms) * len(found.seeds)
        verdict = page.sentence(found.contrasts[0]) if done else "not run yet"
        lines.append(f"| [{name}](#{name}) | {found.study.claim} | {verdict} | {done} of {whole} runs |")
    for _, found in answers:
        if any(arm.accuracies for arm in found.arms):
            lines += ["", page.page(found, f"studies/{found.study.name}.png", level=2).rstrip()]
    with open(PAGE, "w") as file:
        file.write("\n".join(lines) + "\n")
    print(f"{PAGE}: {len(answers)} studies")


def _answer(name: str, values: FlagValues, seeds: Sequence[int]) -> Answer:
    study = load(name)
    kept = {(each.arm, each.seed): results.load(RESULTS, each) for each in runs(study, values, seeds, Fast())}
    with tempfile.TemporaryDirectory() as folder:
        found = page.write(folder, study, seeds, kept)
        os.makedirs(PLOTS, exist_ok=True)
        if any(arm.accuracies for arm in found.arms):
            shutil.copyfile(os.path.join(folder, page.PLOT_FILE), os.path.join(PLOTS, f"{name}.png"))
    return found


if __name__ == "__main__":
    main()
