"""Every flag: group, name, default, help with unit and where the default comes from, and the check of its single value.

Names and defaults marked [release] are the release's (docs/release.md, section 11); [ours] are new. Rules between flags stand in
`flags/build.py`. `define` takes the FlagValues to fill, so that two sets of flags can live in one process. No TensorFlow here.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, Optional

from absl import flags

MODES = (
    "prepare", "train", "eval", "train_and_eval", "predict", "balance", "iterate", "classify", "convert", "export",
)  # fmt: skip

# Flags of the release without meaning here: accepted, and one line says so. (gcp_project is a case of its own.)
IGNORED = {
    "master": "TensorFlow 2 finds its cluster by --tpu or TF_CONFIG",
    "num_tpu_cores": "the number of cores is the TPU's own",
    "skip_host_call": "metrics need no host call in TensorFlow 2",
    "data_format": "the network is channels_last, XLA chooses the layout",
    "transpose_input": "XLA chooses the layout",
    "debug": "nothing here says more with it; see the log flags of --helpfull",
    "data_type": "records are always TFRecords",
    "prelim_stats_dir": "--mode=balance needs no files between its two passes",
    "task": "--mode=balance works on all shards in one run",
    "total_label_replicas": "--mode=balance finds every worker's prediction files itself",
}


MIN_TEMPERATURE = 1e-30  # divided by less, logits are too large for a float32
MAX_WHOLE = 1 << 62  # seeds, and what is computed of a number of steps, have 64 bits


class _Parser(flags.ArgumentParser):
    """Another parser, which says what was expected where that one has Python's words for it."""

    def __init__(self, parser: flags.ArgumentParser, expected: str):
        self._parser = parser
        self._expected = expected
        self.syntactic_help = parser.syntactic_help

    def parse(self, argument: Any) -> Any:
        try:
            return self._parser.parse(argument)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected {self._expected}") from error

    def flag_type(self) -> str:
        return self._parser.flag_type()


class _Group:
    """Defines the flags of one group of `--help`."""

    def __init__(self, values: flags.FlagValues, title: str):
        self._values = values
        self._title = title

    def _common(self) -> dict[str, Any]:
        return {"flag_values": self._values, "module_name": self._title}

    def text(self, name: str, default: Optional[str], text: str) -> None:
        flags.DEFINE_string(name, default, text, **self._common())

    def texts(self, name: str, text: str) -> None:
        flags.DEFINE_multi_string(name, [], text, **self._common())

    def choice(self, name: str, default: str, choices: Sequence[str], text: str) -> None:
        flags.DEFINE_enum(name, default, choices, text, **self._common())

    def switch(self, name: str, default: bool, text: str) -> None:
        flags.DEFINE_bool(name, default, text, **self._common())
        self._expects(name, "true or false")

    def whole(self, name: str, default: Optional[int], text: str, low: int = 1, unset: Optional[int] = None) -> None:
        """An integer of at least `low`, or the value `unset` that stands for none."""
        flags.DEFINE_integer(name, default, text, **self._common())
        expected = f"an integer of at least {low}" + ("" if unset is None else f", or {unset} for none")
        self._expects(name, expected)
        self._check(name, lambda value: value >= low or value == unset, expected)
        self._check(name, lambda value: value < MAX_WHOLE, f"an integer below {MAX_WHOLE}")

    def number(self, name: str, default: Optional[float], text: str, valid: Callable[[float], bool], what: str) -> None:
        flags.DEFINE_float(name, default, text, **self._common())
        self._expects(name, f"a number {what}")
        self._check(name, valid, f"a number {what}")
        self._check(name, math.isfinite, "a finite number")

    def _expects(self, name: str, expected: str) -> None:
        flag = self._values[name]
        flag.parser = _Parser(flag.parser, expected)

    def _check(self, name: str, valid: Callable[[Any], bool], expected: str) -> None:
        def check(value: Any) -> bool:
            if value is None or valid(value):
                return True
            raise flags.ValidationError(f"expected {expected}")

        flags.register_validator(name, check, flag_values=self._values)


