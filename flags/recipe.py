"""The numbers of a training of one's own pictures: each follows from facts about the data and the kind of machine.

Plain functions of `Facts` and of the flags that were given, which win. The same facts give the same recipe. What the choices rest
on was measured (docs/own_pictures.md). No TensorFlow here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from efficientnet.variants import VARIANTS

Flags = Mapping[str, Any]  # {flag: value}

# Pixels. Up to SMALL wide, on a processor always, pictures enter as a whole and keep their resolution longer.
SMALL, SMALL_ON_CPU, SMALLEST_SIDE = 64, 48, 24
LARGE = 224
UNEVEN = 2  # times as many labeled pictures of one class as of another
FINETUNING = (0.01, 0.001)  # the rates, at batch 256, of a network that begins with trained weights
GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a recipe follows from.

    Attributes:
      labeled, unlabeled, test: pictures of each split.
      classes: their number.
      fewest, most: labeled pictures of the class that has fewest, and most.
      side: pixels, the median of the pictures' shorter sides.
      device: cpu, gpu or tpu.
      memory: bytes, of the machine; 0 if it does not say.
      effort: multiplies the steps; other than 1 only with --minutes.
    """

    labeled: int
    unlabeled: int
    test: int
    classes: int
    fewest: int
    most: int
    side: int
    device: str = "cpu"
    memory: int = 0
    effort: float = 1.0

    def in_words(self) -> str:
        """The facts in a line."""
        evenly = f"{self.fewest} to {self.most}" if self.fewest != self.most else f"{self.most}"
        return (
            f"{self.classes} classes, {self.labeled:,} labeled pictures ({evenly} a class), {self.unlabeled:,} unlabeled, "
            f"{self.test:,} to test, {self.side} pixels wide; {self.device}"
        )


class Choice(NamedTuple):
    """A flag that was not given, its value, and why."""

    flag: str
    value: Any
    reason: str


class Recipe(NamedTuple):
    """What was chosen for the teacher (and the whole run), and for each student where that differs."""

    run: tuple[Choice, ...]
    rounds: tuple[tuple[Choice, ...], ...]


class _Chosen:
    """Flags that are given or chosen so far; a choice is made only for what is neither."""

    def __init__(self, given: Flags):
        self.values = dict(given)
        self.made: list[Choice] = []

    def add(self, flag: str, value: Any, reason: str) -> None:
        if flag not in self.values:
            self.values[flag] = value
            self.made.append(Choice(flag, value, reason))

    def __getitem__(self, flag: str) -> Any:
        return self.values[flag]


# --- the whole ------------------------------------------------------------------------------------------------------


def recipe(facts: Facts, given: Flags, rounds: Sequence[Flags] = (), ready: Flags = MappingProxyType({})) -> Recipe:
    """For `--mode=iterate`; for `train` and `train_and_eval` that of the one network.

    Args:
      facts: about pictures and machine.
      given: the flags of the command line.
      rounds: what is given of each student (its network, ratio and more); as many students as the recipe wants if empty.
      ready: what network a ready-made teacher is, and how pictures enter it; its students are like it.
    """
    if given.get("mode") != "iterate":
        return Recipe(training(facts, given), ())
    run = _Chosen(given)
    for flag, value in ready.items():
        run.add(flag, value, "as of the teacher that is there")
    choose_teacher(facts, run)
    choose_labels(facts, run)
    rounds = rounds or [{}] * num_rounds(facts)
    students = []
    for number, said in enumerate(rounds, start=1):
        student = _Chosen({**given, **ready, **said})
        choose_student(facts, student, number, network_of(run.values))
        students.append(tuple(choice for choice in student.made if run.values.get(choice.flag) != choice.value))
    return Recipe(tuple(run.made), tuple(students))


def training(facts: Facts, given: Flags) -> tuple[Choice, ...]:
    """For `--mode=train` and `train_and_eval`: of a student if the flags name unlabeled pictures, else of a teacher."""
    chosen = _Chosen(given)
    if given.get("unlabel_ratio") or given.get("unlabel_data_dir") or given.get("teacher_model_path"):
        choose_student(facts, chosen, 1, {})
        chosen.add("teacher_softmax_temp", 1.0, "soft labels keep how sure the teacher is")
    choose_teacher(facts, chosen)
    return tuple(chosen.made)


# --- the parts ------------------------------------------------------------------------------------------------------


