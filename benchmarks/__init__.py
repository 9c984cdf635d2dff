"""What things cost, each beside what it is compared with. Run one as `python -m benchmarks.NAME`."""

import os

import runtime  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# Before any of them imports TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("NOISY_STUDENT_PROGRESS", "off")
