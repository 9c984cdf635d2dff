"""A study's answer for people and machines: study.md, study.json and a plot."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence

from evaluation.bootstrap import Interval
from evaluation.scores import as_json
from reporting import plots
from runtime.files import whole_file, write_text
from studies.answer import Answer, ContrastScore, Kept, answer
from studies.definition import Study

PLOT_FILE, PAGE_FILE, NUMBERS_FILE = "arms.png", "study.md", "study.json"


def write(folder: str, study: Study, seeds: Sequence[int], kept: Kept) -> Answer:
    """Writes the answer into `folder` and returns it."""
    found = answer(study, seeds, kept)
    os.makedirs(folder, exist_ok=True)
    write_text(os.path.join(folder, NUMBERS_FILE), json.dumps(as_json(found), indent=1) + "\n")
    rows = [(arm.name, list(arm.accuracies.values())) for arm in found.arms]
    with whole_file(os.path.join(folder, PLOT_FILE)) as temporary, open(temporary, "wb") as file:
        file.write(plots.arms(rows))
    write_text(os.path.join(folder, PAGE_FILE), page(found))
    return found


def page(found: Answer, plot: str = PLOT_FILE, level: int = 1) -> str:
    """The page as Markdown, with the plot's path and the level of its heading."""
    study = found.study
    lines = [
        f"{'#' * level} {study.name}" + ("" if level > 1 else f": {study.question}"),
        *([] if level == 1 else ["", study.question]),
        "",
        f"The paper ({study.source}): {study.claim}",
        "",
        f"**{sentence(found.contrasts[0])}**",
        "",
        f"![Accuracy of each arm, a dot for each seed]({plot})",
        "",
        "| arm | differs in | mean % | sd | " + " | ".join(f"seed {seed}" for seed in found.seeds) + " |",
        "|---|---|---|---|" + "---|" * len(found.seeds),
    ]
    for arm, score in zip(study.arms, found.arms):
        cells = [_percent(score.accuracies.get(seed, math.nan)) for seed in found.seeds]
        differs = f"`{arm.differs_in()}`" if arm.differs_in().startswith("--") else arm.differs_in()
        lines.append(
            f"| {arm.name} | {differs} | {_percent(score.mean)} | {_points(score.sd, '')} | {' | '.join(cells)} |"
        )
    lines += [
        "",
        "| better by the claim | worse | gain, points | 95 % over seeds | 95 % over pictures | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for each in found.contrasts:
        lines.append(
            f"| {each.better} | {each.worse} | {_points(each.gain)} | {_range(each.over_seeds)} | "
            f"{_range(each.over_pictures)} | {each.verdict}{'; ' + each.would_decide if each.would_decide else ''} |"
        )
    failed = [(arm.name, seed, why) for arm in found.arms for seed, why in arm.failed.items()]
    lines += ["", *[f"- {name}, seed {seed}: {why}" for name, seed, why in failed], ""] if failed else [""]
    lines += [
        f"{found.num_images:,} test pictures; {found.hours:.1f} hours of training. Interval over seeds: paired t test. Over "
        "pictures: paired bootstrap of the mean over seeds. A claim is decided if both leave out zero.",
        "",
        f"    python main.py --mode=study --study={study.name} --seeds={','.join(map(str, found.seeds))} --work_dir=RUN ...",
        "",
    ]
    return "\n".join(lines)


def in_words(found: Answer) -> str:
    """The answer in a line."""
    return f"{found.study.name}: {sentence(found.contrasts[0])}"


def sentence(each: ContrastScore) -> str:
    """A contrast's verdict with its numbers."""
    if math.isnan(each.gain):
        return f"{each.verdict}: {each.would_decide}"
    more = f"; {each.would_decide} would decide it" if each.would_decide else ""
    return (
        f"{each.verdict[0].upper()}{each.verdict[1:]}: {each.better} against {each.worse}, {_points(each.gain)} points "
        f"({_range(each.over_seeds)} over {len(each.seeds)} seeds, {_range(each.over_pictures)} over pictures){more}."
    )


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}"


def _points(share: float, sign: str = "+") -> str:
    return "" if math.isnan(share) else f"{100 * share:{sign}.1f}"


def _range(interval: Interval) -> str:
    return "one seed" if math.isnan(interval.low) else f"{_points(interval.low)} to {_points(interval.high)}"
