"""The paper's comparisons, and anyone's own: arms x seeds -> a table, a plot, a verdict (`--mode=study`, docs/studies.md)."""

import runtime  # noqa: F401  Keras 2 is chosen before TensorFlow is imported
