"""What is left out of imports until it is used; in processes of their own, because an import happens once."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from runtime import imported_later

KERAS = "tf_keras" if importlib.util.find_spec("tf_keras") else "keras"


def _python(*lines: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_mode_starts_without_them() -> None:
    printed = _python(
        "import sys; from runtime import imported_later, startup",
        "startup.imported('training.trainer')",
        "print(sorted({imported_later._root(name) for name in sys.modules} - {None}))",
    )
    # What comes with tf_keras uses scipy.linalg while it is imported.
    assert printed[-1] in (("[]",) if KERAS == "keras" else ("[]", "['scipy.linalg']"))


def test_imported_when_used() -> None:
    """By the libraries, and by others, who get the modules themselves."""
    printed = _python(
        "import sys; from runtime import startup",
        "startup.imported('efficientnet.layers')",
        "modules = [sys.modules[name] for name in ('keras_cv.src.visualization.plot_image_gallery',"
        " 'keras_cv.src.visualization.plot_bounding_box_gallery', 'keras_cv.src.datasets.pascal_voc.load',"
        f" '{KERAS}.src.preprocessing.image', '{KERAS}.src.saving.legacy.hdf5_format', '{KERAS}.src.callbacks')]",
        "print(modules[0].plt.Figure.__name__, modules[1].patches.Rectangle.__name__, modules[2].tfds.load.__name__)",
        "print(modules[3].ndimage.zoom.__name__, modules[4].h5py.File.__name__, modules[5].requests.post.__name__)",
        "import matplotlib.pyplot, tensorflow_datasets, scipy.ndimage, h5py, requests",
        "print(*(module.__file__ is not None for module in (matplotlib.pyplot, tensorflow_datasets, scipy.ndimage, h5py)))",
        "print(scipy.ndimage.zoom is modules[3].ndimage.zoom, requests.post is modules[5].requests.post)",
    )
    assert printed == ["Figure Rectangle load", "zoom File post", "True True True True", "True True"]


def test_what_is_used_during_the_import_is_imported() -> None:
    printed = _python(
        "import sys; from runtime import imported_later",
        "with imported_later.imported_later():",
        "    import scipy.ndimage, tensorflow_datasets",
        "    from requests import post",
        "    first = [type(sys.modules[name]).__name__ for name in ('requests', 'scipy.ndimage')]",
        "    import requests.sessions",
        "print(first, requests.sessions.__file__ is not None, post is sys.modules['requests'].post)",
        "print(tensorflow_datasets.load.__name__, 'scipy.ndimage' in sys.modules, scipy.ndimage.zoom.__name__)",
    )
    assert printed == ["['module', '_Later'] True True", "load False zoom"]


def test_what_is_there_already_stays() -> None:
    printed = _python(
        "import sys, matplotlib; from runtime import imported_later",
        "with imported_later.imported_later():",
        "    import matplotlib.pyplot",
        "print(sys.modules['matplotlib'] is matplotlib, matplotlib.pyplot.__file__ is not None)",
    )
    assert printed == ["True True"]


def test_what_is_not_installed_is_missing_at_once() -> None:
    """So that a library which tries an import and does without goes on doing so."""
    printed = _python(
        "import sys; from runtime import imported_later",
        "imported_later.LATER = ('never_installed',)",
        "with imported_later.imported_later():",
        "    try:",
        "        import never_installed",
        "    except ImportError as error:",
        "        print(error)",
    )
    assert printed == ["No module named 'never_installed'"]


def test_looking_through_all_modules_uses_none() -> None:
    printed = _python(
        "import sys; from runtime import imported_later",
        "with imported_later.imported_later():",
        "    import h5py, matplotlib.pyplot",
        "    print([hasattr(module, '__file__') for module in (h5py, matplotlib, matplotlib.pyplot)])",
        "print(hasattr(h5py, '__file__'), 'h5py' in sys.modules)",
        "print(h5py.__version__ > '3', h5py.__file__ is not None)",
    )
    assert printed == ["[False, False, False]", "False False", "True True"]


def test_no_finder_is_left() -> None:
    before = list(sys.meta_path)
    with imported_later.imported_later(), imported_later.imported_later():
        assert len(sys.meta_path) == len(before) + 1
    assert sys.meta_path == before
