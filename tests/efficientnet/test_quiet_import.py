import subprocess
import sys


def test_keras_cv_says_nothing() -> None:
    """In a process of its own, because an import happens once."""
    code = "from efficientnet.quiet_import import keras_cv\nprint(keras_cv.layers.DropPath.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "DropPath\n"
