from __future__ import annotations

import os
import signal

from hypothesis import settings

# Whoever started the tests may ignore it (`nohup`), and every process of theirs would.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

os.environ.setdefault("NOISY_STUDENT_PROGRESS", "off")
# XLA is asked whether it compiles our steps, not for speed: without LLVM's passes a training step takes 7 s instead of 47.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

# How many examples a property test draws is said here alone: a number of its own would hold for `make fuzz` as well.
settings.register_profile("same", derandomize=True, deadline=None, max_examples=200)
settings.register_profile("fuzz", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile("same")