def define(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines all flags in `values` and returns it; does nothing where they are defined already."""
    if "mode" not in values:
        for title, fill in GROUPS.items():
            fill(_Group(values, title))
    return values


def _positive(value: float) -> bool:
    return value > 0


def _at_least_zero(value: float) -> bool:
    return value >= 0


def _rate(value: float) -> bool:
    return 0 <= value < 1


def _what(group: _Group) -> None:
    group.choice("mode", "train_and_eval", MODES, "What to do. [release]")
    group.text(
        "task_name",
        "imagenet",
        "The task: imagenet, svhn, digits or folder. It fixes classes, pixels, mean and "
        "std, splits; svhn means 32 pixels, small_image_model and 10 classes. Where it is not given, the task of --data_dir, or "
        "of the checkpoint that is evaluated, exported or predicted with. [release]",
    )
    group.whole(
        "seed", 0, "Every random choice follows from it: splits, weights, order, noise, drawn copies. [ours]", 0
    )


def _folders(group: _Group) -> None:
    group.text(
        "data_dir",
        None,
        "A folder that --mode=prepare wrote: task.json, labeled/, unlabeled/. Stands for "
        "--label_data_dir=<data_dir>/labeled and, where plain unlabeled images are wanted, for "
        "--unlabel_data_dir (in balance: --input_dir) =<data_dir>/unlabeled. [ours]",
    )
    group.text(
        "label_data_dir",
        None,
        "Folder of the labeled shards (train-*, test-*, ...); `;` separates several. In "
        "predict, as in the release, the images to predict on, where --unlabel_data_dir is not given. "
        "[release]",
    )
    group.text(
        "unlabel_data_dir",
        "",
        "Folder of the unlabeled shards; `;` separates several. Training: balanced "
        "records (train-T-*), or plain images (train*, extra*) with an online teacher. predict and iterate: "
        "plain images; predict with --reassign_label: balanced records. [release]",
    )
    group.text("model_dir", None, "Folder of checkpoints, metrics and evaluations. [release]")
    group.text("work_dir", None, "iterate: folder of all stages, the manifest and the report. [ours]")
    group.text(
        "output_dir",
        None,
        "predict: prediction shards; balance: filtered shards under data/ and stats.json; "
        "export: the exported files. [release]",
    )


def _network(group: _Group) -> None:
    group.text("model_name", "efficientnet-b0", "efficientnet-b0 to efficientnet-b7, or efficientnet-l2. [release]")
    group.whole(
        "input_image_size",
        None,
        "Side of the square input in pixels; default: the task's, else the variant's native size. [release]",
    )
    group.whole("num_label_classes", 1000, "Number of classes; where it is not given, the task's. [release]", 2)
    group.switch(
        "small_image_model",
        False,
        "Strides of stages 2 and 3 are 1, and images enter as they are stored; "
        "always on for tasks of small images. [release]",
    )
    group.number("width_coefficient", None, "Multiplies channels; default: the variant's. [release]", _positive, "> 0")
    group.number(
        "depth_coefficient", None, "Multiplies block repeats; default: the variant's. [release]", _positive, "> 0"
    )
    group.number(
        "dropout_rate",
        None,
        "Dropout before the classifier, a fraction; default: the variant's. [release]",
        _rate,
        "from 0 to below 1",
    )
    group.number(
        "stochastic_depth_rate",
        None,
        "Stochastic depth: drop rate behind the last block, a fraction, rising "
        "linearly from 0; default: 0.2. [release]",
        _rate,
        "from 0 to below 1",
    )
    group.whole(
        "fix_layer_num", -1, "k >= 0 freezes the stem and the first k blocks; -1 freezes nothing. [release]", 0, -1
    )
    group.whole(
        "num_shards_per_group",
        -1,
        "Replicas that share batch-norm statistics; -1: each its own up to 8 "
        "replicas, then groups of max(8, replicas // 8). [release]",
        1,
        -1,
    )


def _schedule(group: _Group) -> None:
    group.whole(
        "train_steps",
        109474,
        "Steps of the schedule, before --train_ratio; the default is 350 ImageNet epochs at batch 4096. [release]",
    )
    group.number(
        "train_ratio", 1.0, "Multiplies the steps and the epochs between two decays. [release]", _positive, "> 0"
    )
    group.whole(
        "train_last_step_num", -1, "Trains only the last so many steps of the schedule; -1 all. [release]", 1, -1
    )
    group.whole("train_batch_size", 4096, "Labeled images a step, over all replicas. [release]")
    group.number(
        "base_learning_rate", 0.016, "Learning rate at batch 256, after the warm-up. [release]", _positive, "> 0"
    )
    group.number(
        "final_base_lr",
        None,
        "The rate (at batch 256) to decay to by the last step; default: decay every 2.4 "
        "epochs x train_ratio by 0.97. [release]",
        _positive,
        "> 0",
    )
    group.number(
        "moving_average_decay",
        0.9999,
        "Largest decay of the averages of weights and BN statistics. [release]",
        _rate,
        "from 0 to below 1",
    )
    group.number(
        "weight_decay",
        1e-5,
        "Weight of the sum of squares / 2 of what is not batch norm's. [release]",
        _at_least_zero,
        ">= 0",
    )
    group.number(
        "label_smoothing",
        0.1,
        "Probability spread over all classes in hard labels. [release]",
        _rate,
        "from 0 to below 1",
    )
    group.number(
        "label_data_sample_prob",
        1.0,
        "Probability that a labeled image counts in the loss, for pods of more cores than labeled images. [release]",
        lambda value: 0 < value <= 1,
        "above 0, at most 1",
    )
    group.switch("init_model", False, "Start from the weights (averages) of --init_model_path. [release]")
    group.text(
        "init_model_path",
        None,
        "Checkpoint to start from: a prefix or a model_dir, the release's or ours. "
        "convert: the checkpoint to convert. [release]",
    )
    group.switch("reset_head", False, "Leave the classifier of --init_model_path out and start a new one. [ours]")


def _unlabeled(group: _Group) -> None:
    group.number(
        "unlabel_ratio",
        0.0,
        "Unlabeled images per labeled one in a batch, and the weight of their loss; 0 is "
        "supervised. iterate takes it from --rounds. [release]",
        _at_least_zero,
        ">= 0",
    )
    group.number(
        "teacher_softmax_temp",
        -1.0,
        "Temperature of the soft pseudo labels; -1: hard ones. [release]",
        lambda value: value == -1 or value >= MIN_TEMPERATURE,
        f"of at least {MIN_TEMPERATURE}, or -1 for hard labels",
    )
    group.switch(
        "unlabeled_only",
        False,
        "Train on pseudo-labeled images alone, without the labeled ones (their number still makes an epoch). iterate: the "
        "students; with --finetune, which then trains on the labeled ones, the paper's pretraining and finetuning. [ours]",
    )
    group.choice(
        "student_start",
        "scratch",
        ("scratch", "teacher"),
        "Where a student's weights start: afresh, or from its teacher's, which must be of the same architecture. (From any "
        "other checkpoint: --init_model.) [ours]",
    )
    group.text(
        "teacher_model_name",
        None,
        "Online teacher's network; default: no online teacher. iterate: the ready-made teacher's, where it has no model.json. "
        "[release]",
    )
    group.text(
        "teacher_model_path",
        None,
        "Online teacher's checkpoint: a prefix or a model_dir. iterate: a ready-made teacher to begin with, instead of training "
        "one. [release]",
    )
    group.text(
        "rounds",
        None,
        "iterate: the students in order, MODEL:UNLABEL_RATIO[:FLAG=VALUE]*, comma-separated, e.g. "
        "efficientnet-b0:4,efficientnet-b1:4:dropout_rate=0.3. FLAG=VALUE holds for that student (and its "
        "balancing); FLAG=default undoes the command line's value. The teacher is --model_name. "
        "[ours]",
    )
    group.text(
        "finetune",
        None,
        "iterate: after each student, train on from its weights on the labeled images alone, with the student's flags but "
        "these: FLAG=VALUE[:FLAG=VALUE]*, e.g. input_image_size=800:train_last_step_num=938:fix_layer_num=28:remove_aug=true. "
        "What comes out is the next teacher. A round may end with :finetune=... of its own, or :finetune=none. [ours]",
    )


def _noise(group: _Group) -> None:
    group.text("augment_name", None, "v1: RandAugment; none (the default): crops and flips alone. [release]")
    group.text("unl_aug", "default", "The same for unlabeled images; default: as --augment_name. [release]")
    group.whole("randaug_mag", 27, "RandAugment's level M; the table's length is 10, more is allowed. [release]", 0)
    group.whole("randaug_layer", 2, "RandAugment's operations an image. [release]")
    group.switch("cutout_op", True, "Cutout is among RandAugment's operations. [release]")
    group.switch("unl_dropout", True, "Dropout on unlabeled images too; without it, on labeled ones alone. [ours]")
    group.switch("unl_stochastic_depth", True, "The same for stochastic depth. [ours]")
    group.switch(
        "noise_teacher",
        False,
        "The teacher predicts under a training's noise: crops, --augment_name, dropout and stochastic depth. In predict an "
        "image's noise follows from --seed and its bytes alone; an online teacher's is new at every step. [ours]",
    )
    group.switch("remove_aug", False, "Train on the evaluation's centre crop, without augmentation. [release]")


def _reading(group: _Group) -> None:
    group.whole("num_train_images", None, "Labeled images of an epoch; default: the task's, else counted. [release]")
    group.whole("num_eval_images", None, "Images to evaluate, of any split but test; default: all. [release]")
    group.whole(
        "num_test_images",
        None,
        "Images to evaluate of the split test, default: all; prepare: images to hold out, default: "
        "500 of the digits, none of a folder (which may bring its own in test/). [release]",
    )
    group.whole("num_train_shards", None, "Use only the first so many labeled shards; default: all. [release]")
    group.switch("use_cache", True, "Keep small sets of encoded records in memory. [release]")
    group.switch(
        "skip_corrupt_records", False, "Count records that cannot be read and go on, instead of stopping. [ours]"
    )
    group.text(
        "source_dir",
        None,
        "prepare, iterate: folder of the files that a task is made of: of --task_name=folder, labeled/<class>/*, "
        "unlabeled/** and perhaps test/<class>/*; of svhn and imagenet, the official files. [ours]",
    )
    group.switch("download", False, "prepare: fetch the task's official files into --source_dir (svhn). [ours]")
    group.whole("num_processes", 0, "prepare: processes that decode images; 0: one a core. [ours]", 0)
    group.whole(
        "num_labeled",
        40,
        "prepare, of digits alone: labeled training images, the same number of every class; the rest of the pool is "
        "unlabeled. [ours]",
    )


def _evaluating(group: _Group) -> None:
    group.text("eval_split", None, "Split to evaluate; default: the task's (imagenet: validation, else test). [ours]")
    group.whole("eval_batch_size", 8, "Images a step and replica in evaluation and prediction. [release]")
    group.whole("steps_per_eval", 3000, "train_and_eval: steps between two evaluations. [release]")
    group.switch(
        "use_averages",
        True,
        "Evaluate, predict, export and start from the averages, not the raw weights; the release's own way. [ours]",
    )


def _predicting(group: _Group) -> None:
    group.text("predict_ckpt_path", None, "predict, classify, export: a checkpoint's prefix or a model_dir. [release]")
    group.texts(
        "input_files",
        "classify: an image file, or a folder whose images are all taken; may be given repeatedly. [ours]",
    )
    group.text("output_csv", None, "classify: file for a row an image; default: the terminal alone. [ours]")
    group.text("info_dir", None, "predict: where the counts go; default: --output_dir. [release]")
    group.text(
        "file_prefix",
        "train",
        "Unlabeled shards are PREFIX-SSSSS-of-NNNNN; where it is not given, "
        "extra if --data_dir holds such shards alone (svhn). [release]",
    )
    group.whole(
        "num_shards",
        128,
        "N: shards of the unlabeled images; where it is not given, what --data_dir holds; "
        "prepare: shards to write, where it is not given 4. [release]",
    )
    group.text("shard_id", "0", "predict: shards to do, e.g. 0 or 0,5,7; all for all. [release]")
    group.whole("total_replicas", 1, "predict: workers that share each shard. [release]")
    group.whole("worker_id", 0, "predict: this worker, from 0; it takes every total_replicas-th record. [release]", 0)
    group.switch("reassign_label", False, "predict: label balanced records again, with a new teacher. [release]")
    group.whole("samples_per_class", 30, "predict: images a class saved as JPEGs to look at. [ours]", 0)
    group.whole(
        "store_top_k",
        0,
        "predict: keep the K most probable classes of a soft label and spread the rest evenly over the others: for 1000 "
        "classes and K = 3 about a hundredth of the space; 0 keeps all. Balance and training read both. [ours]",
        0,
    )
    group.switch("export_tf1", False, "export: also write a checkpoint with the release's names. [ours]")


def _balancing(group: _Group) -> None:
    group.text("input_dir", None, "balance: folder of the images' shards that were predicted on. [release]")
    group.text("prediction_dir", None, "balance: folder of the prediction shards. [release]")
    group.whole("num_image", 1300, "Records of every class that has any candidate. [release]")
    group.number(
        "min_threshold", 0.0, "Least confidence of a candidate; the paper's is 0.3. [release]", _at_least_zero, ">= 0"
    )
    group.number("max_prob", 2.0, "Largest confidence of a candidate. [release]", _positive, "> 0")
    group.switch("upsample", True, "Duplicate where a class has fewer candidates than --num_image. [release]")
    group.switch("use_all", False, "Keep every candidate once. [release]")
    group.switch("only_get_stats", False, "Write counts and thresholds, no records. [release]")
    group.whole("only_use_num_shards", -1, "Use only the first so many shards; -1 all. [release]", 1, -1)
    group.texts(
        "beam_args",
        "balance: an argument passed on to Apache Beam, e.g. --beam_args=--runner=DataflowRunner; "
        "default: Beam's direct runner with one process a core. [ours]",
    )


def _devices(group: _Group) -> None:
    group.switch("use_tpu", True, "Use a TPU; without one, a line says what is used instead. [release]")
    group.text("tpu", None, "Name or grpc:// address of the TPU, or `local` on a TPU VM. [release]")
    group.text("tpu_zone", None, "Zone of the TPU; default: found by itself. [release]")
    group.text("gcp_project", None, "Project of the TPU; default: found by itself. [release]")
    group.switch(
        "use_bfloat16",
        True,
        "bfloat16 activations, float32 variables; where it is not given, only on "
        "hardware that has it (TPU, GPU). [release]",
    )
    group.switch(
        "remat",
        False,
        "Training: compute each block's activations again in the backward pass instead of keeping them: the same "
        "gradients in a fraction of the memory, for about a third more time. [ours]",
    )
    group.whole("iterations_per_loop", 1000, "Steps inside one compiled loop, at most. [release]")
    group.whole("log_step_count_steps", 64, "Steps between two lines of metrics. [release]")
    group.text(
        "profile_steps",
        None,
        "FIRST,LAST: write a TensorFlow profile of the steps after FIRST up to LAST to --model_dir; TensorBoard shows it. [ours]",
    )
    group.whole("save_checkpoints_steps", 1000, "Steps between two checkpoints. [release]")
    group.whole("keep_checkpoint_max", 5, "Checkpoints kept; 0 keeps all. [release]", 0)


def _ignored(group: _Group) -> None:
    def because(name: str) -> str:
        return f"Accepted and ignored: {IGNORED[name]}. [release]"

    group.text("master", None, because("master"))
    group.whole("num_tpu_cores", None, because("num_tpu_cores"), 0)
    group.switch("skip_host_call", False, because("skip_host_call"))
    group.text("data_format", "channels_last", because("data_format"))
    group.switch("transpose_input", True, because("transpose_input"))
    group.whole("debug", 0, because("debug"), 0)
    group.text("data_type", "tfrecord", because("data_type"))
    group.text("prelim_stats_dir", "", because("prelim_stats_dir"))
    group.whole("task", -1, because("task"), -1)
    group.whole("total_label_replicas", -1, because("total_label_replicas"), -1)


GROUPS: dict[str, Callable[[_Group], None]] = {
    "What to do": _what,
    "Folders": _folders,
    "Network": _network,
    "Training: schedule and loss": _schedule,
    "Training: unlabeled images and rounds": _unlabeled,
    "Training: noise": _noise,
    "Data": _reading,
    "Evaluation": _evaluating,
    "Prediction and export": _predicting,
    "Filter and balance": _balancing,
    "Devices, logs and checkpoints": _devices,
    "Of the release, without meaning here": _ignored,
}


# --- the command line -----------------------------------------------------------------------------------------------

HELP_WIDTH = 110


def parse(argv: Sequence[str]) -> list[str]:
    """Parses a command line into absl's FLAGS, for `app.run`; returns what is not a flag.

    `--help` prints `help_text`, `--helpfull` absl's own flags too; a flag that cannot be parsed ends with one line and exit
    code 2.
    """
    asked = {argument.lstrip("-") for argument in argv[1:] if argument.startswith("-")}
    if asked & {"help", "h", "?", "helpshort"}:
        print(help_text(flags.FLAGS))
        sys.exit(0)
    if "helpfull" in asked:
        print(flags.FLAGS.get_help())
        sys.exit(0)
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        lines = [line.strip() for line in str(error).replace("ERROR:: ", "").splitlines()]
        text = "; ".join(line for line in lines if line)
        print(f"error: {text}; --help lists the flags", file=sys.stderr)
        sys.exit(2)


def help_text(values: flags.FlagValues) -> str:
    """Our flags, group by group."""
    lines = [
        "Noisy Student self-training: teacher -> pseudo labels -> balance -> student, and the student is the next teacher.",
        "",
        "  python main.py --flagfile=flags/presets/digits.flags --work_dir=runs/digits",
        "  python main.py --mode=MODE --flag=value ...",
        "",
        "[release]: name and default are the original release's. --flagfile=FILE reads flags from a file, one a line.",
    ]
    by_group = values.flags_by_module_dict()
    for title in GROUPS:
        lines += ["", f"{title}:"]
        lines += [_describe(flag) for flag in by_group[title]]
    return "\n".join([*lines, "", "--helpfull adds absl's own flags (logging, profiling, ...)."])


def _describe(flag: flags.Flag) -> str:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    default = "" if flag.default in (None, "", []) else f" Default: {str(flag.default_as_str).strip(chr(39))}"
    text = f"{name}: {flag.help}{default}"
    return flags.text_wrap(text, length=HELP_WIDTH, indent="      ", firstline_indent="  ")
