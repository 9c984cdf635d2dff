from __future__ import annotations

import os

os.environ.setdefault("NOISY_STUDENT_PROGRESS", "off")
# XLA is asked whether it compiles our steps, not for speed: without LLVM's passes a training step takes 7 s instead of 47.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
