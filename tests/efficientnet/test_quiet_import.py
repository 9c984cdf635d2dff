"""keras_cv without what only its plots and downloads import; in processes of their own, because an import happens once."""

import subprocess
import sys


def _python(*lines: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_says_and_loads_nothing() -> None:
    printed = _python(
        "import sys",
        "from efficientnet.quiet_import import keras_cv",
        "print(keras_cv.layers.DropPath.__name__)",
        "print([name for name in sys.modules if name.split('.')[0] in ('matplotlib', 'tensorflow_datasets')])",
    )
    assert printed == ["DropPath", "[]"]


def test_imported_when_used() -> None:
    """By keras_cv, and by others, who get the modules themselves."""
    printed = _python(
        "import sys",
        "from efficientnet import quiet_import",
        "modules = [sys.modules['keras_cv.src.' + name] for name in ('visualization.plot_image_gallery',"
        " 'visualization.plot_bounding_box_gallery', 'datasets.pascal_voc.load')]",
        "print(modules[0].plt.Figure.__name__, modules[1].patches.Rectangle.__name__, modules[2].tfds.load.__name__)",
        "import matplotlib.pyplot, tensorflow_datasets",
        "print(matplotlib.pyplot.__file__ is not None, tensorflow_datasets.__file__ is not None)",
    )
    assert printed == ["Figure Rectangle load", "True True"]


def test_what_is_used_during_the_import_is_imported() -> None:
    printed = _python(
        "import sys",
        "from efficientnet import quiet_import",
        "used = []",
        "with quiet_import._imported_later():",
        "    import tensorflow_datasets",
        "    used.append(tensorflow_datasets.load.__name__)",
        "print(used, sys.modules['tensorflow_datasets'].__file__ is not None)",
    )
    assert printed == ["['load'] True"]


def test_what_is_there_already_stays() -> None:
    printed = _python(
        "import sys, matplotlib",
        "from efficientnet import quiet_import",
        "import matplotlib.pyplot",
        "print(sys.modules['matplotlib'] is matplotlib, matplotlib.pyplot.__file__ is not None)",
    )
    assert printed == ["True True"]
