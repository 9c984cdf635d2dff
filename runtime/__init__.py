"""What every room stands on; imported before TensorFlow.

This code is Keras 2. From 2.16 on, TensorFlow has Keras 3; it takes Keras 2 from the package tf_keras if it is told so before
it is imported. So every room that imports TensorFlow imports this one first.

Raises: ImportError if TensorFlow is there already, with Keras 3.
"""

from __future__ import annotations

import importlib.util
import os
import sys

if importlib.util.find_spec("tf_keras"):
    if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") not in ("1", "true", "True"):
        raise ImportError(
            "TensorFlow was imported first and has Keras 3: import this before it, or set TF_USE_LEGACY_KERAS=1"
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
else:
    os.environ.pop(
        "TF_USE_LEGACY_KERAS", None
    )  # TensorFlow 2.15 has Keras 2 and would look for a package that is not there
