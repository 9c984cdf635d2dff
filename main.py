"""Noisy Student: `python main.py --mode=MODE --flag=value ...`; `--help` lists the flags.

Exit codes: 0 done, 2 something to put right (one line says what); 130 interrupted, 141 nobody reads the output, 143 SIGTERM, 129
SIGHUP, 138 SIGUSR1 (the same command continues).
"""

from __future__ import annotations

import shlex
import sys
from typing import Any, Callable

from absl import app
from absl import flags as absl_flags

from flags import build, command_line, notices, remote, rounds
from flags.build import fast, studies
from runtime import errors, signals, startup
from runtime.errors import UserError

# mode: (flags -> config, module and function that take the config). The config says all that is wrong with the flags before
# the module, and with it TensorFlow, is imported.
MODES: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "prepare": (build.prepare_config, "data.prepare.run", "prepare"),
    "train": (rounds.training_config, "training.trainer", "train"),
    "eval": (build.evaluate_config, "evaluation.run", "evaluate"),
    "train_and_eval": (rounds.training_config, "training.trainer", "train"),
    "predict": (build.predict_config, "pseudo_label.predict.run", "run"),
    "balance": (build.balance_config, "pseudo_label.balance.run", "balance"),
    "iterate": (lambda flags: rounds.iterate_config(flags, _command()), "pseudo_label.rounds", "iterate"),
    "classify": (build.classify_config, "evaluation.classify.run", "classify"),
    "robustness": (lambda flags: build.robustness_config(flags, _command()), "evaluation.robustness.run", "run"),
    "convert": (build.convert_config, "checkpoints.convert", "convert"),
    "export": (build.export_config, "checkpoints.export", "export"),
    "study": (studies.study_config, "studies.run", "run"),
}

RUN_A_NETWORK = ("train", "eval", "train_and_eval", "predict", "iterate", "classify", "robustness", "study")


def main(argv: list[str]) -> int:
    """Runs the mode that the flags ask for; returns the exit code."""
    flags = absl_flags.FLAGS
    try:
        if len(argv) > 1:
            raise UserError(f"got the argument {argv[1]!r}, expected flags alone, as --name=value")
        startup.quieten()
        fast.prepare_process()
        remote.check_reachable(flags)
        build_config, module, function = MODES[flags.mode]
        config = build_config(flags)
        for line in notices.notices(flags, config):
            print(f"notice: {line}", file=sys.stderr)
        with signals.raised():
            run = getattr(startup.imported(module), function)
            run(config, fast.find()) if flags.mode in RUN_A_NETWORK else run(config)
        return 0
    except KeyboardInterrupt:
        text, code = "interrupted; the same command continues", 130
    except signals.Terminated as end:
        text, code = (
            f"ended by {signals.name_of(end.number)}; the same command continues",
            signals.exit_code(end.number),
        )
    except Exception as error:
        text, code = errors.one_line(error) or "", 2
        if not text:
            raise
    print(text, file=sys.stderr)
    return code


def _command() -> str:
    return shlex.join(["python", *sys.argv])


if __name__ == "__main__":
    command_line.define()
    with signals.closed_output_ends():
        app.run(main, flags_parser=command_line.parse)
