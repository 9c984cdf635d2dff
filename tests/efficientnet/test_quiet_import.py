import subprocess
import sys


def test_keras_cv_says_and_loads_nothing() -> None:
    """In a process of its own, because an import happens once."""
    code = "\n".join(
        (
            "import sys",
            "from efficientnet.quiet_import import keras_cv",
            "print(keras_cv.layers.DropPath.__name__)",
            "print([name for name in sys.modules if name.split('.')[0] in ('matplotlib', 'tensorflow_datasets')])",
        )
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["DropPath", "[]"]