def choose_teacher(facts: Facts, chosen: _Chosen) -> None:
    """The first network, and what holds for the whole run."""
    trained = is_trained(chosen.values)
    choose_input(facts, chosen)
    choose_network(facts, chosen, number=0)
    chosen.add("train_batch_size", batch_size(facts, 20), "several steps for each pass over few labeled pictures")
    wanted = min(max(500, 200 * facts.labeled // chosen["train_batch_size"]), 2000)
    steps = num_steps(facts, chosen, wanted // 2 if trained else wanted)
    chosen.add("train_steps", steps, passes(facts, chosen, steps))
    choose_rate(facts, chosen, *(FINETUNING if trained else (0.05, 0.005)))
    if facts.most >= UNEVEN * facts.fewest:
        chosen.add("even_classes", True, f"{facts.fewest} labeled pictures of one class, {facts.most} of another")
    choose_noise(chosen, layers=1, magnitude=5)
    chosen.add("moving_average_decay", 0.98, "averages over some 50 steps, a small share of so short a training")
    choose_logs(facts, chosen)


def is_trained(values: Flags) -> bool:
    """Whether the network begins with weights that have learnt from other pictures."""
    return bool(values.get("init_model") or values.get("pretrained"))


def choose_input(facts: Facts, chosen: _Chosen) -> None:
    """How pictures enter."""
    if is_trained(chosen.values):
        size = VARIANTS[chosen.values.get("model_name", "efficientnet-b0")].pixels
        chosen.add("small_image_model", False, "the strides that the weights were trained with")
        chosen.add("input_image_size", size, "the variant's own: what its weights were trained at")
    on_cpu = facts.device == "cpu"
    chosen.add(
        "small_image_model",
        on_cpu or facts.side <= SMALL,
        "pictures enter as a whole, and two stages keep their resolution: few pixels are enough"
        if on_cpu or facts.side <= SMALL
        else f"{facts.side} pixels are enough for the network's usual strides and random crops",
    )
    if chosen["small_image_model"]:
        largest = SMALL_ON_CPU if on_cpu else SMALL
        side = small_side(facts.side, largest)
        chosen.add(
            "input_image_size",
            side,
            "as they are"
            if side == facts.side
            else f"the pictures are {facts.side} wide, a {facts.device} takes {largest}",
        )
    else:
        chosen.add("input_image_size", min(facts.side, LARGE), f"at most {LARGE}, b0's own size")


def small_side(side: int, largest: int) -> int:
    """Pixels at which pictures enter as a whole; very small ones are enlarged by a whole number."""
    if side < SMALLEST_SIDE:
        return side * -(-SMALLEST_SIDE // side)
    return min(side, largest)


def choose_network(facts: Facts, chosen: _Chosen, number: int) -> None:
    """Variant, width and depth of the teacher (number 0) or a student."""
    if "model_name" in chosen.values:
        if number:  # not the teacher's coefficients, but those of the variant that was asked for
            chosen.add("width_coefficient", None, "the variant's own")
            chosen.add("depth_coefficient", None, "the variant's own")
        return
    if is_trained(chosen.values):
        chosen.add("model_name", "efficientnet-b0", "the smallest variant, as wide and deep as its weights are")
    elif facts.device == "cpu":
        width = 0.5 if number == 0 else 0.75
        chosen.add("model_name", "efficientnet-b0", "the smallest variant: few labeled pictures, and a processor alone")
        chosen.add(
            "width_coefficient", width, "narrow" if number == 0 else "wider than its teacher, as the paper wants"
        )
        chosen.add("depth_coefficient", 0.3, "one block a stage, two in the longest")
    else:
        name = f"efficientnet-b{min(number, 1)}"
        chosen.add(
            "model_name", name, "small, for some hundred labeled pictures" if not number else "larger than its teacher"
        )


def network_of(values: Flags) -> Flags:
    """What of the flags says which network it is."""
    names = ("model_name", "width_coefficient", "depth_coefficient")
    return {name: values[name] for name in names if name in values}


def choose_student(facts: Facts, chosen: _Chosen, number: int, teacher: Flags) -> None:
    """A student, where it differs from the teacher."""
    choose_network(facts, chosen, number)
    ratio = 4.0 if facts.unlabeled >= 4 * facts.labeled else max(1.0, round(facts.unlabeled / max(facts.labeled, 1), 1))
    chosen.add("unlabel_ratio", ratio, "unlabeled pictures for each labeled one in a step")
    chosen.add("train_batch_size", batch_size(facts, 12), f"and {ratio:g} times as many unlabeled ones")
    seen = chosen["unlabel_ratio"] * chosen["train_batch_size"]
    wanted = min(max(700, round(15 * facts.unlabeled / seen)), 1200 if facts.device == "cpu" else 12_000)
    finetuned = bool(chosen.values.get("pretrained"))  # which students begin with, too; not with --init_model
    steps = num_steps(facts, chosen, wanted // 2 if finetuned else wanted)
    chosen.add("train_steps", steps, f"{steps * seen / facts.unlabeled:.1f} passes over the unlabeled pictures")
    choose_rate(facts, chosen, *(FINETUNING if finetuned else (0.05, 0.005)))
    chosen.add("randaug_layer", 2, "operations on a picture: more noise than its teacher had, as the paper wants")


def choose_labels(facts: Facts, chosen: _Chosen) -> None:
    """How the teacher's labels are filtered and balanced."""
    chosen.add("teacher_softmax_temp", 1.0, "soft labels keep how sure the teacher is")
    threshold = round(min(0.3, 3 / facts.classes), 3)
    chosen.add("min_threshold", threshold, f"less sure than this is hardly better than a guess among {facts.classes}")
    number = max(1, min(-(-facts.unlabeled // facts.classes), 13_000))
    chosen.add("num_image", number, "records of each class: as many as there would be if classes were even")


def batch_size(facts: Facts, wanted: int) -> int:
    """Labeled pictures a step: more if there are more, never more than there are."""
    grown = wanted * 2 ** max(0, round(math.log2(max(facts.labeled, 1) / 1000)))
    return max(1, min(grown, facts.labeled, wanted * 8))


def num_steps(facts: Facts, chosen: _Chosen, least: int) -> int:
    """At least `least`, and twelve passes over the labeled pictures, of which five warm up."""
    return round(max(least, 12 * facts.labeled / chosen["train_batch_size"]) * facts.effort)


def passes(facts: Facts, chosen: _Chosen, steps: int) -> str:
    """How often the labeled pictures are seen."""
    number = steps * chosen["train_batch_size"] / max(facts.labeled, 1)
    return f"{number:,.0f} passes over the labeled pictures, each time with other noise"


def choose_rate(facts: Facts, chosen: _Chosen, base: float, final: float) -> None:
    """The learning rate and where it ends."""
    chosen.add("base_learning_rate", base, "at batch 256; it grows with the batch")
    epochs = chosen["train_steps"] * chosen["train_batch_size"] / max(facts.labeled, 1)
    if epochs > 6 and final < chosen["base_learning_rate"]:
        share = final / chosen["base_learning_rate"]
        chosen.add("final_base_lr", final, f"the last step still learns, at {100 * share:.0f} % of the rate")


def choose_noise(chosen: _Chosen, layers: int, magnitude: int) -> None:
    """The noise of teacher and students."""
    chosen.add("augment_name", "v1", "RandAugment: no step sees the same picture twice")
    chosen.add("randaug_layer", layers, "operations on a picture")
    chosen.add(
        "randaug_mag", magnitude, "half as strong as RandAugment's tables allow: few steps cannot learn from more"
    )
    chosen.add("dropout_rate", 0.2, "the noise of the network")
    chosen.add("stochastic_depth_rate", 0.1, "half the paper's, for a network of few blocks")


def choose_logs(facts: Facts, chosen: _Chosen) -> None:
    """How often something is said and saved."""
    little = 0 < facts.memory < 4 * GIB
    chosen.add(
        "eval_batch_size",
        25 if little else 100,
        f"pictures a step where nothing is learnt{', few for want of memory' if little else ''}",
    )
    chosen.add("steps_per_eval", max(1, -(-chosen["train_steps"] // 4)), "four evaluations")
    chosen.add("save_checkpoints_steps", 200, "what a stop costs at most")
    chosen.add("log_step_count_steps", 25, "steps between two lines of the log")
    if facts.device != "tpu":
        chosen.add("use_tpu", False, "there is none")


def num_rounds(facts: Facts) -> int:
    """How many students follow one another."""
    return 1 if facts.effort < 0.6 else 2 if facts.effort < 2.5 else 3
